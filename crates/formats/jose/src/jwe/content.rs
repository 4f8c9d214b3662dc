//! Content encryption (RFC 7518 section 5).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// How the content is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentEncryption {
    A128Gcm,
    A192Gcm,
    A256Gcm,
    A128CbcHs256,
    A192CbcHs384,
    A256CbcHs512,
}

/// What of an encrypted text the content key needs.
#[derive(Clone, Copy)]
pub(super) struct Sealed<'a> {
    pub(super) iv: &'a [u8],
    pub(super) aad: &'a [u8],
    pub(super) ciphertext: &'a [u8],
    pub(super) tag: &'a [u8],
}

impl ContentEncryption {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "A128GCM" => Some(Self::A128Gcm),
            "A192GCM" => Some(Self::A192Gcm),
            "A256GCM" => Some(Self::A256Gcm),
            "A128CBC-HS256" => Some(Self::A128CbcHs256),
            "A192CBC-HS384" => Some(Self::A192CbcHs384),
            "A256CBC-HS512" => Some(Self::A256CbcHs512),
            _ => None,
        }
    }

    pub(super) fn key_len(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            Self::A192Gcm => 24,
            Self::A256Gcm | Self::A128CbcHs256 => 32,
            Self::A192CbcHs384 => 48,
            Self::A256CbcHs512 => 64,
        }
    }

    pub(super) fn iv_len(self) -> usize {
        match self {
            Self::A128Gcm | Self::A192Gcm | Self::A256Gcm => 12,
            Self::A128CbcHs256 | Self::A192CbcHs384 | Self::A256CbcHs512 => 16,
        }
    }

    pub(super) fn tag_len(self) -> usize {
        match self {
            Self::A128Gcm | Self::A192Gcm | Self::A256Gcm => 16,
            Self::A128CbcHs256 | Self::A192CbcHs384 | Self::A256CbcHs512 => self.key_len() / 2,
        }
    }

    /// Opens the content; `None` when key or text is not the right one.
    pub(super) fn open(self, cek: &[u8], sealed: Sealed<'_>) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::A128Gcm => open_gcm(&AES_128_GCM, cek, sealed),
            Self::A192Gcm => open_gcm(&AES_192_GCM, cek, sealed),
            Self::A256Gcm => open_gcm(&AES_256_GCM, cek, sealed),
            Self::A128CbcHs256 => open_cbc(&cipher::AES_128, hmac::HMAC_SHA256, cek, sealed),
            Self::A192CbcHs384 => open_cbc(&cipher::AES_192, hmac::HMAC_SHA384, cek, sealed),
            Self::A256CbcHs512 => open_cbc(&cipher::AES_256, hmac::HMAC_SHA512, cek, sealed),
        }
    }
}

/// The one way that is written: ciphertext and tag.
pub(super) fn seal_a256gcm(
    cek: &[u8; 32],
    iv: &[u8; 12],
    aad: &[u8],
    plaintext: &[u8],
) -> Option<(Vec<u8>, Vec<u8>)> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, cek).ok()?);
    // Plaintext never lies in the buffer that is handed out, even when sealing fails half-way.
    let mut buffer = Zeroizing::new(plaintext.to_vec());
    let nonce = Nonce::assume_unique_for_key(*iv);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut buffer)
        .ok()?;
    Some((buffer.to_vec(), tag.as_ref().to_vec()))
}

fn open_gcm(
    algorithm: &'static Algorithm,
    cek: &[u8],
    sealed: Sealed<'_>,
) -> Option<Zeroizing<Vec<u8>>> {
    let key = LessSafeKey::new(UnboundKey::new(algorithm, cek).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(sealed.iv).ok()?;
    let mut plaintext = Zeroizing::new(vec![0; sealed.ciphertext.len()]);
    key.open_separate_gather(
        nonce,
        Aad::from(sealed.aad),
        sealed.ciphertext,
        sealed.tag,
        &mut plaintext,
    )
    .ok()?;
    Some(plaintext)
}

fn open_cbc(
    algorithm: &'static cipher::Algorithm,
    mac: hmac::Algorithm,
    cek: &[u8],
    sealed: Sealed<'_>,
) -> Option<Zeroizing<Vec<u8>>> {
    let (mac_key, key) = cek.split_at_checked(cek.len() / 2)?;
    let mut tag = hmac::Context::with_key(&hmac::Key::new(mac, mac_key));
    tag.update(sealed.aad);
    tag.update(sealed.iv);
    tag.update(sealed.ciphertext);
    tag.update(&(sealed.aad.len() as u64 * 8).to_be_bytes());
    let tag = tag.sign();
    verify_slices_are_equal(tag.as_ref().get(..cek.len() / 2)?, sealed.tag).ok()?;

    let iv: [u8; 16] = sealed.iv.try_into().ok()?;
    let key =
        PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(algorithm, key).ok()?).ok()?;
    let mut plaintext = Zeroizing::new(sealed.ciphertext.to_vec());
    let len = key
        .decrypt(&mut plaintext, DecryptionContext::Iv128(iv.into()))
        .ok()?
        .len();
    plaintext.truncate(len);
    Some(plaintext)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cbc_vector_of_the_rfc_holds() {
        // RFC 7518 appendix B.1.
        let plaintext = b"A cipher system must not be required to be secret, and it must be able to fall into the hands of the enemy without inconvenience";
        let aad = b"The second principle of Auguste Kerckhoffs";
        let key: Vec<u8> = (0..64).collect();
        let iv = hex::decode("1af38c2dc2b96ffdd86694092341bc04").unwrap();
        let b1 = "c80edfa32ddf39d5ef00c0b468834279a2e46a1b8049f792f76bfe54b903a9c9a94ac9b47ad2655c5f10f9aef71427e2fc6f9b3f399a221489f16362c703233609d45ac69864e3321cf82935ac4096c86e133314c54019e8ca7980dfa4b9cf1b384c486f3a54c51078158ee5d79de59fbd34d848b3d69550a67646344427ade54b8851ffb598f7f80074b9473c82e2db";
        let tag = "652c3fa36b0a7c5b3219fab3a30bc1c4";
        let (ciphertext, tag) = (hex::decode(b1).unwrap(), hex::decode(tag).unwrap());
        let sealed = Sealed {
            iv: &iv,
            aad,
            ciphertext: &ciphertext,
            tag: &tag,
        };
        assert_eq!(
            ContentEncryption::A128CbcHs256
                .open(&key[..32], sealed)
                .unwrap()
                .as_slice(),
            plaintext
        );
        let shorter = Sealed {
            tag: &tag[..15],
            ..sealed
        };
        assert!(
            ContentEncryption::A128CbcHs256
                .open(&key[..32], shorter)
                .is_none()
        );
        assert!(
            ContentEncryption::A128CbcHs256
                .open(&key[1..33], sealed)
                .is_none()
        );
    }
}
