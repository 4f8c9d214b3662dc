//! Room of `issuer`; furnished by its first commit.
