//! SSH signatures: attacks, hostile input, and `ssh-keygen` as judge.
