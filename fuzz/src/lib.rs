//! What must hold for any input at all, for libFuzzer to look for one where it does not.
//!
//! Each module has one `check` and one binary in `targets/`. A check that only waits for a panic would be half of it: what
//! is accepted must also come back the same when it is written and read again, and mean the same to a reader in Go.
//! A first byte chooses the parser, so that one target covers a family of them.

pub mod archives;
pub mod go;
pub mod manifests;
pub mod memory;
pub mod options;
pub mod packets;
pub mod payload;
pub mod references;
pub mod statements;

/// The byte that chooses, and the rest.
pub(crate) fn chosen(input: &[u8]) -> Option<(u8, &[u8])> {
    input.split_first().map(|(first, rest)| (*first, rest))
}

/// What separates the parts of an input that consists of several.
pub const BETWEEN: &[u8] = b"\n----\n";

/// The parts of an input.
pub(crate) fn parts(mut input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = input
        .windows(BETWEEN.len())
        .position(|window| window == BETWEEN)
    {
        parts.push(&input[..at]);
        input = &input[at + BETWEEN.len()..];
    }
    parts.push(input);
    parts
}
