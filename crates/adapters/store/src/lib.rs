//! Room of `store`; furnished by its first commit.
