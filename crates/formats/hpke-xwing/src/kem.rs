//! The two key encapsulations: a fresh shared secret and what the owner of the private key needs to find it again.

use aws_lc_rs::{agreement, digest, kem};
use zeroize::Zeroizing;

use crate::key::{Expanded, PrivateKey, PublicKey};
use crate::schedule::Labelled;
use crate::suite::{ML_KEM_CIPHERTEXT_LEN, ML_KEM_PUBLIC_LEN, Suite};

pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// `None`: the public key lets no shared secret come about (a point of small order).
pub(crate) fn encapsulate(recipient: &PublicKey) -> Option<(Secret, Vec<u8>)> {
    let ephemeral = agreement::PrivateKey::generate(&agreement::X25519).ok()?;
    let ephemeral_public = ephemeral.compute_public_key().ok()?.as_ref().to_vec();
    match recipient.suite() {
        Suite::X25519 => {
            let dh = diffie_hellman(&ephemeral, recipient.to_bytes())?;
            let secret = dhkem_secret(&dh, &ephemeral_public, recipient.to_bytes());
            Some((secret, ephemeral_public))
        }
        Suite::XWing => {
            let (ml_kem, x25519) = recipient.to_bytes().split_at_checked(ML_KEM_PUBLIC_LEN)?;
            let ml_kem = kem::EncapsulationKey::new(&kem::ML_KEM_768, ml_kem).ok()?;
            let (ciphertext, ml_kem_secret) = ml_kem.encapsulate().ok()?;
            let dh = diffie_hellman(&ephemeral, x25519)?;
            let secret = xwing_secret(ml_kem_secret.as_ref(), &dh, &ephemeral_public, x25519);
            Some((secret, [ciphertext.as_ref(), &ephemeral_public].concat()))
        }
    }
}

/// `None`: `enc` is malformed or holds a point of small order. A wrong ML-KEM part gives a wrong secret (FIPS 203, implicit
/// rejection), which the tag then finds.
pub(crate) fn decapsulate(recipient: &PrivateKey, enc: &[u8]) -> Option<Secret> {
    let public = recipient.public_key().to_bytes();
    match &recipient.expanded {
        Expanded::X25519(private) => {
            let dh = diffie_hellman(private, enc)?;
            Some(dhkem_secret(&dh, enc, public))
        }
        Expanded::XWing { ml_kem, x25519 } => {
            let (ciphertext, ephemeral) = enc.split_at_checked(ML_KEM_CIPHERTEXT_LEN)?;
            let ml_kem_secret = ml_kem.decapsulate(ciphertext.into()).ok()?;
            let dh = diffie_hellman(x25519, ephemeral)?;
            Some(xwing_secret(
                ml_kem_secret.as_ref(),
                &dh,
                ephemeral,
                public.get(ML_KEM_PUBLIC_LEN..)?,
            ))
        }
    }
}

/// RFC 9180, 7.1.4: an all-zero result is refused, by the library.
fn diffie_hellman(private: &agreement::PrivateKey, public: &[u8]) -> Option<Secret> {
    let public = agreement::UnparsedPublicKey::new(&agreement::X25519, public);
    agreement::agree(private, public, (), |dh| {
        let mut secret = Secret::default();
        if dh.len() != secret.len() {
            return Err(());
        }
        secret.copy_from_slice(dh);
        Ok(secret)
    })
    .ok()
}

/// RFC 9180, 4.1: ExtractAndExpand.
fn dhkem_secret(dh: &Secret, enc: &[u8], recipient: &[u8]) -> Secret {
    let labelled = Labelled::kem(Suite::X25519);
    let prk = labelled.extract(&[], "eae_prk", dh.as_slice());
    let mut secret = Secret::default();
    labelled.expand(
        &prk,
        "shared_secret",
        &[enc, recipient].concat(),
        secret.as_mut_slice(),
    );
    secret
}

/// The X-Wing combiner; its label is the draft's drawing of a fighter.
fn xwing_secret(ml_kem: &[u8], dh: &Secret, ephemeral: &[u8], recipient: &[u8]) -> Secret {
    let mut hash = digest::Context::new(&digest::SHA3_256);
    for part in [ml_kem, dh.as_slice(), ephemeral, recipient, br"\.//^\"] {
        hash.update(part);
    }
    let mut secret = Secret::default();
    secret.copy_from_slice(hash.finish().as_ref());
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    //= draft-ietf-hpke-pq, test vectors: KEM 0x647a
    #[test]
    fn the_pinned_draft_is_the_one_that_go_implements() {
        let vector = crate::schedule::tests::vector(include_str!(
            "../tests/vectors/xwing-chacha20poly1305.txt"
        ));
        let private = PrivateKey::from_bytes(Suite::XWing, &vector["skRm"]).unwrap();
        assert_eq!(private.public_key().to_bytes(), vector["pkRm"]);
        let secret = decapsulate(&private, &vector["enc"]).unwrap();
        assert_eq!(secret.as_slice(), vector["shared_secret"]);
    }

    #[test]
    fn a_point_of_small_order_gives_no_secret() {
        let zero = PublicKey::from_bytes(Suite::X25519, &[0; 32]).unwrap();
        assert!(encapsulate(&zero).is_none());
        let private = PrivateKey::from_bytes(Suite::X25519, &[7; 32]).unwrap();
        assert!(decapsulate(&private, &[0; 32]).is_none());
    }
}
