//! Old encrypted PEM (`DEK-Info`): the key comes from MD5, counted once. Read because people have such files.

use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use super::KeyFileError;
use super::cipher::Cipher;
use super::pem_text::Block;

/// The DER in an encrypted block.
pub(super) fn decrypt(block: &Block, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let malformed = || KeyFileError::MalformedEncryption { part: "DEK-Info" };
    if block.header("Proc-Type") != Some("4,ENCRYPTED") {
        return Err(KeyFileError::MalformedEncryption { part: "Proc-Type" });
    }
    let info = block.header("DEK-Info").ok_or_else(malformed)?;
    let (name, iv) = info.split_once(',').ok_or_else(malformed)?;
    let cipher = cipher(name.trim())?;
    let iv = from_hex(iv.trim()).filter(|iv| iv.len() == cipher.iv_len());
    let iv = iv.ok_or_else(malformed)?;
    let salt = iv.get(..8).ok_or_else(malformed)?;
    let key = derive(password, salt, cipher.key_len());
    let key = cipher.decrypt(&key, &iv, &block.contents);
    key.ok_or(KeyFileError::WrongPassword)
}

fn cipher(name: &str) -> Result<Cipher, KeyFileError> {
    match name {
        "AES-128-CBC" => Ok(Cipher::Aes128),
        "AES-192-CBC" => Ok(Cipher::Aes192),
        "AES-256-CBC" => Ok(Cipher::Aes256),
        "DES-EDE3-CBC" => Ok(Cipher::DesEde3),
        other => Err(KeyFileError::unsupported_encryption(other)),
    }
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round; the salt is the first half of the nonce.
fn derive(password: &[u8], salt: &[u8], len: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(len + 16));
    let mut last = Zeroizing::new([0; 16]);
    while key.len() < len {
        let mut hash = Md5::new();
        if !key.is_empty() {
            hash.update(*last);
        }
        hash.update(password);
        hash.update(salt);
        *last = hash.finalize().into();
        key.extend_from_slice(last.as_slice());
    }
    key.truncate(len);
    key
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
        }
        _ => None,
    };
    digits.map(byte).collect()
}
