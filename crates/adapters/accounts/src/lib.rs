//! Room of `accounts`; furnished by its first commit.
