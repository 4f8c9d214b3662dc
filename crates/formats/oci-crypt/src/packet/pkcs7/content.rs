//! How the content of a packet is encrypted.
//!
//! Only AES-GCM is authenticated. The CBC forms are read because old writers had them, and are never written: whoever
//! alters such a packet is noticed only by what comes out. So everything that can go wrong after the first private
//! operation is one and the same error, and the same work is done before it is raised.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::der::{
    INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, PRIMITIVE_SEQUENCE, Reader, SEQUENCE, element, only,
    primitive,
};
use super::envelope::Algorithm;
use crate::options::PrivateOptions;
use crate::packet::{Opening, PacketError};

const AES_128_GCM: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x06";
const AES_256_GCM: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x2e";
const AES_128_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x02";
const AES_256_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a";
const DES_EDE3_CBC: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x03\x07";
const DES_CBC: &[u8] = b"\x2b\x0e\x03\x02\x07";
const TAG_LEN: u8 = 16;

/// A content cipher with its public parameters.
#[derive(Debug)]
pub(super) enum Cipher {
    Gcm {
        algorithm: &'static aead::Algorithm,
        nonce: [u8; aead::NONCE_LEN],
    },
    Aes {
        algorithm: &'static cipher::Algorithm,
        iv: [u8; 16],
        key_len: usize,
    },
    Des {
        algorithm: &'static cipher::Algorithm,
        iv: [u8; 8],
        key_len: usize,
    },
}

impl Cipher {
    pub(super) fn parse(algorithm: &Algorithm<'_>) -> Result<Self, PacketError> {
        let malformed = PacketError::Malformed {
            part: "content cipher's parameters",
        };
        let parsed = match algorithm.identifier {
            AES_128_GCM => gcm(&aead::AES_128_GCM, algorithm),
            AES_256_GCM => gcm(&aead::AES_256_GCM, algorithm),
            AES_128_CBC => aes(&cipher::AES_128, 16, algorithm),
            AES_256_CBC => aes(&cipher::AES_256, 32, algorithm),
            DES_EDE3_CBC => des(DES_EDE3, 24, algorithm),
            DES_CBC => des(DES, 8, algorithm),
            _ => return Err(algorithm.unsupported("content cipher")),
        };
        parsed.ok_or(malformed)
    }

    /// Length of the key.
    pub(super) fn key_len(&self) -> usize {
        match self {
            Self::Gcm { algorithm, .. } => algorithm.key_len(),
            Self::Aes { key_len, .. } | Self::Des { key_len, .. } => *key_len,
        }
    }

    /// Decrypts the content and reads the options in it.
    pub(super) fn open(&self, key: &[u8], content: Vec<u8>) -> Opening {
        let mut content = Zeroizing::new(content);
        match self {
            Self::Gcm { algorithm, nonce } => {
                match open_gcm(algorithm, key, *nonce, &mut content) {
                    Some(plaintext) => Opening::of_plaintext(plaintext),
                    None => Opening::Failed(PacketError::Pkcs7),
                }
            }
            Self::Aes { algorithm, iv, .. } => {
                let iv = DecryptionContext::Iv128((*iv).into());
                open_cbc(algorithm, key, iv, &mut content)
            }
            Self::Des { algorithm, iv, .. } => {
                let iv = DecryptionContext::Iv64((*iv).into());
                open_cbc(algorithm, key, iv, &mut content)
            }
        }
    }
}

/// Content encrypted under a fresh key, with AES-128-GCM as the newest peers write it.
pub(super) struct Sealed {
    pub(super) key: Zeroizing<[u8; 16]>,
    /// The whole AlgorithmIdentifier.
    pub(super) algorithm: Vec<u8>,
    pub(super) content: Vec<u8>,
}

impl Sealed {
    pub(super) fn new(plaintext: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; 16]);
        let mut nonce = [0; aead::NONCE_LEN];
        rand::fill(key.as_mut_slice()).ok()?;
        rand::fill(&mut nonce).ok()?;
        let sealing = LessSafeKey::new(UnboundKey::new(&aead::AES_128_GCM, key.as_slice()).ok()?);
        // One allocation of the right size: growing would leave a copy of the plaintext behind.
        let mut content = Vec::with_capacity(plaintext.len() + usize::from(TAG_LEN));
        content.extend_from_slice(plaintext);
        let nonce_once = Nonce::assume_unique_for_key(nonce);
        sealing
            .seal_in_place_append_tag(nonce_once, Aad::empty(), &mut content)
            .ok()?;
        Some(Self {
            key,
            algorithm: write_gcm(&nonce),
            content,
        })
    }
}

/// The parameters as peers write them: a SEQUENCE in a SEQUENCE that claims to be primitive, and a nonce tagged [4].
fn write_gcm(nonce: &[u8]) -> Vec<u8> {
    let nonce = element(primitive(4), &[nonce]);
    let inner = element(SEQUENCE, &[&nonce, &element(INTEGER, &[&[TAG_LEN]])]);
    let name = element(OBJECT_IDENTIFIER, &[AES_128_GCM]);
    element(SEQUENCE, &[&name, &element(PRIMITIVE_SEQUENCE, &[&inner])])
}

/// Both the form of peers, and that of RFC 5084 section 3.2. The tag is always whole: a short one is easier to guess.
fn gcm(algorithm: &'static aead::Algorithm, found: &Algorithm<'_>) -> Option<Cipher> {
    let parameters = found.parameters?;
    let is_sequence = matches!(parameters.tag, SEQUENCE | PRIMITIVE_SEQUENCE);
    let content = is_sequence.then_some(parameters.content)?;
    let nested = only(content, SEQUENCE).map(|inner| (inner, primitive(4)));
    let (fields, nonce_tag) = nested.unwrap_or((content, OCTET_STRING));
    let mut reader = Reader::new(fields);
    let nonce = reader.expect(nonce_tag)?.try_into().ok()?;
    let tag_len = reader.expect(INTEGER)?;
    reader.end()?;
    (tag_len == [TAG_LEN]).then_some(Cipher::Gcm { algorithm, nonce })
}

fn aes(
    algorithm: &'static cipher::Algorithm,
    key_len: usize,
    found: &Algorithm<'_>,
) -> Option<Cipher> {
    let iv = iv(found)?;
    Some(Cipher::Aes {
        algorithm,
        iv,
        key_len,
    })
}

fn des(
    algorithm: &'static cipher::Algorithm,
    key_len: usize,
    found: &Algorithm<'_>,
) -> Option<Cipher> {
    let iv = iv(found)?;
    Some(Cipher::Des {
        algorithm,
        iv,
        key_len,
    })
}

fn iv<const N: usize>(found: &Algorithm<'_>) -> Option<[u8; N]> {
    let parameters = found.parameters.filter(|iv| iv.tag == OCTET_STRING)?;
    parameters.content.try_into().ok()
}

fn open_gcm<'c>(
    algorithm: &'static aead::Algorithm,
    key: &[u8],
    nonce: [u8; aead::NONCE_LEN],
    content: &'c mut [u8],
) -> Option<&'c [u8]> {
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plaintext = key.open_in_place(nonce, Aad::empty(), content).ok()?;
    Some(plaintext)
}

/// A padding error, garbage, and options that are none are one error, after the same work: what differed would tell,
/// altered packet by altered packet, the plaintext of a packet that somebody copied.
fn open_cbc(
    algorithm: &'static cipher::Algorithm,
    key: &[u8],
    iv: DecryptionContext,
    content: &mut [u8],
) -> Opening {
    let decrypted = UnboundCipherKey::new(algorithm, key)
        .and_then(DecryptingKey::cbc)
        .and_then(|key| key.decrypt(content, iv));
    let Ok(decrypted) = decrypted else {
        return Opening::Failed(PacketError::Pkcs7);
    };
    let (is_padded, length) = unpad(decrypted, algorithm.block_len());
    let options = PrivateOptions::parse(decrypted.get(..length).unwrap_or_default());
    match options {
        Ok(options) if is_padded => Opening::Opened(options),
        _ => Opening::Failed(PacketError::Pkcs7),
    }
}

/// Whether the padding is right, and how long the text before it is; all of it where the padding is wrong. Looks at all
/// of the last block whatever it holds.
fn unpad(text: &[u8], block_len: usize) -> (bool, usize) {
    let Some(&padding) = text.last() else {
        return (false, 0);
    };
    let padding = usize::from(padding);
    let mut wrong = usize::from(padding == 0) | usize::from(padding > block_len);
    for (from_end, byte) in text.iter().rev().take(block_len).enumerate() {
        wrong |= usize::from(from_end < padding) & usize::from(usize::from(*byte) != padding);
    }
    let is_padded = wrong == 0;
    (is_padded, text.len() - padding * usize::from(is_padded))
}

#[expect(
    deprecated,
    reason = "read only, for packets that old writers made; nothing is ever encrypted with it"
)]
const DES_EDE3: &cipher::Algorithm = &cipher::DES_EDE3_FOR_LEGACY_USE_ONLY;
#[expect(
    deprecated,
    reason = "read only, for packets that old writers made; nothing is ever encrypted with it"
)]
const DES: &cipher::Algorithm = &cipher::DES_FOR_LEGACY_USE_ONLY;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_right_or_wrong_as_a_whole() {
        for (text, expected) in [
            (&b"abcdefg\x01"[..], (true, 7)),
            (b"abcde\x03\x03\x03", (true, 5)),
            (b"\x08\x08\x08\x08\x08\x08\x08\x08", (true, 0)),
            (b"abcde\x02\x03\x03", (false, 8)),
            (b"abcdefg\x00", (false, 8)),
            (b"abcdefg\x09", (false, 8)),
            (b"\x09\x09\x09\x09\x09\x09\x09\x09", (false, 8)),
            (b"", (false, 0)),
        ] {
            assert_eq!(unpad(text, 8), expected, "{text:02x?}");
        }
    }
}
