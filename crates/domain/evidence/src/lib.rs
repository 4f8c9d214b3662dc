//! Room of `evidence`; furnished by its first commit.
