//! What a layer unpacks to: the digest that the configuration lists as `diff_ids`.

mod gunzip;

use std::io::{self, Write};

use estate::Digest;
use zstd::stream::write::Decoder as ZstdDecoder;

use crate::hash::Hasher;
use gunzip::Gunzip;

/// How large a layer may become when it is unpacked. A few bytes can be made to unpack to any number: what is checked is
/// unpacked while it passes by and takes no room, but it takes time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnpackedLimit {
    /// 1 GiB, or 200 times the packed size where that is more: real layers come nowhere near.
    #[default]
    Usual,
    /// So many bytes.
    AtMost(u64),
}

impl UnpackedLimit {
    /// For a layer of so many packed bytes.
    pub(crate) fn of(self, packed: u64) -> u64 {
        match self {
            Self::Usual => packed.saturating_mul(RATIO).max(FLOOR),
            Self::AtMost(limit) => limit,
        }
    }
}

/// Unpacks a layer as it passes by and keeps nothing but the digest.
pub(crate) enum DiffIdHasher {
    /// Not packed: what it unpacks to has the layer's own digest, which is known already.
    Plain(Allowance),
    Gzip(Box<Gunzip<Bounded>>),
    Zstd(ZstdDecoder<'static, Bounded>),
}

/// How many bytes may still come.
pub(crate) struct Allowance {
    left: u64,
    exceeded: bool,
}

impl Allowance {
    fn spend(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.exceeded = true;
                Err(io::Error::other("it unpacks to more than is allowed"))
            }
        }
    }
}

/// Digests as many bytes as are allowed, and not one more.
pub(crate) struct Bounded {
    hasher: Hasher,
    allowance: Allowance,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.allowance.spend(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiffIdHasher {
    /// For a plain layer of this media type, up to `limit` bytes; `None` when nobody here knows how to unpack it.
    pub(crate) fn for_layer(media_type: &str, limit: u64) -> io::Result<Option<Self>> {
        let allowance = Allowance {
            left: limit,
            exceeded: false,
        };
        let bounded = |allowance| Bounded {
            hasher: Hasher::new(),
            allowance,
        };
        Ok(
            match media_type.rsplit_once(['+', '.']).map(|(_, last)| last) {
                Some("tar") => Some(Self::Plain(allowance)),
                Some("gzip") => Some(Self::Gzip(Box::new(Gunzip::new(bounded(allowance))))),
                Some("zstd") => {
                    let mut decoder = ZstdDecoder::new(bounded(allowance))?;
                    decoder.window_log_max(WINDOW_LOG)?;
                    Some(Self::Zstd(decoder))
                }
                _ => None,
            },
        )
    }

    /// Whether there is anything to unpack.
    pub(crate) fn unpacks(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// Takes the next piece of the packed layer.
    pub(crate) fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(allowance) => allowance.spend(bytes),
            Self::Gzip(decoder) => decoder.update(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    /// Whether it was more than was allowed.
    pub(crate) fn exceeded(&self) -> bool {
        match self {
            Self::Plain(allowance) => allowance.exceeded,
            Self::Gzip(decoder) => decoder.to().allowance.exceeded,
            Self::Zstd(decoder) => decoder.get_ref().allowance.exceeded,
        }
    }

    /// Unpacks what is left: decoders hold back the last of it.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(decoder) => decoder.end(),
            Self::Zstd(decoder) => decoder.flush(),
        }
    }

    /// The digest of all that came out; `packed` is the one of all that went in.
    pub(crate) fn finish(mut self, packed: Digest) -> io::Result<Digest> {
        self.end()?;
        let bounded = match self {
            Self::Plain(_) => return Ok(packed),
            Self::Gzip(decoder) => decoder.into_to(),
            Self::Zstd(decoder) => decoder.into_inner(),
        };
        Ok(bounded.hasher.finish().digest)
    }
}

/// 32 MiB: what packers use by default fits four times; more would break the promise about memory.
const WINDOW_LOG: u32 = 25;
const FLOOR: u64 = 1024 * 1024 * 1024;
const RATIO: u64 = 200;

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
        let mut hasher = DiffIdHasher::for_layer(media_type, u64::MAX)?.unwrap();
        for piece in bytes.chunks(33) {
            hasher.update(piece)?;
        }
        hasher.finish(Digest::of(bytes))
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
        // In content that repeats itself another distance gives the same bytes, and nothing would be broken.
        let text: Vec<u8> = (0..20_000_u32)
            .flat_map(|number| Digest::of(number.to_le_bytes()).as_bytes()[..5].to_vec())
            .collect();
        let gzip = gzip(&text);
        let zstd = zstd::encode_all(text.as_slice(), 0).unwrap();
        for (media_type, packed) in [("x+gzip", &gzip), ("x+zstd", &zstd)] {
            for cut in [1, packed.len() / 2, packed.len() - 9] {
                assert_ne!(
                    digest(media_type, &packed[..cut]).ok(),
                    Some(Digest::of(&text))
                );
            }
            let mut flipped = packed.clone();
            flipped[packed.len() / 2] ^= 1;
            assert_ne!(digest(media_type, &flipped).ok(), Some(Digest::of(&text)));
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
                DiffIdHasher::for_layer(media_type, u64::MAX)
                    .unwrap()
                    .is_none(),
                "{media_type}"
            );
        }
    }

    #[test]
    fn not_one_byte_more_than_allowed_is_unpacked() {
        let zstd = zstd::encode_all(TEXT, 0).unwrap();
        for (media_type, packed) in [("x.tar", TEXT), ("x+gzip", &gzip(TEXT)), ("x+zstd", &zstd)] {
            let unpack = |limit: usize| {
                let mut hasher = DiffIdHasher::for_layer(media_type, limit as u64)
                    .unwrap()
                    .unwrap();
                let passed = packed.chunks(33).try_for_each(|piece| hasher.update(piece));
                let done = passed.and_then(|()| hasher.end());
                (done.is_ok(), hasher.exceeded())
            };
            assert_eq!(unpack(TEXT.len()), (true, false), "{media_type}");
            assert_eq!(unpack(TEXT.len() - 1), (false, true), "{media_type}");
        }
    }

    #[test]
    fn a_small_layer_may_unpack_to_a_gibibyte_and_a_large_one_to_200_times_its_size() {
        assert_eq!(UnpackedLimit::Usual.of(10), FLOOR);
        assert_eq!(UnpackedLimit::Usual.of(FLOOR), 200 * FLOOR);
        assert_eq!(UnpackedLimit::AtMost(7).of(FLOOR), 7);
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
