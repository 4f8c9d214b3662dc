//! What is said about a layer's encryption: openly in an annotation, and secretly inside the wrapped keys.

use jose::strict_json;
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use crate::base64;
use crate::binding::{Binding, Bound};
use crate::digest::Digest;

/// The one cipher that peers know: AES-256-CTR, then HMAC-SHA256 over the ciphertext, both under the same key.
pub const CIPHER: &str = "AES_256_CTR_HMAC_SHA256";
/// Longest private options that are read.
pub(crate) const MAX_PRIVATE_LEN: usize = 16 * 1024;

/// Why options were not accepted. None of them quotes what it refuses: private options are secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Fault: whoever encrypted; not JSON of the right shape, or a member stands twice, or one is unknown.
    #[error("{which} options are not the expected JSON")]
    Malformed {
        /// `public` or `private`.
        which: &'static str,
    },
    /// Fault: whoever encrypted; a cipher that is not known here.
    #[error("layer's cipher is not `{CIPHER}`")]
    Cipher,
    /// Fault: whoever altered the manifest; a public nonce would replace the secret one, and nothing authenticates it.
    #[error("public options carry a nonce")]
    PublicNonce,
    /// Fault: whoever altered the manifest; public cipher options would replace the secret ones.
    #[error("public options carry cipher options")]
    PublicCipherOptions,
    /// Fault: whoever encrypted; key, nonce or HMAC is missing or has the wrong length.
    #[error("{member} is missing or has the wrong length")]
    Length {
        /// `key`, `nonce` or `hmac`.
        member: &'static str,
    },
    /// Fault: whoever encrypted; the binding is malformed or of an unknown version.
    #[error("layer's binding is malformed or of an unknown version")]
    Binding,
}

/// The secret of one layer. Only [`crate::LayerSealer`] and the parser of private options make one.
pub struct LayerKey {
    key: Zeroizing<[u8; 32]>,
    nonce: Zeroizing<[u8; 16]>,
}

impl LayerKey {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>, nonce: Zeroizing<[u8; 16]>) -> Self {
        Self { key, nonce }
    }

    /// The key, for cipher and HMAC alike.
    pub fn expose_key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The first counter block.
    pub fn expose_nonce(&self) -> &[u8; 16] {
        &self.nonce
    }
}

/// What key packets wrap: the layer's key, the plain layer's digest, and the binding. Secret.
pub struct PrivateOptions {
    key: LayerKey,
    digest: Option<String>,
    bound: Bound,
    text: Zeroizing<Vec<u8>>,
}

#[derive(Deserialize, Zeroize)]
struct PrivateJson {
    symkey: String,
    #[serde(default)]
    digest: Option<String>,
    cipheroptions: CipherOptions,
    #[serde(default, deserialize_with = "present")]
    #[zeroize(skip)]
    bailiwick: Option<Value>,
}

/// A member that is there is kept even when it is `null`, so that it can be refused.
fn present<'de, D: serde::Deserializer<'de>>(parser: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(parser).map(Some)
}

#[derive(Deserialize, Zeroize)]
struct CipherOptions {
    nonce: String,
}

impl PrivateOptions {
    /// Options for a freshly sealed layer; `digest` is the plain layer's.
    pub fn new(key: LayerKey, digest: Digest, bound: Bound) -> Self {
        Self::build(key, Some(digest.to_string()), bound)
    }

    /// Reads options. Members that are not known are kept for [`Self::expose_bytes`], as peers do with ours.
    pub fn parse(text: &[u8]) -> Result<Self, OptionsError> {
        let malformed = OptionsError::Malformed { which: "private" };
        if text.len() > MAX_PRIVATE_LEN {
            return Err(malformed);
        }
        let mut json: Zeroizing<PrivateJson> =
            Zeroizing::new(strict_json::from_slice(text).map_err(|_| malformed)?);
        let key =
            base64::decode_array(&json.symkey).ok_or(OptionsError::Length { member: "key" })?;
        let nonce = base64::decode_array(&json.cipheroptions.nonce)
            .ok_or(OptionsError::Length { member: "nonce" })?;
        let bound = Bound::parse(json.bailiwick.take())?;
        let digest = json.digest.take();
        Ok(Self {
            key: LayerKey::new(key, nonce),
            digest,
            bound,
            text: Zeroizing::new(text.to_vec()),
        })
    }

    /// The bytes that a packet wraps: exactly those that were read, or the canonical ones of new options.
    pub fn expose_bytes(&self) -> &[u8] {
        &self.text
    }

    /// [`Self::expose_bytes`], owned, for sealing again elsewhere.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.text.clone()
    }

    /// The layer's key.
    pub fn key(&self) -> &LayerKey {
        &self.key
    }

    /// What the encryptor says is the plain layer's digest. Peers never check it.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// How far the key is bound.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The same key bound to another place: a layer that moves to another manifest. Unknown members are left behind.
    pub fn rebound(self, binding: Binding) -> Self {
        Self::build(self.key, self.digest, Bound::Full(Box::new(binding)))
    }

    fn build(key: LayerKey, digest: Option<String>, bound: Bound) -> Self {
        let symkey = base64::encode_secret(key.expose_key());
        let nonce = base64::encode_secret(key.expose_nonce());
        let quoted = |text: &str| Value::from(text).to_string();
        let digest_member = digest
            .as_deref()
            .map(|digest| format!(r#","digest":{}"#, quoted(digest)));
        let binding = bound
            .to_member()
            .map(|binding| format!(r#","bailiwick":{binding}"#));
        let pieces = [
            r#"{"symkey":""#,
            &symkey,
            r#"""#,
            digest_member.as_deref().unwrap_or_default(),
            r#","cipheroptions":{"nonce":""#,
            &nonce,
            r#""}"#,
            binding.as_deref().unwrap_or_default(),
            "}",
        ];
        // One allocation of the right size: growing would leave copies of the key behind.
        let mut text = Zeroizing::new(Vec::with_capacity(
            pieces.iter().map(|piece| piece.len()).sum(),
        ));
        pieces
            .iter()
            .for_each(|piece| text.extend_from_slice(piece.as_bytes()));
        Self {
            key,
            digest,
            bound,
            text,
        }
    }
}

/// What everybody may read: the cipher's name and the HMAC of the ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicOptions {
    hmac: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicJson {
    cipher: String,
    hmac: String,
    #[serde(default)]
    cipheroptions: Option<Map<String, Value>>,
}

impl PublicOptions {
    /// Options of a sealed layer.
    pub const fn new(hmac: [u8; 32]) -> Self {
        Self { hmac }
    }

    /// Reads options. Anything that could override what is secret is refused.
    pub fn parse(text: &[u8]) -> Result<Self, OptionsError> {
        let PublicJson {
            cipher,
            hmac,
            cipheroptions,
        } = strict_json::from_slice(text)
            .map_err(|_| OptionsError::Malformed { which: "public" })?;
        if cipher != CIPHER {
            return Err(OptionsError::Cipher);
        }
        // Peers let a public option win over the wrapped one, and the HMAC covers neither.
        let options = cipheroptions.unwrap_or_default();
        if options
            .keys()
            .any(|name| name.eq_ignore_ascii_case("nonce"))
        {
            return Err(OptionsError::PublicNonce);
        }
        if !options.is_empty() {
            return Err(OptionsError::PublicCipherOptions);
        }
        let hmac = base64::decode_array(&hmac).ok_or(OptionsError::Length { member: "hmac" })?;
        Ok(Self { hmac: *hmac })
    }

    /// The JSON of the annotation, before base64.
    pub fn to_json(&self) -> String {
        format!(
            r#"{{"cipher":"{CIPHER}","hmac":"{}","cipheroptions":{{}}}}"#,
            base64::encode(self.hmac)
        )
    }

    /// HMAC-SHA256 of the ciphertext.
    pub fn hmac(&self) -> &[u8; 32] {
        &self.hmac
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fresh(bound: Bound) -> PrivateOptions {
        let key = LayerKey::new(Zeroizing::new([7; 32]), Zeroizing::new([9; 16]));
        PrivateOptions::new(key, Digest::of(b"plain"), bound)
    }

    fn private(change: impl FnOnce(&mut Value)) -> Result<PrivateOptions, OptionsError> {
        let mut value = serde_json::from_slice(fresh(Bound::Unbound).expose_bytes()).unwrap();
        change(&mut value);
        PrivateOptions::parse(value.to_string().as_bytes())
    }

    fn public(cipheroptions: &str) -> Result<PublicOptions, OptionsError> {
        let hmac = base64::encode([1; 32]);
        PublicOptions::parse(
            format!(r#"{{"cipher":"{CIPHER}","hmac":"{hmac}"{cipheroptions}}}"#).as_bytes(),
        )
    }

    #[test]
    fn unbound_options_are_the_193_bytes_of_peers() {
        let options = fresh(Bound::Unbound);
        let text = std::str::from_utf8(options.expose_bytes()).unwrap();
        assert_eq!(text.len(), 193);
        let expected = format!(
            r#"{{"symkey":"{}","digest":"{}","cipheroptions":{{"nonce":"{}"}}}}"#,
            base64::encode([7; 32]),
            Digest::of(b"plain"),
            base64::encode([9; 16]),
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_hash_form_of_a_binding_leaves_room_for_rsa_3072() {
        let options = fresh(Bound::Hash([0xff; 32]));
        assert!(
            options.expose_bytes().len() <= 318,
            "OAEP with SHA-256 under 3072 bits holds 318 bytes"
        );
    }

    #[test]
    fn what_was_read_is_written_byte_for_byte() {
        let symkey = base64::encode([1; 32]);
        let nonce = base64::encode([2; 16]);
        let text = format!(
            r#"{{ "cipheroptions":{{"nonce":"{nonce}"}}, "theirs":[1], "symkey":"{symkey}" }}"#
        );
        let options = PrivateOptions::parse(text.as_bytes()).unwrap();
        assert_eq!(options.to_bytes().as_slice(), text.as_bytes());
        assert_eq!(
            (options.key().expose_key(), options.key().expose_nonce()),
            (&[1; 32], &[2; 16])
        );
        assert_eq!((options.digest(), options.bound()), (None, &Bound::Unbound));
    }

    #[test]
    fn keys_and_nonces_of_the_wrong_length_are_refused() {
        let length = |member| Err(OptionsError::Length { member });
        for len in [0, 16, 31, 33] {
            let key = base64::encode(vec![0; len]);
            assert_eq!(
                private(|value| value["symkey"] = key.into()).map(drop),
                length("key")
            );
        }
        for len in [0, 8, 12, 15, 17, 32] {
            let nonce = base64::encode(vec![0; len]);
            assert_eq!(
                private(|value| value["cipheroptions"]["nonce"] = nonce.into()).map(drop),
                length("nonce")
            );
        }
        let malformed = Err(OptionsError::Malformed { which: "private" });
        assert_eq!(
            private(|value| drop(value.as_object_mut().unwrap().remove("symkey"))).map(drop),
            malformed
        );
        assert_eq!(
            private(|value| value["cipheroptions"] = Value::Null).map(drop),
            malformed
        );
        assert_eq!(
            private(|value| value["bailiwick"] = Value::Null).map(drop),
            Err(OptionsError::Binding)
        );
    }

    #[test]
    fn duplicate_members_are_refused() {
        let text = String::from_utf8(fresh(Bound::Unbound).to_bytes().to_vec()).unwrap();
        for twice in [
            text.replacen('{', r#"{"symkey":"","#, 1),
            text.replace(r#"{"nonce""#, r#"{"nonce":"","nonce""#),
        ] {
            assert!(PrivateOptions::parse(twice.as_bytes()).is_err(), "{twice}");
        }
        assert!(public(r#","hmac":"""#).is_err());
    }

    #[test]
    fn a_public_nonce_is_refused() {
        let nonce = base64::encode([0; 16]);
        for name in ["nonce", "Nonce", "NONCE"] {
            let injected = public(&format!(r#","cipheroptions":{{"{name}":"{nonce}"}}"#));
            assert_eq!(injected, Err(OptionsError::PublicNonce), "{name}");
        }
        assert_eq!(
            public(r#","cipheroptions":{"x":"AA=="}"#),
            Err(OptionsError::PublicCipherOptions)
        );
        let other_case = public(&format!(r#","CipherOptions":{{"nonce":"{nonce}"}}"#));
        assert_eq!(
            other_case,
            Err(OptionsError::Malformed { which: "public" }),
            "Go reads members in any case"
        );
        for fine in ["", r#","cipheroptions":{}"#, r#","cipheroptions":null"#] {
            assert!(public(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn public_options_survive_and_are_whole() {
        let options = PublicOptions::new([3; 32]);
        assert_eq!(
            PublicOptions::parse(options.to_json().as_bytes()).unwrap(),
            options
        );
        let hmac = base64::encode([0; 32]);
        let short = base64::encode([0; 31]);
        for (text, error) in [
            (
                format!(r#"{{"hmac":"{hmac}"}}"#),
                OptionsError::Malformed { which: "public" },
            ),
            (
                format!(r#"{{"cipher":"{CIPHER}"}}"#),
                OptionsError::Malformed { which: "public" },
            ),
            (
                format!(r#"{{"cipher":"AES","hmac":"{hmac}"}}"#),
                OptionsError::Cipher,
            ),
            (
                format!(r#"{{"cipher":"{CIPHER}","hmac":"{short}"}}"#),
                OptionsError::Length { member: "hmac" },
            ),
        ] {
            assert_eq!(PublicOptions::parse(text.as_bytes()), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn hostile_options_are_an_error_and_no_crash(text in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(PrivateOptions::parse(&text).is_err());
            prop_assert!(PublicOptions::parse(&text).is_err());
        }

        #[test]
        fn mangled_options_are_no_crash(at in 0..193_usize, byte in any::<u8>()) {
            let mut text = fresh(Bound::Unbound).to_bytes();
            text[at] = byte;
            if let Ok(options) = PrivateOptions::parse(&text) {
                prop_assert_eq!(options.expose_bytes(), text.as_slice());
            }
        }
    }
}
