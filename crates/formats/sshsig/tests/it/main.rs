//! What sshsig promises, seen from outside: attacks, vectors, hostile input, and `ssh-keygen` as judge.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod attacks;
mod hostile;
mod judge;
mod parts;
mod private_keys;
mod public_keys;
mod security_keys;
mod vectors;
