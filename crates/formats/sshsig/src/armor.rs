//! Text armor: a first line, base64 in lines, a last line, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What stands between `-----BEGIN ` and `-----`.
#[derive(Clone, Copy)]
pub(crate) enum Label {
    Signature,
    PrivateKey,
}

impl Label {
    fn name(self) -> &'static str {
        match self {
            Self::Signature => "SSH SIGNATURE",
            Self::PrivateKey => "OPENSSH PRIVATE KEY",
        }
    }

    pub(crate) fn first_line(self) -> String {
        format!("-----BEGIN {}-----", self.name())
    }

    fn last_line(self) -> String {
        format!("-----END {}-----", self.name())
    }
}

/// The bytes in the armor. Lines end with LF, or with CR LF as browsers and Windows write them.
///
/// One armor only: with two, a person might read the first and a program the second.
pub(crate) fn open(label: Label, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut lines = text
        .strip_suffix('\n')
        .unwrap_or(text)
        .split('\n')
        .map(without_return);
    if lines.next()? != label.first_line() {
        return None;
    }
    // Sized once: growing would leave copies of a secret behind.
    let mut joined = Zeroizing::new(String::with_capacity(text.len()));
    let mut ended = false;
    for line in lines.by_ref() {
        if line == label.last_line() {
            ended = true;
            break;
        }
        if line.is_empty() || line.len() > LONGEST_LINE {
            return None;
        }
        joined.push_str(line);
    }
    if !ended || lines.next().is_some() {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(joined.len()));
    STANDARD.decode_vec(joined.as_bytes(), &mut bytes).ok()?;
    Some(bytes)
}

/// The armor as `ssh-keygen` writes it.
pub(crate) fn close(label: Label, bytes: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(bytes));
    let mut text = Zeroizing::new(String::with_capacity(
        encoded.len() + encoded.len() / 32 + 128,
    ));
    text.push_str(&label.first_line());
    for (position, character) in encoded.chars().enumerate() {
        if position % WRITTEN_LINE == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push('\n');
    text.push_str(&label.last_line());
    text.push('\n');
    text
}

fn without_return(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}

/// PROTOCOL.sshsig: "SHOULD be broken up by newlines every 76 characters".
const LONGEST_LINE: usize = 76;
const WRITTEN_LINE: usize = 70;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(text: &str) -> Option<Vec<u8>> {
        open(Label::Signature, text).map(|bytes| bytes.to_vec())
    }

    const GOOD: &str = "-----BEGIN SSH SIGNATURE-----\nAAEC\nAwQ=\n-----END SSH SIGNATURE-----\n";

    #[test]
    fn line_ends_of_both_kinds_are_read() {
        assert_eq!(opened(GOOD), Some(vec![0, 1, 2, 3, 4]));
        assert_eq!(opened(GOOD.trim_end()), Some(vec![0, 1, 2, 3, 4]));
        assert_eq!(
            opened(&GOOD.replace('\n', "\r\n")),
            Some(vec![0, 1, 2, 3, 4])
        );
    }

    #[test]
    fn anything_around_or_between_is_refused() {
        for wrong in [
            format!("{GOOD}{GOOD}"),
            format!("{GOOD}\n"),
            format!("{GOOD}x"),
            format!("\n{GOOD}"),
            format!(" {GOOD}"),
            GOOD.replace("AwQ", "\nAwQ"),
            GOOD.replace("AwQ", " AwQ"),
            GOOD.replace("AwQ", "Key: value\nAwQ"),
            GOOD.replace("BEGIN SSH", "BEGIN PGP"),
            GOOD.replace("-----END SSH SIGNATURE-----", ""),
            GOOD.replace("-----BEGIN SSH SIGNATURE-----\n", ""),
            GOOD.replace("AAEC", &"AAEC".repeat(20)),
        ] {
            assert_eq!(opened(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn base64_that_is_not_canonical_is_refused() {
        for wrong in ["AwR=", "AwQ", "AwQ==", "AwQ=A", "Aw-_", "AwQ=\n===="] {
            assert_eq!(opened(&GOOD.replace("AwQ=", wrong)), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_closed_opens(bytes in proptest::collection::vec(any::<u8>(), 1..600)) {
            prop_assert_eq!(opened(&close(Label::Signature, &bytes)), Some(bytes));
        }

        #[test]
        fn hostile_text_never_panics(text: String, cut in 0usize..80) {
            let _ = opened(&text);
            let _ = opened(&GOOD[..cut.min(GOOD.len())]);
            let _ = opened(&GOOD.replace("AwQ", &text));
        }
    }
}
