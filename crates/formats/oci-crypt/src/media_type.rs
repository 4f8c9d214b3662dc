//! Media types of layers: plain, encrypted, and Docker's names for the same.
//!
//! An encrypted layer is known by its last suffix, never by a list: peers write types that no list foresees.

/// What stands last in the media type of an encrypted layer.
pub const SUFFIX: &str = "+encrypted";

/// Why a layer of this type is not encrypted or decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaTypeError {
    /// Fault: the caller; encrypting twice would help nobody and no peer could read it.
    #[error("layer of type `{media_type}` is encrypted already")]
    AlreadyEncrypted {
        /// The type.
        media_type: String,
    },
    /// Fault: the caller; the layer is not encrypted.
    #[error("layer of type `{media_type}` is not encrypted")]
    NotEncrypted {
        /// The type.
        media_type: String,
    },
    /// Fault: none; such blobs are not layers, or lie elsewhere.
    #[error("a blob of type `{media_type}` is not a layer that can be encrypted")]
    NotALayer {
        /// The type, cut to 128 characters.
        media_type: String,
    },
}

/// Whether a blob of this type is encrypted.
pub fn is_encrypted(media_type: &str) -> bool {
    media_type.ends_with(SUFFIX)
}

/// The type of a plain layer after encryption; Docker's types become OCI's.
pub fn encrypted(plain: &str) -> Result<String, MediaTypeError> {
    if is_encrypted(plain) {
        return Err(MediaTypeError::AlreadyEncrypted {
            media_type: cut(plain),
        });
    }
    let known = oci(plain).ok_or_else(|| MediaTypeError::NotALayer {
        media_type: cut(plain),
    })?;
    Ok(format!("{known}{SUFFIX}"))
}

/// The OCI type of an encrypted layer after decryption. Types that are not known here only lose their suffix.
pub fn plain(encrypted: &str) -> Result<String, MediaTypeError> {
    let stripped = encrypted.strip_suffix(SUFFIX);
    match stripped {
        Some(rest) if !rest.is_empty() && !is_encrypted(rest) => {
            Ok(oci(rest).unwrap_or(rest).to_owned())
        }
        _ => Err(MediaTypeError::NotEncrypted {
            media_type: cut(encrypted),
        }),
    }
}

/// The OCI name of a plain layer's type; none for what is not a layer.
pub fn oci(plain: &str) -> Option<&str> {
    DOCKER
        .iter()
        .find(|(docker, _)| *docker == plain)
        .map(|(_, oci)| *oci)
        .or_else(|| OCI.contains(&plain).then_some(plain))
}

const OCI: [&str; 7] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.wasm.content.layer.v1+wasm",
];

const DOCKER: [(&str, &str); 3] = [
    (
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.oci.image.layer.v1.tar",
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ),
];

fn cut(media_type: &str) -> String {
    media_type.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_type_comes_back_as_its_oci_name() {
        for plain_type in OCI {
            assert_eq!(plain(&encrypted(plain_type).unwrap()).unwrap(), plain_type);
        }
        for (docker, oci) in DOCKER {
            assert_eq!(encrypted(docker).unwrap(), format!("{oci}+encrypted"));
            assert_eq!(
                plain(&format!("{docker}+encrypted")).unwrap(),
                oci,
                "as some peers write it"
            );
        }
    }

    #[test]
    fn unknown_encrypted_types_are_read_and_never_written() {
        assert_eq!(
            plain("application/vnd.new+encrypted").unwrap(),
            "application/vnd.new"
        );
        for other in ["application/vnd.new", "application/vnd.in-toto+json", ""] {
            assert!(
                matches!(encrypted(other), Err(MediaTypeError::NotALayer { .. })),
                "{other}"
            );
        }
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        assert!(encrypted(foreign).is_err());
    }

    #[test]
    fn a_layer_is_encrypted_once() {
        let once = encrypted(OCI[0]).unwrap();
        assert!(is_encrypted(&once));
        assert!(matches!(
            encrypted(&once),
            Err(MediaTypeError::AlreadyEncrypted { .. })
        ));
        for wrong in [
            OCI[0],
            "+encrypted",
            "a+encrypted+encrypted",
            "a+encrypted+gzip",
        ] {
            assert!(
                matches!(plain(wrong), Err(MediaTypeError::NotEncrypted { .. })),
                "{wrong}"
            );
        }
    }
}
