//! The media types of manifests and configurations, and what Docker's become in an OCI image.

/// An OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// What kind of document a media type announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Document {
    Manifest,
    Index,
}

/// Which document `media_type` announces; `None` for what is not read here, such as schema 1.
pub(crate) fn document(media_type: &str) -> Option<Document> {
    match media_type {
        OCI_MANIFEST | DOCKER_MANIFEST => Some(Document::Manifest),
        OCI_INDEX | DOCKER_LIST => Some(Document::Index),
        _ => None,
    }
}

/// The OCI media type of a manifest, index or configuration: encrypted layers exist in OCI manifests only.
pub(crate) fn to_oci(media_type: &str) -> &str {
    match media_type {
        DOCKER_MANIFEST => OCI_MANIFEST,
        DOCKER_LIST => OCI_INDEX,
        DOCKER_CONFIG => OCI_CONFIG,
        other => other,
    }
}

/// Whether a configuration of this type describes a root file system.
pub(crate) fn describes_rootfs(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}
