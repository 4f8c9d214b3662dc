//! Room of `images`; furnished by its first commit.
