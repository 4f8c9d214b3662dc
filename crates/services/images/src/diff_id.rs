//! What a layer unpacks to: the digest that the configuration lists as `diff_ids`.

use std::io::{self, Write};

use estate::Digest;
use flate2::write::MultiGzDecoder;
use zstd::stream::write::Decoder as ZstdDecoder;

use crate::hash::Hasher;

/// Unpacks a layer as it passes by and keeps nothing but the digest.
pub(crate) enum DiffIdHasher {
    Plain(Hasher),
    Gzip(MultiGzDecoder<Hasher>),
    Zstd(ZstdDecoder<'static, Hasher>),
}

impl DiffIdHasher {
    /// For a plain layer of this media type; `None` when nobody here knows how to unpack it.
    pub(crate) fn for_layer(media_type: &str) -> io::Result<Option<Self>> {
        let hasher = Hasher::new();
        Ok(
            match media_type.rsplit_once(['+', '.']).map(|(_, last)| last) {
                Some("tar") => Some(Self::Plain(hasher)),
                Some("gzip") => Some(Self::Gzip(MultiGzDecoder::new(hasher))),
                Some("zstd") => {
                    let mut decoder = ZstdDecoder::new(hasher)?;
                    decoder.window_log_max(WINDOW_LOG)?;
                    Some(Self::Zstd(decoder))
                }
                _ => None,
            },
        )
    }

    /// Takes the next piece of the packed layer.
    pub(crate) fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(hasher) => hasher.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    /// The digest of all that came out.
    pub(crate) fn finish(self) -> io::Result<Digest> {
        let hasher = match self {
            Self::Plain(hasher) => hasher,
            Self::Gzip(decoder) => decoder.finish()?,
            Self::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner()
            }
        };
        Ok(hasher.finish().digest)
    }
}

/// 32 MiB: what packers use by default fits four times; more would break the promise about memory.
const WINDOW_LOG: u32 = 25;

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const TEXT: &[u8] = &[7; 100_000];

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn digest(media_type: &str, bytes: &[u8]) -> io::Result<Digest> {
        let mut hasher = DiffIdHasher::for_layer(media_type)?.unwrap();
        for piece in bytes.chunks(33) {
            hasher.update(piece)?;
        }
        hasher.finish()
    }

    #[test]
    fn every_packing_has_the_digest_of_its_content() {
        let two_members = [gzip(&TEXT[..10]), gzip(&TEXT[10..])].concat();
        let zstd = zstd::encode_all(TEXT, 0).unwrap();
        for (media_type, packed) in [
            ("application/vnd.oci.image.layer.v1.tar", TEXT),
            ("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(TEXT)),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                &two_members,
            ),
            ("application/vnd.oci.image.layer.v1.tar+zstd", &zstd),
        ] {
            assert_eq!(
                digest(media_type, packed).unwrap(),
                Digest::of(TEXT),
                "{media_type}"
            );
        }
    }

    #[test]
    fn a_short_or_broken_packing_never_has_it() {
        let gzip = gzip(TEXT);
        let zstd = zstd::encode_all(TEXT, 0).unwrap();
        for (media_type, packed) in [("x+gzip", &gzip), ("x+zstd", &zstd)] {
            for cut in [1, packed.len() / 2, packed.len() - 9] {
                assert_ne!(
                    digest(media_type, &packed[..cut]).ok(),
                    Some(Digest::of(TEXT))
                );
            }
            let mut flipped = packed.clone();
            flipped[packed.len() / 2] ^= 1;
            assert_ne!(digest(media_type, &flipped).ok(), Some(Digest::of(TEXT)));
            assert!(digest(media_type, b"neither of them").is_err());
        }
    }

    #[test]
    fn other_packings_are_unknown() {
        for media_type in [
            "",
            "tar",
            "application/vnd.wasm.content.layer.v1+wasm",
            "x.tar+bzip2",
        ] {
            assert!(
                DiffIdHasher::for_layer(media_type).unwrap().is_none(),
                "{media_type}"
            );
        }
    }

    #[test]
    fn a_window_beyond_the_bound_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(TEXT).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(digest("x+zstd", &packed).is_err());
    }
}
