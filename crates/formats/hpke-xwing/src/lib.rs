//! Room of `hpke-xwing`; furnished by its first commit.
