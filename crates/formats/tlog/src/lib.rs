//! Room of `tlog`; furnished by its first commit.
