//! How the content key is encrypted to a recipient's RSA key.

use aws_lc_rs::rand;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepAlgorithm, OaepPrivateDecryptingKey, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey,
};
use zeroize::Zeroizing;

use super::der::{OCTET_STRING, Reader, SEQUENCE, constructed, only};
use super::envelope::{Algorithm, RSA_ENCRYPTION};
use crate::packet::PacketError;

const RSAES_OAEP: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07";
const MGF1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";
const P_SPECIFIED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x09";
const SHA_1: &[u8] = b"\x2b\x0e\x03\x02\x1a";
const SHA_256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
const SHA_384: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x02";
const SHA_512: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x03";

/// A way to encrypt keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum KeyTransport {
    Pkcs1,
    Oaep(&'static OaepAlgorithm),
}

impl KeyTransport {
    pub(super) fn parse(algorithm: &Algorithm<'_>) -> Result<Self, PacketError> {
        match algorithm.identifier {
            RSA_ENCRYPTION if algorithm.is_plain() => Ok(Self::Pkcs1),
            RSA_ENCRYPTION => Err(MALFORMED),
            RSAES_OAEP => oaep(algorithm).map(Self::Oaep),
            _ => Err(algorithm.unsupported("key encryption")),
        }
    }

    /// Decrypts a content key of `length` bytes; none only where this machine has no randomness.
    ///
    /// The attack avoided is Bleichenbacher's: whoever learns whether the padding was right decrypts any key in a few
    /// thousand tries, and signs with ours. So a wrong padding, or a key of another length, is no error here: decryption
    /// goes on with a random key, and fails where the content is opened, exactly as it would with a right padding
    /// around a wrong key. The key is chosen by mask; the one branch that is left is the library's own, which tells
    /// right from wrong by its return value after it looked at all of the padding in constant time.
    pub(super) fn decrypt(
        self,
        key: &PrivateDecryptingKey,
        encrypted: &[u8],
        length: usize,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut chosen = Zeroizing::new(vec![0; length]);
        rand::fill(&mut chosen).ok()?;
        let mut decrypted = Zeroizing::new(vec![0; key.key_size_bytes()]);
        let found = match self {
            Self::Pkcs1 => Pkcs1PrivateDecryptingKey::new(key.clone())
                .and_then(|key| key.decrypt(encrypted, &mut decrypted).map(|key| key.len())),
            Self::Oaep(algorithm) => OaepPrivateDecryptingKey::new(key.clone()).and_then(|key| {
                let opened = key.decrypt(algorithm, encrypted, &mut decrypted, None);
                opened.map(|key| key.len())
            }),
        };
        let mask = 0u8.wrapping_sub(u8::from(found.is_ok_and(|found| found == length)));
        for (chosen, decrypted) in chosen.iter_mut().zip(decrypted.iter()) {
            *chosen = (*chosen & !mask) | (*decrypted & mask);
        }
        Some(chosen)
    }
}

/// RSAES-OAEP-params (RFC 4055 section 4.1). Peers leave out the mask function and mean MGF1 with the same hash, where the
/// specification means MGF1 with SHA-1, a mix that the library does not have: such a packet does not open.
fn oaep(algorithm: &Algorithm<'_>) -> Result<&'static OaepAlgorithm, PacketError> {
    let parameters = algorithm.parameters.ok_or(MALFORMED)?;
    let (hash, mask, label) = oaep_parts(parameters.whole).ok_or(MALFORMED)?;
    let hash_name = hash.map_or(SHA_1, |hash| hash.identifier);
    let known = match hash_name {
        SHA_1 => &OAEP_SHA1_MGF1SHA1,
        SHA_256 => &OAEP_SHA256_MGF1SHA256,
        SHA_384 => &OAEP_SHA384_MGF1SHA384,
        SHA_512 => &OAEP_SHA512_MGF1SHA512,
        _ => return Err(hash.unwrap_or(*algorithm).unsupported("OAEP hash")),
    };
    if let Some(mask) = mask {
        let inner = mask
            .parameters
            .and_then(|found| only(found.whole, SEQUENCE));
        let inner = inner.and_then(Algorithm::parse);
        let is_same = inner.is_some_and(|inner| inner.identifier == hash_name && inner.is_plain());
        if mask.identifier != MGF1 || !is_same {
            return Err(inner.unwrap_or(mask).unsupported("OAEP mask"));
        }
    }
    if let Some(label) = label {
        let text = label
            .parameters
            .and_then(|found| only(found.whole, OCTET_STRING));
        if label.identifier != P_SPECIFIED || text != Some(&[]) {
            return Err(label.unsupported("OAEP label"));
        }
    }
    Ok(known)
}

type OaepParts<'a> = (
    Option<Algorithm<'a>>,
    Option<Algorithm<'a>>,
    Option<Algorithm<'a>>,
);

fn oaep_parts(parameters: &[u8]) -> Option<OaepParts<'_>> {
    let mut reader = Reader::new(only(parameters, SEQUENCE)?);
    let mut part = |number| match reader.optional(constructed(number))? {
        Some(part) => Algorithm::parse(only(part, SEQUENCE)?).map(Some),
        None => Some(None),
    };
    let parts = (part(0)?, part(1)?, part(2)?);
    reader.end().map(|()| parts)
}

const MALFORMED: PacketError = PacketError::Malformed {
    part: "key encryption's parameters",
};
