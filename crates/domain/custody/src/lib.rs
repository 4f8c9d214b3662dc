//! Room of `custody`; furnished by its first commit.
