//! Keys in hardware modules, whose packets have little room: what is bound, and how far, whoever gets the key next.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
    PrivateDecryptingKey,
};
use images::{
    DecryptOptions, ImageError, Keys, Kind, Plan, Recipients, RecipientsEdit, Silent, Unbound,
    decrypt, edit_recipients, encrypt, inspect, preview_rebind, rebind,
};
use jose::Jwk;
use oci_crypt::{Bound, OaepHash, PacketOpener, TokenKey, TokenKeyError, open_layer_key};
use serde_json::json;
use zeroize::Zeroizing;

use crate::build::{Person, image};
use crate::memory::Memory;

/// A key in memory in the place of one in a token.
#[derive(Clone)]
struct Token(PrivateDecryptingKey);

impl Token {
    fn new(size: KeySize) -> Self {
        Self(PrivateDecryptingKey::generate(size).unwrap())
    }

    fn recipients(&self, hash: OaepHash) -> Recipients {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        let key = Jwk::from_spki_der(der.as_ref()).unwrap();
        let mut recipients = Recipients::new();
        recipients.add_token_jwk(&key, hash).unwrap();
        recipients
    }

    fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.add_token_key(self.clone());
        keys
    }

    fn decrypts(&self, image: &Memory, unbound: Unbound) -> Result<usize, ImageError> {
        let options = DecryptOptions {
            unbound,
            ..DecryptOptions::default()
        };
        let (keys, target) = (self.keys(), Memory::default());
        let done = decrypt(image, &target, &keys.openers(), options, &Silent);
        done.map(|done| done.unbound)
    }
}

impl TokenKey for Token {
    fn decrypt(&self, hash: OaepHash, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, TokenKeyError> {
        let key = OaepPrivateDecryptingKey::new(self.0.clone()).unwrap();
        let algorithm = match hash {
            OaepHash::Sha1 => &OAEP_SHA1_MGF1SHA1,
            OaepHash::Sha256 => &OAEP_SHA256_MGF1SHA256,
        };
        let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
        let plaintext = key.decrypt(algorithm, blob, &mut buffer, None);
        let length = plaintext.map_err(|_| TokenKeyError::NotForThisKey)?.len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

fn encrypted(recipients: &Recipients) -> Memory {
    let target = Memory::default();
    encrypt(&image("a"), &target, recipients, &Silent).unwrap();
    target
}

/// How the first layer's key is bound, as this opener finds it.
fn bound(image: &Memory, opener: &dyn PacketOpener) -> Bound {
    let manifest = image.root_json();
    let annotations = manifest["layers"][0]["annotations"].clone();
    let annotations: BTreeMap<String, String> = serde_json::from_value(annotations).unwrap();
    let opened = open_layer_key("0", &annotations, &[opener]).unwrap().0;
    opened.bound().clone()
}

fn adds(image: &Memory, person: &Person, token: &Token) -> Result<(), ImageError> {
    let (recipients, keys) = (person.recipients(), token.keys());
    let edit = RecipientsEdit {
        remove: Vec::new(),
        add: Some(&recipients),
        openers: keys.openers(),
    };
    edit_recipients(image, image, &edit, Plan::Do).map(|_| ())
}

#[test]
fn a_short_binding_holds_and_a_key_without_room_has_none() {
    let (large, small) = (Token::new(KeySize::Rsa3072), Token::new(KeySize::Rsa2048));
    let image = encrypted(&large.recipients(OaepHash::Sha256));
    assert_eq!(large.decrypts(&image, Unbound::Refuse).unwrap(), 0);
    assert!(matches!(
        large.decrypts(
            &encrypted(&small.recipients(OaepHash::Sha1)),
            Unbound::Accept
        ),
        Err(ImageError::NoKey { .. })
    ));
    let image = encrypted(&small.recipients(OaepHash::Sha1));
    assert!(small.decrypts(&image, Unbound::Accept).unwrap() > 0);
    let refused = small.decrypts(&image, Unbound::Refuse).unwrap_err();
    assert_eq!(refused.kind(), Kind::VerificationFailed);
}

#[test]
fn whoever_is_added_with_a_short_binding_gets_all_of_it() {
    let (token, ann) = (Token::new(KeySize::Rsa3072), Person::new());
    let image = encrypted(&token.recipients(OaepHash::Sha256));
    adds(&image, &ann, &token).unwrap();
    let Bound::Full(binding) = bound(&image, &ann.opener()) else {
        panic!("not bound in full")
    };
    let keys = token.keys();
    let short = bound(&image, keys.openers()[0]);
    assert_eq!(short, Bound::Hash(binding.hash()));
}

#[test]
fn nobody_is_added_to_a_layer_that_lies_elsewhere() {
    let (token, ann) = (Token::new(KeySize::Rsa3072), Person::new());
    let image = encrypted(&token.recipients(OaepHash::Sha256));
    image.edit(|manifest| manifest["layers"].as_array_mut().unwrap().swap(0, 2));
    let refused = adds(&image, &ann, &token).unwrap_err();
    assert_eq!(refused.kind(), Kind::VerificationFailed);
}

#[test]
fn rebinding_spells_the_new_place_out_as_far_as_there_is_room() {
    let (token, ann) = (Token::new(KeySize::Rsa3072), Person::new());
    let image = encrypted(&token.recipients(OaepHash::Sha256));
    let keys = token.keys();
    for (recipients, full) in [
        (token.recipients(OaepHash::Sha256), false),
        (ann.recipients(), true),
    ] {
        let previewed = preview_rebind(&image, &keys.openers(), &recipients).unwrap();
        assert!(previewed.moved.is_empty());
        let target = Memory::default();
        rebind(&image, &target, &keys.openers(), &recipients, &Silent).unwrap();
        let (ann, token) = (ann.opener(), keys.openers());
        let opener: &dyn PacketOpener = if full { &ann } else { token[0] };
        assert_eq!(matches!(bound(&target, opener), Bound::Full(_)), full);
        assert!(bound(&target, opener).is_bound());
    }
}

#[test]
fn inspect_says_who_has_room_for_a_binding() {
    let small = Token::new(KeySize::Rsa2048);
    let image = encrypted(&small.recipients(OaepHash::Sha1));
    let report = serde_json::to_value(inspect(&image, &[]).unwrap()).unwrap();
    let expected = json!([{
        "scheme": "pkcs11", "keys": [{"bits": 2048, "hash": "sha1", "hasRoomForBinding": false}],
    }]);
    assert_eq!(report["images"][0]["layers"][0]["recipients"], expected);
}
