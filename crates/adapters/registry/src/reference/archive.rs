//! Names of images in one file: `oci-archive:FILE[:TAG]` and `docker-archive:FILE[:NAME[:TAG]]`.

use std::path::{Path, PathBuf};

use super::{LayoutTag, ReferenceError, layout_tag};

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveReference {
    file: PathBuf,
    tag: Option<LayoutTag>,
}

impl ArchiveReference {
    /// The file ends at the first colon, as it does for other tools that read these names.
    pub(super) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (file, tag) = match text.split_once(':') {
            Some((file, tag)) => (file, Some(layout_tag(tag)?)),
            None => (text, None),
        };
        // What ends in a slash is a directory for every other tool.
        if file.is_empty() || file.contains('\0') || file.ends_with('/') {
            return Err(ReferenceError::NoFile);
        }
        Ok(Self {
            file: PathBuf::from(file),
            tag,
        })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Which of the images in it; without a tag, the only one.
    #[must_use]
    pub const fn tag(&self) -> Option<&LayoutTag> {
        self.tag.as_ref()
    }
}
