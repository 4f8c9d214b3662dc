//! Room of `server`; furnished by its first commit.
