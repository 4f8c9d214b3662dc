//! Signatures put together by hand, from SSH's wire encoding up, without the crate's own code.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sshsig::{PublicKey, SshSigError, SshSignature};

pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

pub(crate) fn mpint(number: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = number
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect();
    match digits.first() {
        Some(first) if *first >= 0x80 => string(&[&[0], digits.as_slice()].concat()),
        _ => string(&digits),
    }
}

pub(crate) fn armor(blob: &[u8]) -> String {
    let encoded = STANDARD.encode(blob);
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(70)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.join("\n")
    )
}

pub(crate) fn unarmor(text: &str) -> Vec<u8> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(lines.concat()).unwrap()
}

pub(crate) fn key_blob(text: &str) -> Vec<u8> {
    STANDARD.decode(text.split(' ').nth(1).unwrap()).unwrap()
}

/// The fields of a signature, each of which a test may spoil.
#[derive(Clone)]
pub(crate) struct Fields {
    pub(crate) magic: Vec<u8>,
    pub(crate) version: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) namespace: Vec<u8>,
    pub(crate) reserved: Vec<u8>,
    pub(crate) hash: Vec<u8>,
    pub(crate) proof: Vec<u8>,
    pub(crate) behind: Vec<u8>,
}

impl Fields {
    /// All good, except that the proof is still to be filled in.
    pub(crate) fn of(key: &[u8]) -> Self {
        Self {
            magic: b"SSHSIG".to_vec(),
            version: 1,
            key: key.to_vec(),
            namespace: b"file".to_vec(),
            reserved: Vec::new(),
            hash: b"sha512".to_vec(),
            proof: Vec::new(),
            behind: Vec::new(),
        }
    }

    /// What is signed (PROTOCOL.sshsig section 3).
    pub(crate) fn signed(&self, message: &[u8]) -> Vec<u8> {
        let hashed = match self.hash.as_slice() {
            b"sha256" => digest(&SHA256, message),
            _ => digest(&SHA512, message),
        };
        [
            b"SSHSIG".as_slice(),
            &string(&self.namespace),
            &string(&self.reserved),
            &string(&self.hash),
            &string(hashed.as_ref()),
        ]
        .concat()
    }

    pub(crate) fn text(&self) -> String {
        armor(
            &[
                &self.magic,
                self.version.to_be_bytes().as_slice(),
                &string(&self.key),
                &string(&self.namespace),
                &string(&self.reserved),
                &string(&self.hash),
                &string(&self.proof),
                &self.behind,
            ]
            .concat(),
        )
    }

    pub(crate) fn parse(&self) -> Result<SshSignature, SshSigError> {
        SshSignature::parse(&self.text())
    }
}

/// An Ed25519 key that signs whatever fields it is given, also bad ones.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    pub(crate) fn blob(&self) -> Vec<u8> {
        [string(b"ssh-ed25519"), string(self.0.public_key().as_ref())].concat()
    }

    pub(crate) fn key(&self) -> PublicKey {
        format!("ssh-ed25519 {}", STANDARD.encode(self.blob()))
            .parse()
            .unwrap()
    }

    pub(crate) fn sign(&self, fields: Fields, message: &[u8]) -> Fields {
        let signed = fields.signed(message);
        self.sign_bare(fields, &signed)
    }

    /// Signs the message itself, as some other protocol might.
    pub(crate) fn sign_bare(&self, mut fields: Fields, message: &[u8]) -> Fields {
        let signature = self.0.sign(message);
        fields.proof = [string(b"ssh-ed25519"), string(signature.as_ref())].concat();
        fields
    }
}

/// A security key in software: it signs as PROTOCOL.u2f says that a token does.
pub(crate) enum Token {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl Token {
    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn ecdsa() -> Self {
        Self::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "sk-ssh-ed25519@openssh.com",
            Self::Ecdsa(_) => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    pub(crate) fn blob(&self, application: &str) -> Vec<u8> {
        let numbers = match self {
            Self::Ed25519(pair) => string(pair.public_key().as_ref()),
            Self::Ecdsa(pair) => [string(b"nistp256"), string(pair.public_key().as_ref())].concat(),
        };
        [
            string(self.name().as_bytes()),
            numbers,
            string(application.as_bytes()),
        ]
        .concat()
    }

    pub(crate) fn key_text(&self, application: &str) -> String {
        format!(
            "{} {}",
            self.name(),
            STANDARD.encode(self.blob(application))
        )
    }

    /// The signature says what the token signed, unless a test alters it afterwards.
    pub(crate) fn sign(
        &self,
        application: &str,
        flags: u8,
        counter: u32,
        message: &[u8],
    ) -> Fields {
        let mut fields = Fields::of(&self.blob(application));
        let covered = [
            digest(&SHA256, application.as_bytes()).as_ref(),
            &[flags],
            &counter.to_be_bytes(),
            digest(&SHA256, &fields.signed(message)).as_ref(),
        ]
        .concat();
        let signature = match self {
            Self::Ed25519(pair) => pair.sign(&covered).as_ref().to_vec(),
            Self::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), &covered).unwrap();
                let (r, s) = signature.as_ref().split_at(32);
                [mpint(r), mpint(s)].concat()
            }
        };
        fields.proof = [
            string(self.name().as_bytes()),
            string(&signature),
            vec![flags],
            counter.to_be_bytes().to_vec(),
        ]
        .concat();
        fields
    }
}
