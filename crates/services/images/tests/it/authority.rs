//! Encrypting for an authority: its key document is signed by the pinned root, or it is nobody's.

use estate::Timestamp;
use hpke_xwing::{PrivateKey, Suite};
use images::{
    DecryptOptions, KeyDocument, KeyUse, Kind, RecipientError, Recipients, RootPin, Silent,
    decrypt, encrypt, inspect,
};
use jose::EcdsaP256Key;
use oci_crypt::{BailiwickOpener, KeyId, KeyRecord};

use crate::build::{Person, image};
use crate::memory::Memory;

const AUTHORITY: &str = "spiffe://hospital.example";

struct Authority {
    root: EcdsaP256Key,
    key: PrivateKey,
}

impl Authority {
    fn new(suite: Suite) -> Self {
        Self {
            root: EcdsaP256Key::generate().unwrap(),
            key: PrivateKey::generate(suite).unwrap(),
        }
    }

    fn pin(&self) -> RootPin {
        RootPin::of(self.root.public_jwk()).unwrap()
    }

    fn document(&self, usage: KeyUse) -> String {
        let dataset = "medical-records".parse().unwrap();
        KeyDocument::new(
            AUTHORITY,
            "medrec",
            &dataset,
            self.key.public_key(),
            1000,
            2000,
        )
        .sign(usage, self.root.public_jwk(), &self.root)
        .unwrap()
    }

    fn opener(self, image: &str) -> BailiwickOpener {
        let record = KeyRecord {
            authority: AUTHORITY.to_owned(),
            key_id: KeyId::of(self.key.public_key()),
            suite: self.key.public_key().suite(),
            resource: image.to_owned(),
        };
        BailiwickOpener::new(record, self.key)
    }

    fn encrypts(&self, person: Option<&Person>) -> Memory {
        let mut recipients = person.map_or_else(Recipients::new, Person::recipients);
        recipients
            .add_authority(
                &self.document(KeyUse::Image),
                "medrec",
                self.pin(),
                at(1500),
            )
            .unwrap();
        let target = Memory::default();
        encrypt(&image("a"), &target, &recipients, &Silent).unwrap();
        target
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

#[test]
fn both_suites_are_opened_by_the_authority_alone() {
    for suite in [Suite::XWing, Suite::X25519] {
        let authority = Authority::new(suite);
        let encrypted = authority.encrypts(None);
        assert_eq!(
            Person::new().decrypts(&encrypted).0.unwrap_err().kind(),
            Kind::Denied
        );
        let other = Authority::new(suite).opener("medrec");
        let denied = decrypt(
            &encrypted,
            &Memory::default(),
            &[&other],
            DecryptOptions::default(),
            &Silent,
        );
        assert_eq!(denied.unwrap_err().kind(), Kind::Denied);
        let opener = authority.opener("medrec");
        decrypt(
            &encrypted,
            &Memory::default(),
            &[&opener],
            DecryptOptions::default(),
            &Silent,
        )
        .unwrap();
    }
}

#[test]
fn a_packet_for_another_image_is_refused() {
    let authority = Authority::new(Suite::X25519);
    let encrypted = authority.encrypts(None);
    let opener = authority.opener("other");
    let refused = decrypt(
        &encrypted,
        &Memory::default(),
        &[&opener],
        DecryptOptions::default(),
        &Silent,
    );
    assert_eq!(refused.unwrap_err().kind(), Kind::VerificationFailed);
}

#[test]
fn people_and_authorities_open_the_same_image() {
    let (authority, person) = (Authority::new(Suite::XWing), Person::new());
    let encrypted = authority.encrypts(Some(&person));
    person.decrypts(&encrypted).0.unwrap();
    let report = serde_json::to_value(inspect(&encrypted, &[]).unwrap()).unwrap();
    let recipients = &report["images"][0]["layers"][2]["recipients"];
    assert_eq!(recipients[0]["scheme"], "jwe");
    assert_eq!(recipients[1]["scheme"], "bailiwick");
    assert_eq!(recipients[1]["authority"], AUTHORITY);
    assert_eq!(recipients[1]["image"], "medrec");
    assert_eq!(
        recipients[1]["key"],
        hex::encode(authority.key.public_key().id())
    );
}

#[test]
fn documents_that_are_not_to_be_used_make_no_recipient() {
    let (authority, thief) = (Authority::new(Suite::X25519), Authority::new(Suite::X25519));
    let good = authority.document(KeyUse::Image);
    let add = |document: &str, image: &str, seconds| {
        Recipients::new().add_authority(document, image, authority.pin(), at(seconds))
    };
    add(&good, "medrec", 1500).unwrap();
    for refused in [
        add(&good, "medrec", 999),
        add(&good, "medrec", 2000),
        add(&good, "other", 1500),
        add(&thief.document(KeyUse::Image), "medrec", 1500),
        add(&authority.document(KeyUse::Dataset), "medrec", 1500),
        add("", "medrec", 1500),
    ] {
        assert_eq!(refused.unwrap_err().kind(), Kind::VerificationFailed);
    }
}

#[test]
fn files_without_a_key_are_the_callers_mistake() {
    let not_a_key = Recipients::new()
        .add_public_key(b"-----BEGIN NOTHING-----")
        .unwrap_err();
    assert!(matches!(not_a_key, RecipientError::KeyFile(_)));
    assert_eq!(not_a_key.kind(), Kind::Usage);
}
