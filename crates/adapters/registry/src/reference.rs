//! Names of images: `docker://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]`, `oci:DIR[:TAG]`, and those of archives.

mod archive;
mod host;

pub use archive::ArchiveReference;
pub use host::Host;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use estate::Digest;

/// The name of an image, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// In a directory with an OCI image layout.
    Layout(LayoutReference),
    /// In a file with the tar of such a layout.
    Archive(ArchiveReference),
    /// In a file that `docker save` wrote; it is only read.
    DockerArchive(ArchiveReference),
    /// In a registry.
    Remote(RemoteReference),
}

/// A place in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutReference {
    directory: PathBuf,
    tag: Option<LayoutTag>,
}

impl LayoutReference {
    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Which of the images in it; without a tag, the only one.
    #[must_use]
    pub const fn tag(&self) -> Option<&LayoutTag> {
        self.tag.as_ref()
    }
}

/// The name of an image inside a layout: annotation `org.opencontainers.image.ref.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutTag(String);

impl LayoutTag {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A repository in a registry, and one image of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteReference {
    host: Host,
    repository: Repository,
    version: Version,
}

impl RemoteReference {
    /// The registry.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The repository.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The image.
    #[must_use]
    pub const fn version(&self) -> &Version {
        &self.version
    }
}

/// The path of a repository, such as `hospital/medrec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository(String);

impl Repository {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// Whatever the tag stands for now.
    Tag(Tag),
    /// Exactly this manifest.
    Digest(Digest),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(&tag.0),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A tag of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

/// Why a text names no image. Fault: whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Fault: the caller.
    #[error("`{}` names no image: begin with `docker://`, `oci:`, `oci-archive:` or `docker-archive:`", .0.escape_debug())]
    Transport(String),
    /// Fault: the caller.
    #[error("`{}` is no registry: write `host`, `host:port` or `[address]:port`", .0.escape_debug())]
    Host(String),
    /// Fault: the caller.
    #[error("`{}` is no repository: lower-case letters and digits, joined by `.`, `_`, `__`, `-`, between slashes", .0.escape_debug())]
    Repository(String),
    /// Fault: the caller.
    #[error("`{}` is no tag", .0.escape_debug())]
    Tag(String),
    /// Fault: the caller.
    #[error("`{}` is no digest: `sha256:` and 64 lower-case hexadecimal digits", .0.escape_debug())]
    Digest(String),
    /// Fault: the caller; two names for one image can disagree.
    #[error("name a tag or a digest, not both")]
    TagAndDigest,
    /// Fault: the caller.
    #[error("`oci:` needs a directory")]
    NoDirectory,
    /// Fault: the caller.
    #[error("`oci-archive:` and `docker-archive:` need a file")]
    NoFile,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if let Some(rest) = text.strip_prefix("docker://") {
            return remote(rest).map(Self::Remote);
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            return layout(rest).map(Self::Layout);
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return ArchiveReference::parse(rest).map(Self::Archive);
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            return ArchiveReference::parse(rest).map(Self::DockerArchive);
        }
        Err(ReferenceError::Transport(short(text)))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(LayoutReference { directory, tag }) => {
                in_place(f, "oci", directory, tag.as_ref())
            }
            Self::Archive(place) => in_place(f, "oci-archive", place.file(), place.tag()),
            Self::DockerArchive(place) => in_place(f, "docker-archive", place.file(), place.tag()),
            Self::Remote(RemoteReference {
                host,
                repository,
                version,
            }) => {
                let mark = if matches!(version, Version::Tag(_)) {
                    ':'
                } else {
                    '@'
                };
                write!(f, "docker://{host}/{}{mark}{version}", repository.0)
            }
        }
    }
}

fn in_place(
    f: &mut fmt::Formatter<'_>,
    transport: &str,
    path: &Path,
    tag: Option<&LayoutTag>,
) -> fmt::Result {
    write!(f, "{transport}:{}", path.display())?;
    tag.map_or(Ok(()), |tag| write!(f, ":{}", tag.0))
}

/// The directory ends at the first colon, as it does for other tools that read these names.
fn layout(text: &str) -> Result<LayoutReference, ReferenceError> {
    let (directory, tag) = match text.split_once(':') {
        Some((directory, tag)) => (directory, Some(layout_tag(tag)?)),
        None => (text, None),
    };
    if directory.is_empty() || directory.contains('\0') {
        return Err(ReferenceError::NoDirectory);
    }
    Ok(LayoutReference {
        directory: PathBuf::from(directory),
        tag,
    })
}

fn layout_tag(text: &str) -> Result<LayoutTag, ReferenceError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:@+/".contains(&byte);
    let edges = text.as_bytes().first().zip(text.as_bytes().last());
    let edged = edges
        .is_some_and(|(first, last)| first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric());
    if edged && text.len() <= REPOSITORY_LIMIT && text.bytes().all(good) {
        return Ok(LayoutTag(text.to_owned()));
    }
    Err(ReferenceError::Tag(short(text)))
}

fn remote(text: &str) -> Result<RemoteReference, ReferenceError> {
    let (host, path) = text
        .split_once('/')
        .ok_or_else(|| ReferenceError::Repository(String::new()))?;
    let host: Host = host.parse()?;
    let (path, version) = match path.split_once('@') {
        Some((path, digest)) => {
            let digest = digest
                .parse()
                .map_err(|_| ReferenceError::Digest(short(digest)))?;
            if path.contains(':') {
                return Err(ReferenceError::TagAndDigest);
            }
            (path, Version::Digest(digest))
        }
        None => match path.split_once(':') {
            Some((path, tag)) => (path, Version::Tag(tag.parse()?)),
            None => (path, Version::Tag(Tag(DEFAULT_TAG.to_owned()))),
        },
    };
    let repository = repository(&host, path)?;
    Ok(RemoteReference {
        host,
        repository,
        version,
    })
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let good = text
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-');
        if good && text.len() <= TAG_LIMIT && text.bytes().next().is_some_and(word) {
            return Ok(Self(text.to_owned()));
        }
        Err(ReferenceError::Tag(short(text)))
    }
}

/// Docker's own images live in `library/` although nobody writes it.
fn repository(host: &Host, path: &str) -> Result<Repository, ReferenceError> {
    let whole = if host.is_docker_hub() && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    let good = whole.len() <= REPOSITORY_LIMIT && whole.split('/').all(is_component);
    good.then_some(Repository(whole))
        .ok_or_else(|| ReferenceError::Repository(short(path)))
}

/// Letters and digits, with one separator between two runs of them: `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator =
        |run: &str| matches!(run, "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text
            .split(alphanumeric)
            .all(|run| run.is_empty() || separator(run))
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

const DEFAULT_TAG: &str = "latest";
const TAG_LIMIT: usize = 128;
const REPOSITORY_LIMIT: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Reference, ReferenceError> {
        text.parse()
    }

    #[test]
    fn full_names_are_read() {
        let digest = Digest::of("x");
        for text in [
            "docker://localhost:5000/a:b".to_owned(),
            "docker://registry.example/hospital/med__rec/a-b---c.d:v1.0_x".to_owned(),
            format!("docker://[::1]:5000/a@{digest}"),
            "oci:/some/where:tag".to_owned(),
            "oci:here:localhost/a/b:1.0".to_owned(),
            "oci:../there".to_owned(),
            "oci-archive:some/file.tar".to_owned(),
            "oci-archive:/file:localhost/a/b:1.0".to_owned(),
            "docker-archive:/file".to_owned(),
            "docker-archive:/file:busybox:1.36".to_owned(),
        ] {
            assert_eq!(parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn left_out_parts_have_one_meaning() {
        assert_eq!(
            parse("docker://docker.io/busybox").unwrap().to_string(),
            "docker://docker.io/library/busybox:latest"
        );
        assert_eq!(
            parse("docker://quay.io/busybox").unwrap().to_string(),
            "docker://quay.io/busybox:latest"
        );
    }

    #[test]
    fn the_limit_of_a_repository_counts_what_nobody_writes() {
        let longest = "a".repeat(REPOSITORY_LIMIT - "library/".len());
        let name = |path: &str| parse(&format!("docker://docker.io/{path}"));
        let read = name(&longest).unwrap();
        assert_eq!(parse(&read.to_string()), Ok(read));
        assert!(name(&format!("{longest}a")).is_err());
    }

    #[test]
    fn both_tag_and_digest_are_refused() {
        let text = format!("docker://h.example/a:b@{}", Digest::of("x"));
        assert_eq!(parse(&text), Err(ReferenceError::TagAndDigest));
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "",
            "busybox",
            "docker:",
            "docker:busybox",
            "docker://",
            "docker://busybox",
            "docker://host/",
            "docker://h.example//a",
            "docker://h.example/a/",
            "docker://h.example/A",
            "docker://h.example/a/../b",
            "docker://h.example/a..b",
            "docker://h.example/a:",
            "docker://h.example/a:.x",
            "docker://h.example/a:b/c",
            "docker://h.example/a?x",
            "docker://h.example/a%2fb",
            "docker://u:p@h.example/a",
            "docker://h.example/a@sha512:00",
            "docker://h.example/a@sha256:00",
            "docker://h.example/a___b",
            "docker://h.example/-a",
            "docker://h.example/a b",
            "DOCKER://h.example/a",
            "oci:",
            "oci::tag",
            "oci:dir:",
            "oci:dir:a b",
            "oci:dir:/x",
            "oci:d\0ir",
            "oci-archive:",
            "oci-archive:/dir/",
            "oci-archive:file:",
            "docker-archive:",
            "docker-archive:fi\0le",
        ] {
            assert!(parse(bad).is_err(), "`{bad}` was read as {:?}", parse(bad));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_back(text in "(docker://|oci:|oci-archive:|docker-archive:|)[ -~é\0]{0,60}") {
            if let Ok(reference) = parse(&text) {
                prop_assert_eq!(parse(&reference.to_string()).unwrap(), reference);
            }
        }

        #[test]
        fn a_repository_never_leaves_its_path(path in "[a-z./_%-]{1,20}") {
            if let Ok(Reference::Remote(remote)) = parse(&format!("docker://h.example/{path}")) {
                prop_assert!(!remote.repository().as_str().contains(".."));
                prop_assert!(!remote.repository().as_str().contains("//"));
            }
        }
    }
}
