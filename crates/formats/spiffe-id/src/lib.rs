//! Room of `spiffe-id`; furnished by its first commit.
