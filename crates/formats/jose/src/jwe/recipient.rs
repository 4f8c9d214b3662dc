//! One recipient: the content key, encrypted to one public key.

use aws_lc_rs::agreement::{self, UnparsedPublicKey};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PublicKeyComponents,
};
use zeroize::Zeroizing;

use super::key::Secret;
use super::{DecryptionKey, EncryptError, EncryptionKey, KeyManagement, aes_kw, concat_kdf};
use crate::jwk::{Curve, Jwk, JwkError, Material};

/// A recipient, read from a text or about to be written.
#[derive(Debug, Clone, Default)]
pub(super) struct Recipient {
    /// `None` for a way that is not known here: this recipient is then somebody else's.
    pub(super) management: Option<KeyManagement>,
    pub(super) kid: Option<String>,
    pub(super) epk: Option<Jwk>,
    pub(super) apu: Vec<u8>,
    pub(super) apv: Vec<u8>,
    pub(super) encrypted_key: Vec<u8>,
}

impl Recipient {
    /// The content key; `None` when it is not for this key or has not the wanted length.
    pub(super) fn open(&self, key: &DecryptionKey, cek_len: usize) -> Option<Zeroizing<Vec<u8>>> {
        let management = self.management?;
        let cek = match (&key.secret, management.wrap_len()) {
            (Secret::Rsa(key), None) => {
                let key = OaepPrivateDecryptingKey::new(key.clone()).ok()?;
                let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
                let len = key
                    .decrypt(oaep(management), &self.encrypted_key, &mut buffer, None)
                    .ok()?
                    .len();
                buffer.truncate(len);
                buffer
            }
            (Secret::Ec(curve, key), Some(len)) => {
                let (epk_curve, point) = self.epk.as_ref()?.ec_point()?;
                if epk_curve != *curve {
                    return None;
                }
                let kek = agree(key, *curve, point, management, &self.apu, &self.apv, len)?;
                aes_kw::unwrap(&kek, &self.encrypted_key)?
            }
            _ => return None,
        };
        (cek.len() == cek_len).then_some(cek)
    }
}

/// Encrypts the content key to one public key.
pub(super) fn seal(key: &EncryptionKey, cek: &[u8]) -> Result<Recipient, EncryptError> {
    let recipient = Recipient {
        management: Some(key.management),
        kid: key.jwk.kid().map(str::to_owned),
        ..Recipient::default()
    };
    match (key.jwk.material(), key.management.wrap_len()) {
        (Material::Rsa { n, e }, None) => {
            let encrypted_key = seal_rsa(n, e, key.management, cek).ok_or(EncryptError::Failed)?;
            Ok(Recipient {
                encrypted_key,
                ..recipient
            })
        }
        (Material::Ec { curve, point }, Some(len)) => {
            let (epk, encrypted_key) =
                seal_ec(*curve, point, key.management, len, cek).ok_or(EncryptError::Failed)?;
            Ok(Recipient {
                epk: Some(epk),
                encrypted_key,
                ..recipient
            })
        }
        _ => Err(EncryptError::Key {
            source: JwkError::unknown("alg", key.management.name()),
        }),
    }
}

fn seal_rsa(n: &[u8], e: &[u8], management: KeyManagement, cek: &[u8]) -> Option<Vec<u8>> {
    let key = OaepPublicEncryptingKey::new(PublicKeyComponents { n, e }.try_into().ok()?).ok()?;
    let mut buffer = vec![0; key.ciphertext_size()];
    let len = key
        .encrypt(oaep(management), cek, &mut buffer, None)
        .ok()?
        .len();
    buffer.truncate(len);
    Some(buffer)
}

fn seal_ec(
    curve: Curve,
    point: &[u8],
    management: KeyManagement,
    wrap_len: usize,
    cek: &[u8],
) -> Option<(Jwk, Vec<u8>)> {
    let ephemeral = agreement::PrivateKey::generate(curve.agreement()).ok()?;
    let epk = Jwk::from_ec_point(curve, ephemeral.compute_public_key().ok()?.as_ref()).ok()?;
    let kek = agree(&ephemeral, curve, point, management, &[], &[], wrap_len)?;
    Some((epk, aes_kw::wrap(&kek, cek)?))
}

/// ECDH and Concat KDF: the key that wraps the content key.
fn agree(
    key: &agreement::PrivateKey,
    curve: Curve,
    point: &[u8],
    management: KeyManagement,
    apu: &[u8],
    apv: &[u8],
    len: usize,
) -> Option<Zeroizing<Vec<u8>>> {
    let peer = UnparsedPublicKey::new(curve.agreement(), point);
    let derive = |z: &[u8]| concat_kdf::derive(z, management.name(), apu, apv, len).ok_or(());
    agreement::agree(key, peer, (), derive).ok()
}

fn oaep(management: KeyManagement) -> &'static OaepAlgorithm {
    match management {
        KeyManagement::RsaOaep256 => &OAEP_SHA256_MGF1SHA256,
        _ => &OAEP_SHA1_MGF1SHA1,
    }
}
