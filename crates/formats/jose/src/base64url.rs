//! base64url without padding, canonical only (RFC 7515 section 2).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes to text.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Text to bytes; padding, foreign characters and non-zero trailing bits are refused, so every value has one text.
pub(crate) fn decode(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_is_accepted() {
        assert_eq!(decode("AA").unwrap(), [0]);
        for text in ["AA==", "AB", "A", "A+", "A/A", "AA\n", " AA", "A A"] {
            assert!(decode(text).is_none(), "{text:?}");
        }
    }
}
