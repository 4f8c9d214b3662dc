//! What can go wrong between us and the place where an image lies.

use std::io;
use std::path::PathBuf;

use estate::Digest;
use images::{Kind, PortError};

use crate::archive::TarError;

/// Why an image could not be read or written. Each says whose fault it is, and [`RegistryError::kind`] what it means.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Fault: the caller, or this machine's disk.
    #[error("`{}` can't be {doing}", path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What was tried: `read`, `written`, `created`.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Fault: the caller; there is something else in that directory.
    #[error("`{}` is not an OCI image layout", .0.display())]
    NotALayout(PathBuf),
    /// Fault: whoever made the layout.
    #[error("`{}` is malformed", path.display())]
    MalformedFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Fault: whoever made the layout.
    #[error("`{}` is not a plain file, or larger than is read", .0.display())]
    OddFile(PathBuf),
    /// Fault: whoever made the archive, or the caller.
    #[error("`{}` is no archive of images", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TarError,
    },
    /// Fault: whoever made the archive.
    #[error("`{}` holds a link, which no archive of a layout needs", .0.display())]
    LinkInArchive(PathBuf),
    /// Fault: the caller; there is something else in that file.
    #[error("`{}` is not what `docker save` writes", .0.display())]
    NotADockerArchive(PathBuf),
    /// Fault: whoever made the archive.
    #[error("`{}` names a file `{name}` that it does not hold", path.display())]
    NotInArchive {
        /// The archive.
        path: PathBuf,
        /// The file, escaped and cut.
        name: String,
    },
    /// Fault: the caller.
    #[error("nothing is written in the form of `docker save`")]
    ReadOnly,
    /// Fault: the caller; nothing has that name.
    #[error("there is no image `{0}`")]
    NoSuchImage(String),
    /// Fault: the caller; several images lie there and none was chosen.
    #[error(
        "several images lie there: name one of them, as in `oci:DIR:TAG` or `oci-archive:FILE:TAG`"
    )]
    NotOneImage,
    /// Fault: the caller; a digest can't be chosen, it follows from what is written.
    #[error("a target is named by a tag, not by a digest")]
    DigestAsTarget,
    /// Fault: whoever wrote there.
    #[error("{0} is missing")]
    NoSuchBlob(Digest),
    /// Fault: the place it came from, or the path to it.
    #[error("other bytes came than were asked for: {0}")]
    WrongDigest(Digest),
    /// Fault: the place it came from, or the path to it.
    #[error("{digest} has another size than {expected} bytes")]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// What was asked for.
        expected: u64,
    },
    /// Fault: the registry.
    #[error("an answer is larger than is read")]
    TooLarge,
    /// Fault: the registry, or the network.
    #[error("`{host}` could not be reached")]
    Unreachable {
        /// The registry.
        host: String,
        /// What the network says.
        source: reqwest::Error,
    },
    /// Fault: the registry, or the network.
    #[error("the connection to `{host}` broke")]
    Broken {
        /// The registry.
        host: String,
        /// What the network says.
        source: reqwest::Error,
    },
    /// Fault: the registry; trying again later may help.
    #[error("`{host}` can't answer now (HTTP status {status})")]
    Overloaded {
        /// The registry.
        host: String,
        /// The status.
        status: u16,
    },
    /// Fault: none; the registry said no to these credentials, or to their absence.
    #[error("`{host}` denies access (HTTP status {status}): {reason}")]
    Denied {
        /// The registry.
        host: String,
        /// The status.
        status: u16,
        /// What the registry gives as reason; escaped and cut.
        reason: String,
    },
    /// Fault: the registry, or this program.
    #[error("`{host}` refuses the request (HTTP status {status}): {reason}")]
    Refused {
        /// The registry.
        host: String,
        /// The status.
        status: u16,
        /// What the registry gives as reason; escaped and cut.
        reason: String,
    },
    /// Fault: the registry.
    #[error("`{host}` breaks the protocol: {what}")]
    Protocol {
        /// The registry.
        host: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Fault: the registry, or whoever sits between.
    #[error("`{0}` would be asked without TLS")]
    NoTls(String),
    /// Fault: whoever wrote the file.
    #[error("`{}` holds no readable credentials for `{host}`", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// The registry.
        host: String,
    },
    /// Fault: this machine, or the helper.
    #[error("the credential helper `docker-credential-{name}` {what}")]
    Helper {
        /// The helper, escaped and cut.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Fault: whoever wrote the file.
    #[error("`{}` holds no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// Fault: this machine.
    #[error("the network client could not be started")]
    Client(#[source] reqwest::Error),
    /// Fault: this machine.
    #[error("the network thread could not be started")]
    Thread(#[source] io::Error),
    /// Fault: this program; the network thread ended.
    #[error("the network thread ended")]
    ThreadEnded,
}

impl RegistryError {
    /// What this failure means to whoever called.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::NotALayout(_)
            | Self::NoSuchImage(_)
            | Self::NotOneImage
            | Self::NotADockerArchive(_)
            | Self::ReadOnly
            | Self::DigestAsTarget => Kind::Usage,
            Self::Denied { .. } => Kind::Denied,
            Self::WrongDigest(_) | Self::WrongSize { .. } => Kind::VerificationFailed,
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Overloaded { .. } => {
                Kind::Unavailable
            }
            _ => Kind::Failed,
        }
    }

    pub(crate) fn disk(
        path: impl Into<PathBuf>,
        doing: &'static str,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Disk {
            path,
            doing,
            source,
        }
    }
}

impl From<RegistryError> for PortError {
    fn from(error: RegistryError) -> Self {
        Self::new(error.kind(), error)
    }
}
