//! Why somebody can't do their part: each refusal is one of these, told by the words of whoever refuses.

/// Words of a refusal, and why it is so. Whatever has none of these words is a fault, and ends the test.
const REASONS: [(&str, &str); 10] = [
    (
        "nobody else makes this packet",
        "nobody else makes this packet",
    ),
    (
        "no payload on file descriptor 3",
        "`ctr` without imgcrypt hands on no key packets",
    ),
    ("Provided protocol not recognized", "older than this scheme"),
    (
        "Unable to read file: open provider:",
        "older than this scheme",
    ),
    // It knows no key in the file that names a token.
    (
        "missing private key needed for decryption",
        "older than this scheme",
    ),
    (
        "square/go-jose: unknown/unsupported algorithm",
        "older than EC keys in JWK files",
    ),
    (
        "encryption specified but no counterpart for mediatype",
        "knows no encrypted form of the type",
    ),
    (
        "no processor for media-type",
        "the runtime does not know the type",
    ),
    // It takes the ciphertext for the layer.
    (
        "archive/tar: invalid tar header",
        "the runtime asks no decoder for the type",
    ),
    ("unexpected EOF", "the runtime asks no decoder for the type"),
];

/// A cell that says why not. One with [`NOBODY_KNOWS`] ends the test when all rows are there.
pub(crate) fn refused(words: &str) -> String {
    let reason = REASONS.iter().find(|(says, _)| words.contains(says));
    let words = || words.split_whitespace().collect::<Vec<_>>().join(" ");
    reason.map_or_else(
        || format!("{NOBODY_KNOWS}: {}", words()),
        |(_, why)| format!("refused: {why}"),
    )
}

/// How a cell begins whose words are none of those above.
pub(crate) const NOBODY_KNOWS: &str = "refused, and nobody knows why";

/// One text if all came to the same.
pub(crate) fn told_apart(cells: &[(&str, String)]) -> String {
    let (_, first) = &cells[0];
    if cells.iter().all(|(_, cell)| cell == first) {
        return first.clone();
    }
    let mut texts: Vec<String> = cells
        .iter()
        .map(|(who, cell)| format!("{who}: {cell}"))
        .collect();
    texts.dedup();
    texts.join("; ")
}
