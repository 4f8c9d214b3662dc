//! The ciphers of encrypted key files. They prove nothing: a wrong password shows in the padding or in what comes out.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, UnboundCipherKey,
};
use zeroize::Zeroizing;

/// A block cipher in CBC mode with PKCS#7 padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128,
    Aes192,
    Aes256,
    DesEde3,
}

impl Cipher {
    pub(super) fn key_len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 | Self::DesEde3 => 24,
            Self::Aes256 => 32,
        }
    }

    /// Also the length of a block.
    pub(super) fn iv_len(self) -> usize {
        match self {
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
            Self::DesEde3 => 8,
        }
    }

    /// Decrypts; `None` when a length is wrong or the padding is, as with a wrong key.
    pub(super) fn decrypt(
        self,
        key: &[u8],
        iv: &[u8],
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let key = DecryptingKey::cbc(UnboundCipherKey::new(self.algorithm(), key).ok()?).ok()?;
        let iv = match self {
            Self::DesEde3 => DecryptionContext::Iv64(<[u8; 8]>::try_from(iv).ok()?.into()),
            _ => DecryptionContext::Iv128(<[u8; 16]>::try_from(iv).ok()?.into()),
        };
        key.decrypt(&mut buffer, iv).ok()?;
        let padding = usize::from(*buffer.last()?);
        let kept = buffer.len().checked_sub(padding)?;
        let is_padding = |bytes: &[u8]| bytes.iter().all(|byte| usize::from(*byte) == padding);
        if !(1..=self.iv_len()).contains(&padding) || !buffer.get(kept..).is_some_and(is_padding) {
            return None;
        }
        buffer.truncate(kept);
        Some(buffer)
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128 => &AES_128,
            Self::Aes192 => &AES_192,
            Self::Aes256 => &AES_256,
            Self::DesEde3 => DES_EDE3,
        }
    }
}

#[expect(
    deprecated,
    reason = "read only, for files that people have; nothing is ever encrypted with it"
)]
const DES_EDE3: &Algorithm = &aws_lc_rs::cipher::DES_EDE3_FOR_LEGACY_USE_ONLY;
