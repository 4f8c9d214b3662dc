//! Room of `tpm`; furnished by its first commit.
