//! Room of `tpm-quote`; furnished by its first commit.
