//! Room of `web`; furnished by its first commit.
