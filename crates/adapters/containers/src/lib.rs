//! Room of `containers`; furnished by its first commit.
