//! Room of `oci-crypt`; furnished by its first commit.
