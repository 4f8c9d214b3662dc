//! Room of `policy`; furnished by its first commit.
