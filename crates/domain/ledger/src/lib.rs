//! Room of `ledger`; furnished by its first commit.
