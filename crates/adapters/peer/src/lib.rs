//! Room of `peer`; furnished by its first commit.
