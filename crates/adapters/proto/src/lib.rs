//! Room of `proto`; furnished by its first commit.
