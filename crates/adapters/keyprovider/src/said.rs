//! What a provider says of itself, made fit for an error: short, one line, obeyed by no terminal, and without the key.

/// The words, cut. A clumsy provider repeats the question; if what it says holds one of `secrets`, nothing of it is shown.
pub(crate) fn said(words: &[u8], secrets: &[&[u8]]) -> String {
    if secrets.iter().any(|secret| contains(words, secret)) {
        return "(withheld: it repeats the key)".to_owned();
    }
    let text = String::from_utf8_lossy(words);
    let line: Vec<&str> = text.split_whitespace().collect();
    let plain = line.join(" ");
    let mut shown: String = plain.chars().take(MOST).map(harmless).collect();
    if shown.is_empty() {
        shown.push_str("(nothing)");
    }
    shown
}

/// Whether `part` stands in `whole`; an empty part stands nowhere.
pub(crate) fn contains(whole: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && whole.windows(part.len()).any(|window| window == part)
}

fn harmless(character: char) -> char {
    if character.is_control() {
        '\u{fffd}'
    } else {
        character
    }
}

/// Characters.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_words_are_short_and_harmless(words: Vec<u8>, secret in "[a-z]{1,3}") {
            let shown = said(&words, &[secret.as_bytes()]);
            proptest::prop_assert!(!shown.is_empty() && shown.chars().count() <= MOST.max(40));
            proptest::prop_assert!(!shown.contains(char::is_control));
        }
    }

    #[test]
    fn a_terminal_obeys_nothing_and_the_key_is_not_repeated() {
        assert_eq!(
            said(b" no\n\x1b[2J key \xff", &[]),
            "no \u{fffd}[2J key \u{fffd}"
        );
        assert_eq!(said(b"\n", &[b""]), "(nothing)");
        assert_eq!(said(&[b'x'; 5000], &[]).len(), MOST);
        let words = said(b"bad input: c2VjcmV0", &[b"secret", b"c2VjcmV0"]);
        assert_eq!(words, "(withheld: it repeats the key)");
    }
}
