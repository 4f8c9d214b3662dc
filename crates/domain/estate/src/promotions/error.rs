//! Why a build is not promoted, or not retired.

use std::error::Error;

use dsse::{EnvelopeError, KeyFileError, NotVerified, StatementError};

use crate::Digest;

/// Why a promotion was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromotionError {
    /// Fault: whoever asked.
    #[error("there is no image set `{set}`")]
    NoSet {
        /// The name.
        set: String,
    },
    /// Fault: whoever made the statement.
    #[error(
        "the statement's envelope has more than {} bytes",
        super::Promotions::LONGEST
    )]
    TooLong,
    /// Fault: whoever made the statement, or changed it.
    #[error("the statement's envelope is refused")]
    Envelope {
        /// What is wrong with it.
        source: EnvelopeError,
    },
    /// Fault: whoever wrote the estate.
    #[error("the promoter's key `{path}` can't be used")]
    KeyFile {
        /// The file of the estate.
        path: String,
        /// What is wrong with it.
        source: KeyFileError,
    },
    /// Fault: whoever sent the statement; not one of the set's promoters signed it as it stands.
    #[error("no promoter of image set `{set}` signed this statement")]
    NoPromoter {
        /// The set.
        set: String,
        /// How many keys were tried.
        source: NotVerified,
    },
    /// Fault: none; a pipeline's identity can't be verified yet.
    #[error(
        "no promoter's key of image set `{set}` signed this statement, and what its pipelines sign (`issuer`, `identity`) can't be verified yet: add a promoter with `key`"
    )]
    Pipeline {
        /// The set.
        set: String,
    },
    /// Fault: the promoter.
    #[error("the signed statement is refused")]
    Statement {
        /// What is wrong with it.
        source: StatementError,
    },
    /// Fault: the promoter.
    #[error("subject {number} of the statement is not named by its SHA-256 alone")]
    Subject {
        /// Which one, from 1.
        number: usize,
    },
    /// Fault: the promoter.
    #[error("an image is in the statement twice: `{config}`")]
    DoubledSubject {
        /// The image.
        config: Digest,
    },
    /// Fault: the promoter.
    #[error("the statement names more than {limit} manifests")]
    TooManyManifests {
        /// The bound.
        limit: usize,
    },
    /// Fault: whoever sent the statement here; it is one for another set.
    #[error("the statement is for image set `{said}`, not `{set}`")]
    WrongSet {
        /// The set that it names.
        said: String,
        /// The set that was asked for.
        set: String,
    },
    /// Fault: whoever sent the statement here; it is one for another trust domain.
    #[error("the statement is for trust domain `{}`, not `{wanted}`", said.escape_debug())]
    WrongDomain {
        /// The domain that it names.
        said: String,
        /// The domain of this server.
        wanted: String,
    },
    /// Fault: the promoter. A revision far ahead would lock out every later one.
    #[error(
        "revision {revision} is not between 1 and the time of the promotion in milliseconds since 1970"
    )]
    Revision {
        /// The revision.
        revision: u64,
    },
    /// Fault: whoever sent the statement; it was here before, or a newer one was.
    #[error(
        "revision {revision} is not above {floor}, the newest that was promoted: an old statement does not come back"
    )]
    Replayed {
        /// Its revision.
        revision: u64,
        /// The newest one.
        floor: u64,
    },
    /// Fault: whoever built the image.
    #[error(
        "image set `{set}` wants encrypted images, and the statement does not say that these are"
    )]
    NotEncrypted {
        /// The set.
        set: String,
    },
    /// Fault: the promoter; what a person took out stays out.
    #[error("the image `{config}` was retired; a retired image does not come back")]
    Retired {
        /// The image.
        config: Digest,
    },
    /// Fault: the promoter. One image can't be two applications.
    #[error("the image `{config}` is in image set `{other}`")]
    OtherSet {
        /// The image.
        config: Digest,
        /// The other set.
        other: String,
    },
    /// Fault: whoever asked.
    #[error("the image `{config}` is not in image set `{set}`")]
    NotAMember {
        /// The image.
        config: Digest,
        /// The set.
        set: String,
    },
    /// Fault: whoever wrote the estate; without `keep` nothing makes room.
    #[error(
        "image set `{set}` has {} promoted builds; set `keep` for it",
        super::Promotions::MOST
    )]
    TooMany {
        /// The set.
        set: String,
    },
    /// Fault: whoever wrote the estate.
    #[error("image set `{set}` keeps no promoted build: its `keep` is 0")]
    NothingKept {
        /// The set.
        set: String,
    },
    /// Fault: whoever runs the system.
    #[error(
        "{} images are retired from this set already",
        super::Promotions::MOST_RETIRED
    )]
    TooManyRetired,
    /// Fault: whoever edited the file between versions.
    #[error(
        "the promotions into image set `{set}` are not those of the version before and newer ones"
    )]
    DoesNotFollow {
        /// The set.
        set: String,
    },
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
