//! What can go wrong with an image, and which exit code each failure deserves.

use estate::{Digest, DigestError};

use crate::ports::PortError;

/// What a failure means to whoever called; one exit code each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It did not work. Exit code 1.
    Failed,
    /// It was asked for wrongly. Exit code 2.
    Usage,
    /// Somebody said no, or no key opens it. Exit code 3.
    Denied,
    /// What was read is not what it claims to be. Exit code 4.
    VerificationFailed,
    /// The other side did not answer; trying again may help. Exit code 5.
    Unavailable,
}

impl Kind {
    /// The exit code of a program that ends because of this.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::VerificationFailed => 4,
            Self::Unavailable => 5,
        }
    }
}

/// Why an image was not encrypted, decrypted or inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Fault: the place the image is read from, or whoever named it.
    #[error("the image could not be read")]
    Source(#[source] PortError),
    /// Fault: the place the image is written to, or whoever named it.
    #[error("the image could not be written")]
    Target(#[source] PortError),
    /// Fault: whoever produced the image.
    #[error("a manifest, index or configuration is malformed")]
    Malformed(#[source] serde_json::Error),
    /// Fault: whoever produced the image.
    #[error("a manifest or index has no member `{member}`")]
    Missing {
        /// The member.
        member: &'static str,
    },
    /// Fault: whoever produced the image, or the registry.
    #[error("a document is two things at once: its members and its media types disagree")]
    Ambiguous,
    /// Fault: whoever produced the image; schema 1 can't carry encrypted layers.
    #[error("a manifest is not of schema version 2")]
    UnknownSchema,
    /// Fault: whoever produced the image.
    #[error("`{}` is neither an image manifest nor an index", media_type.escape_debug())]
    UnknownDocument {
        /// What it is said to be.
        media_type: String,
    },
    /// Fault: whoever produced the image.
    #[error("a blob has no SHA-256 digest")]
    UnknownDigest {
        /// What is there instead.
        source: DigestError,
    },
    /// Fault: whoever produced the image.
    #[error("an index lists another index")]
    NestedIndex,
    /// Fault: whoever produced the image.
    #[error("a manifest lists too many layers")]
    TooManyLayers,
    /// Fault: whoever produced the image.
    #[error("an index lists too many platforms")]
    TooManyPlatforms,
    /// Fault: whoever produced the image.
    #[error("a manifest, index or configuration is larger than is read: {digest}")]
    TooLarge {
        /// The document.
        digest: Digest,
    },
    /// Fault: the registry, or the path to it.
    #[error("other bytes came than were asked for: {digest}")]
    WrongDigest {
        /// What was asked for.
        digest: Digest,
    },
    /// Fault: whoever produced the image.
    #[error("the configuration lists {found} layers, the manifest {expected}")]
    DiffIdCount {
        /// Entries of `rootfs.diff_ids`.
        found: usize,
        /// Entries of `layers`.
        expected: usize,
    },
    /// Fault: the caller; an encrypted image is re-encrypted by decrypting it first.
    #[error("layer {index} is already encrypted")]
    AlreadyEncrypted {
        /// The layer, 0 at the bottom.
        index: usize,
    },
    /// Fault: the caller; an image without layers has nothing to encrypt.
    #[error("the image has no layer that could be encrypted")]
    NothingToEncrypt,
    /// Fault: the caller; this kind of layer has no encrypted form.
    #[error("layer {index} is of type `{}`, which has no encrypted form", media_type.escape_debug())]
    NotEncryptable {
        /// The layer, 0 at the bottom.
        index: usize,
        /// Its media type.
        media_type: String,
    },
    /// Fault: the caller.
    #[error("no recipient is named")]
    NoRecipient,
    /// Fault: none; none of the keys at hand opens the layer.
    #[error("no key at hand opens layer {index}")]
    NoKey {
        /// The layer, 0 at the bottom.
        index: usize,
    },
    /// Fault: whoever altered the image: swapped, moved or relabelled a layer.
    #[error("layer {index} is bound to another place: its {what} differs from the manifest")]
    BoundElsewhere {
        /// The layer, 0 at the bottom.
        index: usize,
        /// The first part of the binding that differs.
        what: &'static str,
    },
    /// Fault: whoever altered the image, or a tool that does not bind layers.
    #[error("layer {index} is not bound to its image")]
    Unbound {
        /// The layer, 0 at the bottom.
        index: usize,
    },
    /// Fault: whoever altered the image.
    #[error("layer {index} does not hold the plain bytes its author digested")]
    PlainDigest {
        /// The layer, 0 at the bottom.
        index: usize,
    },
    /// Fault: whoever altered the image.
    #[error("layer {index} does not unpack to the file system that the configuration names")]
    DiffId {
        /// The layer, 0 at the bottom.
        index: usize,
    },
    /// Fault: whoever produced the image; the check of its content can be waived by the caller.
    #[error("layer {index} can't be unpacked to check its content: `{}`", media_type.escape_debug())]
    UnknownCompression {
        /// The layer, 0 at the bottom.
        index: usize,
        /// Its media type.
        media_type: String,
    },
    /// Fault: this program; a part of it ended early.
    #[error("a part of the pipeline ended early")]
    Interrupted,
}
