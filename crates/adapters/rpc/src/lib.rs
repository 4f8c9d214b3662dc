//! Room of `rpc`; furnished by its first commit.
