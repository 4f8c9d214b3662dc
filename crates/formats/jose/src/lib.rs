//! Room of `jose`; furnished by its first commit.
