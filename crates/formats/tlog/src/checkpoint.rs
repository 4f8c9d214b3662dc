//! Checkpoints (c2sp.org/tlog-checkpoint): a log's size and root, as the log signs them.

use crate::text::decimal;
use crate::{Hash, MAX_TREE_SIZE, Note, NoteError, Signer, VerifierKey};

/// A log's size and root. Whether the log says so is another question: see [`VerifiedCheckpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

/// A checkpoint that the log whose origin it names has signed.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint(Checkpoint);

/// Why a checkpoint is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Fault: whoever wrote it.
    #[error("a checkpoint's origin and extensions are non-empty lines without control characters")]
    Line,
    /// Fault: whoever wrote it.
    #[error("a checkpoint has three lines or more: origin, size and root")]
    Malformed,
    /// Fault: whoever wrote it.
    #[error("a checkpoint's size is a plain decimal of at most 2^62")]
    Size,
    /// Fault: whoever wrote it.
    #[error("a checkpoint's root is 32 bytes in canonical base64")]
    Root,
    /// Fault: whoever sent it.
    #[error("the checkpoint is of log `{found}`, not of `{wanted}`")]
    OtherLog {
        /// The origin it names.
        found: String,
        /// The origin asked for.
        wanted: String,
    },
    /// Fault: see the source.
    #[error("the checkpoint's note is not accepted")]
    Note(#[source] NoteError),
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    ///
    /// # Errors
    /// When the origin is no line, or no tree has that size.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        if !is_line(origin) {
            return Err(CheckpointError::Line);
        }
        if size > MAX_TREE_SIZE {
            return Err(CheckpointError::Size);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root,
            extensions: Vec::new(),
        })
    }

    /// Adds an extension line, which no monitor audits.
    ///
    /// # Errors
    /// When it is no line.
    pub fn with_extension(mut self, line: &str) -> Result<Self, CheckpointError> {
        if !is_line(line) {
            return Err(CheckpointError::Line);
        }
        self.extensions.push(line.to_owned());
        Ok(self)
    }

    /// Reads the text of a checkpoint's note.
    ///
    /// # Errors
    /// When the text is malformed.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let text = text.strip_suffix('\n').ok_or(CheckpointError::Malformed)?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Malformed);
        };
        let size = decimal(size).ok_or(CheckpointError::Size)?;
        let root = root.parse().map_err(|_| CheckpointError::Root)?;
        lines.try_fold(Self::new(origin, size, root)?, Self::with_extension)
    }

    /// The text of the checkpoint's note.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self {
            origin,
            size,
            root,
            extensions,
        } = self;
        let mut text = format!("{origin}\n{size}\n{root}\n");
        for line in extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Signs the checkpoint in the log's name.
    ///
    /// # Errors
    /// When the signer is not named as the origin.
    pub fn sign(&self, log: &Signer) -> Result<Note, CheckpointError> {
        self.check_origin(log.name())?;
        Note::sign(&self.to_text(), &[log]).map_err(CheckpointError::Note)
    }

    /// Verifies that the log with this key signed the note, and that the checkpoint is its own.
    ///
    /// # Errors
    /// When the log did not sign it, it is malformed, or its origin is not the key's name.
    pub fn open(note: &Note, log: &VerifierKey) -> Result<VerifiedCheckpoint, CheckpointError> {
        let text = note.verify(&[log]).map_err(CheckpointError::Note)?;
        let checkpoint = Self::parse(text)?;
        checkpoint.check_origin(log.name())?;
        Ok(VerifiedCheckpoint(checkpoint))
    }

    /// The log's identity.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree of that size.
    #[must_use]
    pub const fn root(&self) -> Hash {
        self.root
    }

    /// Lines that mean nothing here.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    fn check_origin(&self, wanted: &str) -> Result<(), CheckpointError> {
        if self.origin == wanted {
            return Ok(());
        }
        Err(CheckpointError::OtherLog {
            found: self.origin.clone(),
            wanted: wanted.to_owned(),
        })
    }
}

impl VerifiedCheckpoint {
    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.0.size
    }

    /// The root of the tree of that size.
    #[must_use]
    pub const fn root(&self) -> Hash {
        self.0.root
    }

    /// The checkpoint without the proof that it was verified.
    #[must_use]
    pub fn into_checkpoint(self) -> Checkpoint {
        self.0
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c < ' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::empty_root;

    // From c2sp.org/tlog-checkpoint.
    const EXAMPLE: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let checkpoint = Checkpoint::parse(EXAMPLE).unwrap();
        assert_eq!(
            (checkpoint.origin(), checkpoint.size()),
            ("example.com/behind-the-sofa", 20_852_163)
        );
        assert_eq!(checkpoint.to_text(), EXAMPLE);
        let extended = format!("{EXAMPLE}more\n");
        assert_eq!(Checkpoint::parse(&extended).unwrap().extensions(), ["more"]);
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        let root = empty_root();
        for bad in [
            String::new(),
            "\n".into(),
            format!("o\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("o\n01\n{root}\n"),
            format!("o\n-1\n{root}\n"),
            format!("o\n\n{root}\n"),
            format!("o\n4611686018427387905\n{root}\n"),
            "o\n1\n\n".into(),
            "o\n1\nAAAA\n".into(),
            format!("o\n1\n{root} \n"),
            format!("o\n1\n{root}\n\n"),
            format!("o\n1\n{root}\n\nx\n"),
            format!("o\n1\r\n{root}\n"),
            format!("o\n1\n{root}\nx\ty\n"),
        ] {
            assert!(Checkpoint::parse(&bad).is_err(), "`{}`", bad.escape_debug());
        }
    }

    #[test]
    fn a_log_signs_its_own_checkpoints_only() {
        let mine = Signer::from_seed("mine", &[1; 32]).unwrap();
        let checkpoint = Checkpoint::new("theirs", 0, empty_root()).unwrap();
        assert!(matches!(
            checkpoint.sign(&mine),
            Err(CheckpointError::OtherLog { .. })
        ));
        // Somebody who signs whatever text it is given does not speak for another log.
        let note = Note::sign(&checkpoint.to_text(), &[&mine]).unwrap();
        assert!(matches!(
            Checkpoint::open(&note, &mine.verifier_key()),
            Err(CheckpointError::OtherLog { .. })
        ));
    }
}
