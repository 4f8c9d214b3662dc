//! The public key document of an image set or data set: signed by the trust domain's root, whose fingerprint clients
//! pin. Whoever could swap it would read every later image (DESIGN 5.1).

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use estate::{DataSetName, Digest, Timestamp};
use hpke_xwing::{PublicKey, Suite};
use jose::{Expected, Header, Jwk, Signer, VerifyingKey, sign_compact, verify_compact};
use serde::{Deserialize, Serialize};
use tlog::{Receipt, VerifierKey};

/// What a key is for; each use has its own key pair, `info` and document type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// Encrypts images.
    Image,
    /// Seals secrets at rest.
    Dataset,
}

impl KeyUse {
    fn typ(self) -> &'static str {
        match self {
            Self::Image => "bailiwick-image-key+jwt",
            Self::Dataset => "bailiwick-dataset-key+jwt",
        }
    }
}

/// A public key with what it is for and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyDocument {
    /// Format version, 1.
    pub v: u8,
    /// `spiffe://TD`.
    pub authority: String,
    /// Image set or data set.
    pub resource: String,
    /// The data set.
    pub dataset: DataSetName,
    /// HPKE suite.
    pub suite: String,
    /// The serialised public key, base64.
    pub key: String,
    /// SHA-256 of the serialised public key, hex.
    pub key_id: String,
    /// Not before, seconds since 1970.
    pub nbf: i64,
    /// Not after, seconds since 1970.
    pub exp: i64,
    /// The leaf that announced the key, with its proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Announcement>,
}

/// The leaf that says which key a document is about: who swaps a key has to show it to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// The leaf, JSON text.
    pub leaf: String,
    /// Its disclosures.
    pub disclosures: Vec<String>,
    /// tlog-proof text.
    pub proof: String,
}

/// SHA-256 of the root key's SubjectPublicKeyInfo: what a client pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootPin(Digest);

impl RootPin {
    /// The pin of a root key.
    ///
    /// # Errors
    /// [`KeyDocumentError::Malformed`]
    pub fn of(root: &Jwk) -> Result<Self, KeyDocumentError> {
        let spki = root
            .to_spki_der()
            .map_err(|_| KeyDocumentError::Malformed)?;
        Ok(Self(Digest::of(spki)))
    }
}

impl fmt::Display for RootPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RootPin {
    type Err = estate::DigestError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A key document is not to be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyDocumentError {
    /// Fault: whoever made the document.
    #[error("the key document is malformed")]
    Malformed,
    /// Fault: whoever sent the document: signed by another root, or changed.
    #[error("the key document is not signed by the pinned root")]
    NotPinned,
    /// Fault: whoever sent the document.
    #[error("the key document is for another use")]
    OtherUse,
    /// Fault: whoever kept the document too long.
    #[error("the key document expired at {0}")]
    Expired(Timestamp),
    /// Fault: none; a clock is wrong.
    #[error("the key document is not valid before {0}")]
    NotYet(Timestamp),
    /// Fault: whoever sent the document: the ledger does not know of it.
    #[error("the key document's receipt does not show that its key was announced")]
    NotAnnounced,
    /// Fault: this machine.
    #[error("the key document can't be signed")]
    NotSigned,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    root: Jwk,
    document: String,
}

impl KeyDocument {
    /// A document for `key`.
    pub fn new(
        authority: &str,
        resource: &str,
        dataset: &DataSetName,
        key: &PublicKey,
        nbf: i64,
        exp: i64,
    ) -> Self {
        Self {
            v: 1,
            authority: authority.to_owned(),
            resource: resource.to_owned(),
            dataset: dataset.clone(),
            suite: key.suite().to_string(),
            key: B64.encode(key.to_bytes()),
            key_id: hex::encode(key.id()),
            nbf,
            exp,
            receipt: None,
        }
    }

    /// Signs the document; the result is JSON with the root's public key, which the reader compares with its pin.
    ///
    /// # Errors
    /// [`KeyDocumentError::NotSigned`]
    pub fn sign(
        &self,
        usage: KeyUse,
        root: &Jwk,
        signer: &dyn Signer,
    ) -> Result<String, KeyDocumentError> {
        let payload = serde_json::to_vec(self).map_err(|_| KeyDocumentError::NotSigned)?;
        let header = Header::new(signer.algorithm()).with_typ(usage.typ());
        let document =
            sign_compact(&header, &payload, signer).map_err(|_| KeyDocumentError::NotSigned)?;
        serde_json::to_string(&Envelope {
            root: root.clone(),
            document,
        })
        .map_err(|_| KeyDocumentError::NotSigned)
    }

    /// Reads a signed document: signed by the pinned root, for this use, valid at `now`.
    ///
    /// # Errors
    /// See [`KeyDocumentError`].
    pub fn verify(
        signed: &str,
        usage: KeyUse,
        pin: RootPin,
        now: Timestamp,
    ) -> Result<Self, KeyDocumentError> {
        if signed.len() > MAX_DOCUMENT {
            return Err(KeyDocumentError::Malformed);
        }
        let Envelope { root, document } =
            jose::strict_json::from_str(signed.trim()).map_err(|_| KeyDocumentError::Malformed)?;
        if RootPin::of(&root)? != pin {
            return Err(KeyDocumentError::NotPinned);
        }
        let key = VerifyingKey::from_jwk(&root).map_err(|_| KeyDocumentError::Malformed)?;
        let verified =
            verify_compact(&document, &key, &Expected::typ(usage.typ())).map_err(|error| {
                match error {
                    jose::VerifyError::WrongType { .. } => KeyDocumentError::OtherUse,
                    _ => KeyDocumentError::NotPinned,
                }
            })?;
        let claims: Self = jose::strict_json::from_slice(verified.payload())
            .map_err(|_| KeyDocumentError::Malformed)?;
        claims.check(now)?;
        Ok(claims)
    }

    /// Demands that the ledger whose checkpoints `ledger` verifies holds a leaf about exactly this key.
    ///
    /// # Errors
    /// [`KeyDocumentError::NotAnnounced`]
    pub fn verify_announced(&self, ledger: &VerifierKey) -> Result<(), KeyDocumentError> {
        let shown = self.receipt.as_ref().and_then(|receipt| {
            let proof = Receipt::parse(&receipt.proof).ok()?;
            proof
                .verify(tlog::leaf_hash(receipt.leaf.as_bytes()), ledger)
                .ok()?;
            let leaf = ledger::Leaf::parse(receipt.leaf.as_bytes()).ok()?;
            leaf.disclose(&receipt.disclosures).ok()
        });
        let values = shown.ok_or(KeyDocumentError::NotAnnounced)?;
        let says = |name: &str, value: &str| {
            values
                .iter()
                .any(|shown| shown.name == name && shown.value == value)
        };
        match says("kind", "key-document")
            && says("keyId", &self.key_id)
            && says("resource", &self.resource)
        {
            true => Ok(()),
            false => Err(KeyDocumentError::NotAnnounced),
        }
    }

    /// The key, parsed.
    ///
    /// # Errors
    /// [`KeyDocumentError::Malformed`]
    pub fn public_key(&self) -> Result<PublicKey, KeyDocumentError> {
        let suite: Suite = self
            .suite
            .parse()
            .map_err(|_| KeyDocumentError::Malformed)?;
        let bytes = B64
            .decode(&self.key)
            .map_err(|_| KeyDocumentError::Malformed)?;
        let key = PublicKey::from_bytes(suite, &bytes).map_err(|_| KeyDocumentError::Malformed)?;
        if hex::encode(key.id()) != self.key_id {
            return Err(KeyDocumentError::Malformed);
        }
        Ok(key)
    }

    fn check(&self, now: Timestamp) -> Result<(), KeyDocumentError> {
        if self.v != 1 {
            return Err(KeyDocumentError::Malformed);
        }
        self.public_key()?;
        if now.as_seconds() >= self.exp {
            return Err(KeyDocumentError::Expired(Timestamp::from_seconds(self.exp)));
        }
        if now.as_seconds() < self.nbf {
            return Err(KeyDocumentError::NotYet(Timestamp::from_seconds(self.nbf)));
        }
        Ok(())
    }
}

const MAX_DOCUMENT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use hpke_xwing::PrivateKey;
    use jose::EcdsaP256Key;

    use super::*;

    fn signed(root: &EcdsaP256Key, usage: KeyUse) -> String {
        let key = PrivateKey::generate(Suite::XWing).unwrap();
        let dataset = "records".parse().unwrap();
        KeyDocument::new(
            "spiffe://td.lab",
            "medrec",
            &dataset,
            key.public_key(),
            100,
            200,
        )
        .sign(usage, root.public_jwk(), root)
        .unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_pinned_document_in_its_time_is_read() {
        let root = EcdsaP256Key::generate().unwrap();
        let pin = RootPin::of(root.public_jwk()).unwrap();
        let document =
            KeyDocument::verify(&signed(&root, KeyUse::Image), KeyUse::Image, pin, at(150))
                .unwrap();
        assert_eq!(document.resource, "medrec");
    }

    #[test]
    fn a_swapped_document_is_refused() {
        let (root, thief) = (
            EcdsaP256Key::generate().unwrap(),
            EcdsaP256Key::generate().unwrap(),
        );
        let pin = RootPin::of(root.public_jwk()).unwrap();
        let swapped = signed(&thief, KeyUse::Image);
        assert_eq!(
            KeyDocument::verify(&swapped, KeyUse::Image, pin, at(150)),
            Err(KeyDocumentError::NotPinned)
        );
        let grafted = serde_json::from_str::<Envelope>(&swapped).unwrap();
        let grafted = serde_json::to_string(&Envelope {
            root: root.public_jwk().clone(),
            ..grafted
        })
        .unwrap();
        assert_eq!(
            KeyDocument::verify(&grafted, KeyUse::Image, pin, at(150)),
            Err(KeyDocumentError::NotPinned)
        );
    }

    #[test]
    fn expired_early_and_misused_documents_are_refused() {
        let root = EcdsaP256Key::generate().unwrap();
        let pin = RootPin::of(root.public_jwk()).unwrap();
        let document = signed(&root, KeyUse::Image);
        let verify = |usage, seconds| KeyDocument::verify(&document, usage, pin, at(seconds));
        assert_eq!(
            verify(KeyUse::Image, 200),
            Err(KeyDocumentError::Expired(at(200)))
        );
        assert_eq!(
            verify(KeyUse::Image, 99),
            Err(KeyDocumentError::NotYet(at(100)))
        );
        assert_eq!(
            verify(KeyUse::Dataset, 150),
            Err(KeyDocumentError::OtherUse)
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_documents_are_errors(text: String) {
            let root = EcdsaP256Key::generate().unwrap();
            let pin = RootPin::of(root.public_jwk()).unwrap();
            proptest::prop_assert!(KeyDocument::verify(&text, KeyUse::Image, pin, at(150)).is_err());
        }
    }
}
