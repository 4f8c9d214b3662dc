//! Signed notes (c2sp.org/signed-note): text, a blank line, and a line per signature.

use std::fmt;

use crate::key::is_name;
use crate::text::{from_base64, to_base64};
use crate::{Signer, VerifierKey};

/// The longest note that is read.
pub const MAX_NOTE_BYTES: usize = 256 * 1024;
/// The most signatures that a note may carry.
pub const MAX_SIGNATURES: usize = 64;

/// A note whose signatures may not have been looked at yet. It is shown exactly as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    // INVARIANT: at least one; no two with the same name and key id.
    signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: [u8; 4],
    bytes: Vec<u8>,
}

/// Why a note is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Fault: whoever sent it.
    #[error("the note is longer than {MAX_NOTE_BYTES} bytes")]
    TooLong,
    /// Fault: whoever wrote the text.
    #[error("a note's text ends with a newline and has no control characters")]
    Text,
    /// Fault: whoever wrote the note.
    #[error("the note has no signatures behind a blank line")]
    NoSignatures,
    /// Fault: whoever wrote the note.
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// Fault: whoever wrote the note.
    #[error("signature line {line} is malformed")]
    MalformedSignature {
        /// Which of the signature lines, from 1.
        line: usize,
    },
    /// Fault: whoever wrote the note.
    #[error("the note is signed twice by one key")]
    RepeatedSignature,
    /// Fault: whoever wrote or changed the note.
    #[error("the signature by `{name}` does not match the text")]
    WrongSignature {
        /// The key's name.
        name: String,
    },
    /// Fault: none; the note is by somebody else.
    #[error("the note is not signed by any known key")]
    UnknownSigner,
}

impl Note {
    /// Signs `text`, which ends with a newline, with one or more keys.
    ///
    /// # Errors
    /// When the text is none that a note can carry, or the keys are none, too many or repeated.
    pub fn sign(text: &str, signers: &[&Signer]) -> Result<Self, NoteError> {
        check_text(text)?;
        let sign = |signer: &&Signer| NoteSignature {
            name: signer.name().to_owned(),
            key_id: signer.key_id(),
            bytes: signer.sign(text),
        };
        let signatures = check_signatures(signers.iter().map(sign).collect())?;
        let note = Self {
            text: text.to_owned(),
            signatures,
        };
        if note.to_string().len() > MAX_NOTE_BYTES {
            Err(NoteError::TooLong)
        } else {
            Ok(note)
        }
    }

    /// Reads a note without verifying anything but its form. Signatures of unknown kinds are kept.
    ///
    /// # Errors
    /// When the note is malformed or too long.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong);
        }
        let blank = note.rfind("\n\n").ok_or(NoteError::NoSignatures)?;
        let (text, rest) = note.split_at(blank + 1);
        check_text(text)?;
        let lines = rest
            .strip_prefix('\n')
            .and_then(|lines| lines.strip_suffix('\n'));
        let lines: Vec<&str> = lines.ok_or(NoteError::NoSignatures)?.split('\n').collect();
        if lines.len() > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        let parse = |(at, line)| {
            NoteSignature::parse(line).ok_or(NoteError::MalformedSignature { line: at + 1 })
        };
        let signatures = lines
            .into_iter()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.to_owned(),
            signatures: check_signatures(signatures)?,
        })
    }

    /// The text if one of `keys` signed it. A wrong signature under any of these keys condemns the note.
    ///
    /// # Errors
    /// When no known key signed it or a signature by one is wrong.
    pub fn verify(&self, keys: &[&VerifierKey]) -> Result<&str, NoteError> {
        let mut signed = false;
        for signature in &self.signatures {
            let Some(key) = keys.iter().find(|key| signature.is_by(key)) else {
                continue;
            };
            if !key.verifies(&self.text, &signature.bytes) {
                return Err(NoteError::WrongSignature {
                    name: signature.name.clone(),
                });
            }
            signed = true;
        }
        if signed {
            Ok(&self.text)
        } else {
            Err(NoteError::UnknownSigner)
        }
    }

    /// The text, which nobody has vouched for yet.
    #[must_use]
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// The signatures, known or not.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }
}

impl NoteSignature {
    /// The name of the key said to have signed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the key said to have signed.
    #[must_use]
    pub const fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    fn is_by(&self, key: &VerifierKey) -> bool {
        self.name == key.name() && self.key_id == key.key_id()
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
        let decoded = from_base64(encoded)?;
        let (key_id, bytes) = decoded.split_first_chunk::<4>()?;
        let plausible = is_name(name) && !bytes.is_empty();
        plausible.then(|| Self {
            name: name.to_owned(),
            key_id: *key_id,
            bytes: bytes.to_vec(),
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for NoteSignature {
            name,
            key_id,
            bytes,
        } in &self.signatures
        {
            writeln!(
                f,
                "— {name} {}",
                to_base64(&[key_id.as_slice(), bytes].concat())
            )?;
        }
        Ok(())
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    let plain = text.ends_with('\n') && !text.contains(|c: char| c < ' ' && c != '\n');
    if plain { Ok(()) } else { Err(NoteError::Text) }
}

fn check_signatures(signatures: Vec<NoteSignature>) -> Result<Vec<NoteSignature>, NoteError> {
    if signatures.is_empty() {
        return Err(NoteError::NoSignatures);
    }
    if signatures.len() > MAX_SIGNATURES {
        return Err(NoteError::TooManySignatures);
    }
    let mut keys: Vec<_> = signatures
        .iter()
        .map(|signature| (&signature.name, signature.key_id))
        .collect();
    keys.sort_unstable();
    let repeated = keys.windows(2).any(|pair| pair.first() == pair.last());
    if repeated {
        Err(NoteError::RepeatedSignature)
    } else {
        Ok(signatures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From the documentation of golang.org/x/mod/sumdb/note.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SIGNED: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn signer(name: &str) -> Signer {
        Signer::from_seed(name, &[3; 32]).unwrap()
    }

    #[test]
    fn a_note_signed_elsewhere_is_verified_and_kept_as_it_was() {
        let note = Note::parse(SIGNED).unwrap();
        assert!(
            note.verify(&[&PETER.parse().unwrap()])
                .unwrap()
                .ends_with("is.\n")
        );
        assert_eq!(note.to_string(), SIGNED);
    }

    #[test]
    fn text_may_have_blank_lines_of_its_own() {
        let note = Note::sign("one\n\ntwo\n", &[&signer("a")]).unwrap();
        let read = Note::parse(&note.to_string()).unwrap();
        assert_eq!(
            read.verify(&[&signer("a").verifier_key()]),
            Ok("one\n\ntwo\n")
        );
    }

    #[test]
    fn one_known_signature_among_unknown_ones_is_enough() {
        let note = Note::sign("text\n", &[&signer("stranger"), &signer("a")]).unwrap();
        assert!(note.verify(&[&signer("a").verifier_key()]).is_ok());
        assert_eq!(
            note.verify(&[&signer("b").verifier_key()]),
            Err(NoteError::UnknownSigner)
        );
    }

    #[test]
    fn a_wrong_signature_by_a_known_key_condemns_the_note() {
        let text = Note::sign("text\n", &[&signer("a"), &signer("b")])
            .unwrap()
            .to_string();
        let forged = Note::parse(&text.replace("text", "test")).unwrap();
        let wrong = NoteError::WrongSignature {
            name: "a".to_owned(),
        };
        assert_eq!(forged.verify(&[&signer("a").verifier_key()]), Err(wrong));
    }

    #[test]
    fn one_key_signs_once() {
        assert_eq!(
            Note::sign("t\n", &[&signer("a"), &signer("a")]),
            Err(NoteError::RepeatedSignature)
        );
        let line = SIGNED.lines().last().unwrap();
        assert_eq!(
            Note::parse(&format!("{SIGNED}{line}\n")),
            Err(NoteError::RepeatedSignature)
        );
    }

    #[test]
    fn malformed_notes_are_refused() {
        for bad in [
            "",
            "\n",
            "\n\n",
            "text\n",
            "text\n\n",
            "text\n\n\n",
            "text\n— a AAAAAAA=\n",
            "text\n\n— a AAAAAAA=",
            "text\n\n- a AAAAAAA=\n",
            "text\n\n—a AAAAAAA=\n",
            "text\n\n— a\n",
            "text\n\n—  AAAAAAA=\n",
            "text\n\n— a+b AAAAAAA=\n",
            "text\n\n— a AAAAAA==\n",
            "text\n\n— a AAAAAAB=\n",
            "text\n\n— a AAAAAAA\n",
            "text\n\n— a AAAAAAA= \n",
            "te\txt\n\n— a AAAAAAA=\n",
            "text\r\n\n— a AAAAAAA=\n",
            "text\n\n— a AAAAAAA=\r\n",
        ] {
            assert!(Note::parse(bad).is_err(), "`{}`", bad.escape_debug());
        }
        assert!(Note::parse("text\n\n— a AAAAAAA=\n").is_ok());
    }

    #[test]
    fn notes_have_limits() {
        let line = |n: usize| format!("— a{n} AAAAAAA=\n");
        let note = |n| format!("text\n\n{}", (0..n).map(line).collect::<String>());
        assert!(Note::parse(&note(MAX_SIGNATURES)).is_ok());
        assert_eq!(
            Note::parse(&note(MAX_SIGNATURES + 1)),
            Err(NoteError::TooManySignatures)
        );
        let long = format!("{}\n\n— a AAAAAAA=\n", "x".repeat(MAX_NOTE_BYTES));
        assert_eq!(Note::parse(&long), Err(NoteError::TooLong));
        assert_eq!(
            Note::sign(
                &format!("{}\n", "x".repeat(MAX_NOTE_BYTES)),
                &[&signer("a")]
            ),
            Err(NoteError::TooLong)
        );
    }
}
