//! Room of `estate`; furnished by its first commit.
