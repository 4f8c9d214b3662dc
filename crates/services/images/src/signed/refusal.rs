//! What was found beside an image and did not count, and why.

use std::fmt;

use dsse::{EnvelopeError, NotVerified};
use estate::{Digest, Timestamp};
use jose::strict_json::JsonError;

use crate::referrers::{About, Unusable};
use crate::statement::StatementError;

/// A document that did not count.
#[derive(Debug)]
pub struct Refused {
    /// The document.
    pub document: Document,
    /// Why it did not count.
    pub why: Refusal,
}

/// A document beside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// The image statement in the manifest with this digest.
    Statement(Digest),
    /// A cosign signature of the manifest or index with this digest.
    Cosign(Digest),
    /// All that a list names.
    List(About),
}

impl Document {
    pub(crate) const fn because(self, why: Refusal) -> Refused {
        Refused {
            document: self,
            why,
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement(digest) => write!(f, "image statement {digest}"),
            Self::Cosign(digest) => write!(f, "cosign signature of {digest}"),
            Self::List(About::Manifest(digest)) => {
                write!(f, "documents about the manifest {digest}")
            }
            Self::List(About::Config(digest)) => write!(f, "documents about the image {digest}"),
        }
    }
}

/// Why it did not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Fault: see there.
    #[error(transparent)]
    Unusable(Unusable),
    /// Fault: whoever put more there than anybody reads.
    #[error("{more} more were not looked at")]
    TooMany {
        /// How many.
        more: usize,
    },
    /// Fault: whoever put it there.
    #[error("it is not what it is listed as")]
    OtherType,
    /// Fault: whoever put it there.
    #[error("it holds no envelope")]
    Envelope(#[source] EnvelopeError),
    /// Fault: none; it is another's, or was changed.
    #[error("none of the named keys signed it")]
    OtherKey(#[source] NotVerified),
    /// Fault: whoever signed, or put it there.
    #[error("it is no image statement")]
    Statement(#[source] StatementError),
    /// Fault: whoever put it there.
    #[error("it speaks of another image: {config}")]
    OtherImage {
        /// Digest of the configuration that it speaks of.
        config: Digest,
    },
    /// Fault: whoever signed.
    #[error("it lists other layers than the configuration")]
    OtherLayers,
    /// Fault: the caller; the configuration does not say what the layers hold, so a statement over it says nothing.
    #[error("the configuration describes no file system")]
    NoFileSystem,
    /// Fault: none; it was published ahead of its time.
    #[error("it does not count before {not_before}")]
    NotYet {
        /// When it begins.
        not_before: Timestamp,
    },
    /// Fault: none; the image is too old.
    #[error("it ended at {expires}")]
    Expired {
        /// When it ended.
        expires: Timestamp,
    },
    /// Fault: whoever published an old image again.
    #[error("its version {version} is below {floor}")]
    BelowFloor {
        /// Its version.
        version: u64,
        /// The lowest that is accepted.
        floor: u64,
    },
    /// Fault: whoever signed; which of the two is meant can't be known.
    #[error("another statement of version {version} by the same key says something else")]
    Contradicts {
        /// The version.
        version: u64,
    },
    /// Fault: none; cosign signs digests, and a floor wants a version.
    #[error("it is valid, but says no version to compare with the floor")]
    NoVersion,
    /// Fault: none; whom a certificate of the moment belongs to can't be verified here.
    #[error("it is keyless: made with a certificate and no key that could be named")]
    Keyless,
    /// Fault: whoever put it there.
    #[error("its signature is missing or no base64")]
    NoSignature,
    /// Fault: none; it is another's, or was changed.
    #[error("none of the named keys made the signature")]
    OtherSigner,
    /// Fault: whoever signed; what was signed could be read in two ways, or is something else.
    #[error("what was signed is not the JSON of a signature")]
    Payload(#[source] JsonError),
    /// Fault: whoever signed, or put it there: the same key signs other things, too.
    #[error("what was signed is no signature of an image: `{}`", said.escape_debug())]
    OtherPurpose {
        /// What it says it is, cut to 64 characters.
        said: String,
    },
    /// Fault: whoever put it there.
    #[error("it signs another manifest")]
    OtherManifest,
}
