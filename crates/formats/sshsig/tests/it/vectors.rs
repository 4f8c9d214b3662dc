//! Keys and signatures that OpenSSH made.

use sshsig::{KeyKind, PublicKey, SshSigError, SshSignature};

pub(crate) const MESSAGE: &[u8] = include_bytes!("../vectors/message");

macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../vectors/", $name))
    };
}
pub(crate) use vector;

/// Key, signature, fingerprint as `ssh-keygen -l` prints it, kind.
pub(crate) const GOOD: [(&str, &str, &str, KeyKind); 7] = [
    (
        vector!("ed25519.pub"),
        vector!("ed25519.sig"),
        "SHA256:31nPWJ+drf8Ut4oJAZsPys73763a03+DMC/qNIyqF2w",
        KeyKind::Ed25519,
    ),
    (
        vector!("ed25519.pub"),
        vector!("ed25519-sha256.sig"),
        "SHA256:31nPWJ+drf8Ut4oJAZsPys73763a03+DMC/qNIyqF2w",
        KeyKind::Ed25519,
    ),
    (
        vector!("ecdsa-p256.pub"),
        vector!("ecdsa-p256.sig"),
        "SHA256:ghjD4eeAIsMrMXCj/bFlnt0/s8uIPSVB1gi2f0j8aMQ",
        KeyKind::EcdsaP256,
    ),
    (
        vector!("ecdsa-p384.pub"),
        vector!("ecdsa-p384.sig"),
        "SHA256:Gne76iLnP15/HGSlyoVZ/e5KFgdOP14bpVR7qUeOjMY",
        KeyKind::EcdsaP384,
    ),
    (
        vector!("ecdsa-p521.pub"),
        vector!("ecdsa-p521.sig"),
        "SHA256:6RUac817B8pcZJy+sudDwb5KCuB7u9/KQTKTZk/sDZI",
        KeyKind::EcdsaP521,
    ),
    (
        vector!("rsa-2048.pub"),
        vector!("rsa-2048.sig"),
        "SHA256:NX+9ETZi5vQXe+1QtQaA6gwScfimsS4haCZd2o4eJcM",
        KeyKind::Rsa,
    ),
    (
        vector!("rsa-2048.pub"),
        vector!("rsa-2048-sha256.sig"),
        "SHA256:NX+9ETZi5vQXe+1QtQaA6gwScfimsS4haCZd2o4eJcM",
        KeyKind::Rsa,
    ),
];

#[test]
fn signatures_of_ssh_keygen_verify() {
    for (key, signature, _, kind) in GOOD {
        let key: PublicKey = key.parse().unwrap();
        let signature = SshSignature::parse(signature).unwrap();
        assert_eq!(key.kind(), kind);
        assert_eq!(signature.public_key(), &key);
        assert_eq!(signature.namespace(), "file");
        assert_eq!(signature.verify(&key, "file", MESSAGE), Ok(()), "{kind}");
    }
}

#[test]
fn armor_is_written_as_ssh_keygen_writes_it() {
    for (_, signature, _, kind) in GOOD {
        assert_eq!(
            SshSignature::parse(signature).unwrap().armored(),
            signature,
            "{kind}"
        );
    }
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    for (key, _, fingerprint, _) in GOOD {
        assert_eq!(key.parse::<PublicKey>().unwrap().fingerprint(), fingerprint);
    }
}

#[test]
fn public_keys_are_written_as_ssh_keygen_writes_them() {
    for (text, _, _, _) in GOOD {
        let key: PublicKey = text.parse().unwrap();
        assert_eq!(format!("{key}\n"), text);
        assert_eq!(format!("{} {}\n", key.key_text(), key.comment()), text);
    }
}

#[test]
fn another_message_is_refused() {
    for (key, signature, _, kind) in GOOD {
        let key: PublicKey = key.parse().unwrap();
        let signature = SshSignature::parse(signature).unwrap();
        for other in [
            &b""[..],
            b"the text that was signed",
            b"the text that was signed\n\n",
        ] {
            let answer = signature.verify(&key, "file", other);
            assert_eq!(answer, Err(SshSigError::Invalid), "{kind}");
        }
    }
}

#[test]
fn another_namespace_is_refused() {
    for (key, signature, _, _) in GOOD {
        let key: PublicKey = key.parse().unwrap();
        let signature = SshSignature::parse(signature).unwrap();
        for other in ["", "File", "file\0", "git", "bailiwick-change"] {
            let answer = signature.verify(&key, other, MESSAGE);
            assert_eq!(answer, Err(SshSigError::OtherNamespace));
        }
    }
    let carried = SshSignature::parse(vector!("ed25519-other-namespace.sig")).unwrap();
    let key: PublicKey = vector!("ed25519.pub").parse().unwrap();
    assert_eq!(
        carried.verify(&key, "file", MESSAGE),
        Err(SshSigError::OtherNamespace)
    );
    assert_eq!(carried.verify(&key, "other", MESSAGE), Ok(()));
}

#[test]
fn another_key_than_the_embedded_one_is_refused() {
    for (own, signature, _, _) in GOOD {
        let own: PublicKey = own.parse().unwrap();
        let signature = SshSignature::parse(signature).unwrap();
        for (other, ..) in GOOD {
            let other: PublicKey = other.parse().unwrap();
            let answer = signature.verify(&other, "file", MESSAGE);
            let wanted = if other == own {
                Ok(())
            } else {
                Err(SshSigError::OtherKey)
            };
            assert_eq!(answer, wanted);
        }
    }
}

#[test]
fn a_genuine_rsa_signature_over_sha1_is_refused() {
    let answer = SshSignature::parse(vector!("rsa-2048-sha1.sig"));
    assert_eq!(answer.unwrap_err(), SshSigError::Sha1);
}

#[test]
fn genuine_signatures_of_refused_keys_are_refused() {
    use sshsig::PublicKeyError::{Kind, Short};
    let short = SshSignature::parse(vector!("rsa-1024.sig")).unwrap_err();
    assert_eq!(short, SshSigError::Key(Short));
    let dsa = SshSignature::parse(vector!("dsa.sig")).unwrap_err();
    assert_eq!(dsa, SshSigError::Key(Kind));
    assert_eq!(
        vector!("rsa-1024.pub").parse::<PublicKey>().unwrap_err(),
        Short
    );
    assert_eq!(vector!("dsa.pub").parse::<PublicKey>().unwrap_err(), Kind);
}
