//! Room of `registry`; furnished by its first commit.
