//! Room of `agent`; furnished by its first commit.
