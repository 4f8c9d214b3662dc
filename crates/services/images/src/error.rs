//! What can go wrong with an image, and which exit code each failure deserves.

use estate::{Digest, DigestError};
use oci_crypt::media_type::MediaTypeError;
use oci_crypt::{AnnotationError, BindingMismatch, CipherError, OpenError, SealError};

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
    #[error("indexes list each other too deep")]
    TooDeep,
    /// Fault: whoever named it.
    #[error("there is no image under this name, only other documents")]
    NoImage,
    /// Fault: whoever produced the image.
    #[error("a manifest lists too many layers")]
    TooManyLayers,
    /// Fault: whoever produced the image.
    #[error("an index lists too many platforms")]
    TooManyPlatforms,
    /// Fault: whoever produced the image.
    #[error("the manifests under this name are larger than is read, taken together")]
    TooMuchText,
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
    /// Fault: the caller; an image without layers has nothing to encrypt.
    #[error("the image has no layer that could be encrypted")]
    NothingToEncrypt,
    /// Fault: the caller; there is nothing to decrypt, or somebody put a readable image in the place of the encrypted.
    #[error("the image has no encrypted layer")]
    NotEncrypted,
    /// Fault: the caller; the layer is encrypted already, or is of a kind that has no encrypted form.
    #[error("layer {index} can't be converted")]
    MediaType {
        /// The layer, 0 at the bottom.
        index: usize,
        /// What the format says.
        source: MediaTypeError,
    },
    /// Fault: whoever wrote the manifest; no layer is encrypted in the way that its type says.
    #[error("layer {index} has a media type that no encrypted layer has")]
    EncryptedType {
        /// The layer, 0 at the bottom.
        index: usize,
        /// What the format says.
        source: MediaTypeError,
    },
    /// Fault: the caller; the layer that was meant would stay readable.
    #[error("there is no layer {number} among {count}")]
    NoSuchLayer {
        /// The number that was asked for.
        number: i64,
        /// How many layers there are.
        count: usize,
    },
    /// Fault: the caller.
    #[error("the image is not there for the platform `{}`", platform.escape_debug())]
    NoSuchPlatform {
        /// The platform that was asked for.
        platform: String,
    },
    /// Fault: the caller; nobody could open the layer any more.
    #[error("layer {index} would be left without a key packet")]
    LastRecipient {
        /// The layer, 0 at the bottom.
        index: usize,
    },
    /// Fault: the caller.
    #[error("no layer has a key packet of `{selector}`")]
    NoSuchRecipient {
        /// What was asked for.
        selector: String,
    },
    /// Fault: none; not even a public key tells which of several packets is for its holder.
    #[error(
        "a layer has no packet that says it is for `{selector}`, and some that do not say whose they are: name such a packet by its number, as `jwe#0`"
    )]
    UnnamedRecipients {
        /// What was asked for.
        selector: String,
    },
    /// Fault: whoever else writes there; what was read is no longer what the name stands for.
    #[error("the image was changed by somebody else meanwhile")]
    ChangedMeanwhile,
    /// Fault: whoever produced the image.
    #[error("the annotations of layer {index} can't be kept or changed")]
    Annotations {
        /// The layer, 0 at the bottom.
        index: usize,
        /// What the format says.
        source: AnnotationError,
    },
    /// Fault: the caller.
    #[error("no recipient is named")]
    NoRecipient,
    /// Fault: the caller; a statement speaks of an image by its configuration, and this one does not say what it holds.
    #[error("nothing can be stated of it: its configuration describes no file system")]
    NotStatable,
    /// Fault: the caller, or this machine.
    #[error("no statement can be made of the image")]
    Statement {
        /// Why not.
        source: crate::statement::StatementError,
    },
    /// Fault: this machine.
    #[error("the system has no randomness")]
    NoRandomness,
    /// Fault: a recipient's key, or their number.
    #[error("the key of layer {index} could not be wrapped for all recipients")]
    Seal {
        /// The layer, 0 at the bottom.
        index: usize,
        /// What the format says.
        source: SealError,
    },
    /// Fault: none; the layer is encrypted to others.
    #[error("no key at hand opens layer {index}")]
    NoKey {
        /// The layer, 0 at the bottom.
        index: usize,
    },
    /// Fault: the key service, or the way to it.
    #[error("key service `{service}` did not do its part for layer {index}")]
    KeyService {
        /// The layer, 0 at the bottom.
        index: usize,
        /// The service's name.
        service: String,
        /// What came of it.
        source: PortError,
    },
    /// Fault: whoever produced or altered the image.
    #[error("the key of layer {index} could not be opened")]
    Open {
        /// The layer, 0 at the bottom.
        index: usize,
        /// What the format says.
        source: OpenError,
    },
    /// Fault: whoever altered the image.
    #[error("layer {index} fails its cipher")]
    Cipher {
        /// The layer, 0 at the bottom.
        index: usize,
        /// What the format says.
        source: CipherError,
    },
    /// Fault: whoever altered the image: swapped, moved or relabelled a layer.
    #[error("layer {index} is bound to another place")]
    BoundElsewhere {
        /// The layer, 0 at the bottom.
        index: usize,
        /// Which part of the binding differs.
        source: BindingMismatch,
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
    /// Fault: whoever produced the image: a bomb, or a layer of which much is empty. The caller can allow more.
    #[error("layer {index} unpacks to more than the {limit} bytes that are allowed")]
    UnpacksTooLarge {
        /// The layer, 0 at the bottom.
        index: usize,
        /// See [`crate::UnpackedLimit`].
        limit: u64,
    },
    /// Fault: whoever produced the image; the check of its content can be waived by the caller.
    #[error("layer {index} can't be unpacked to check its content: `{}`", media_type.escape_debug())]
    UnknownPacking {
        /// The layer, 0 at the bottom.
        index: usize,
        /// Its media type.
        media_type: String,
    },
    /// Fault: none; see [`crate::Progress::cancelled`].
    #[error("the work was cancelled")]
    Cancelled,
    /// Fault: this program; a part of it ended early.
    #[error("a part of the pipeline ended early")]
    Interrupted,
}

impl ImageError {
    /// What this failure means to whoever called.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Source(error) | Self::Target(error) => error.kind(),
            Self::KeyService { source, .. } => source.kind(),
            Self::MediaType { .. }
            | Self::NothingToEncrypt
            | Self::NoRecipient
            | Self::NotStatable
            | Self::Statement { .. }
            | Self::NoSuchLayer { .. }
            | Self::NoSuchPlatform { .. }
            | Self::LastRecipient { .. }
            | Self::NoSuchRecipient { .. }
            | Self::UnnamedRecipients { .. } => Kind::Usage,
            Self::ChangedMeanwhile => Kind::Failed,
            Self::NoKey { .. } => Kind::Denied,
            Self::NoRandomness | Self::Seal { .. } | Self::Cancelled | Self::Interrupted => {
                Kind::Failed
            }
            Self::UnknownSchema | Self::UnknownDocument { .. } | Self::UnknownDigest { .. } => {
                Kind::Failed
            }
            Self::TooDeep
            | Self::NoImage
            | Self::TooManyLayers
            | Self::TooManyPlatforms
            | Self::TooMuchText
            | Self::TooLarge { .. } => Kind::Failed,
            Self::Malformed(_)
            | Self::Missing { .. }
            | Self::Ambiguous
            | Self::WrongDigest { .. }
            | Self::DiffIdCount { .. }
            | Self::Annotations { .. }
            | Self::EncryptedType { .. }
            | Self::NotEncrypted
            | Self::Open { .. }
            | Self::Cipher { .. }
            | Self::BoundElsewhere { .. }
            | Self::Unbound { .. }
            | Self::PlainDigest { .. }
            | Self::DiffId { .. }
            | Self::UnpacksTooLarge { .. }
            | Self::UnknownPacking { .. } => Kind::VerificationFailed,
        }
    }
}
