//! PEM (RFC 7468, and RFC 1421's headers that old encrypted keys have). No copy of a key stays behind in memory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// One block between `BEGIN` and `END`.
pub(super) struct Block {
    pub(super) label: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) contents: Zeroizing<Vec<u8>>,
}

impl Block {
    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Whether a header says that the contents are encrypted (RFC 1421 section 4.6.1).
    pub(super) fn is_encrypted(&self) -> bool {
        self.header("Proc-Type").is_some() || self.header("DEK-Info").is_some()
    }
}

/// Whether a file is PEM, well-formed or not.
pub(super) fn is_pem(file: &[u8]) -> bool {
    file.windows(BEGIN.len())
        .any(|window| window == BEGIN.as_bytes())
}

/// All blocks of a file; text around them is passed over. `None` when a block is not closed or not base64.
pub(super) fn blocks(file: &[u8]) -> Option<Vec<Block>> {
    let mut lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(label) = marker(line, BEGIN) {
            blocks.push(block(label, &mut lines)?);
        }
    }
    Some(blocks)
}

fn block<'a>(label: &str, lines: &mut impl Iterator<Item = &'a [u8]>) -> Option<Block> {
    let mut headers = Vec::new();
    // Reserved at once: a buffer that grew would leave parts of the key in the memory that it left.
    let mut body = Zeroizing::new(Vec::with_capacity(super::MAX_LEN));
    loop {
        let line = lines.next()?;
        if let Some(closing) = marker(line, END) {
            let contents = Zeroizing::new(STANDARD.decode(&*body).ok()?);
            let label = label.to_owned();
            return (closing == label).then_some(Block {
                label,
                headers,
                contents,
            });
        }
        match std::str::from_utf8(line).ok()?.split_once(':') {
            Some((name, value)) if body.is_empty() => {
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            _ => body.extend_from_slice(line),
        }
    }
}

/// The label of a `BEGIN` or `END` line.
fn marker<'a>(line: &'a [u8], which: &str) -> Option<&'a str> {
    let label = line
        .strip_prefix(which.as_bytes())?
        .strip_suffix(b"-----")?;
    std::str::from_utf8(label).ok()
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
