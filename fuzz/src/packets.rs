//! Key packets of every scheme, against openers with fixed keys.
//!
//! The seeds hold one secret, wrapped in every way that these keys open. Whatever a mutation opens to must be that secret:
//! everything else would be a packet that somebody altered and nobody noticed.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hpke_xwing::{PrivateKey, Suite};
use jose::jwe::DecryptionKey;
use oci_crypt::{
    BailiwickOpener, Certificate, CocoKey, CocoOpener, CocoPacket, JweOpener, KeyId, KeyPacket,
    KeyRecord, Opening, PacketOpener, Pkcs7Opener, Scheme, pgp_recipients, pkcs7_recipients,
    pkcs11_recipients,
};

use crate::chosen;

/// What every packet of the seeds holds.
pub const OPTIONS: &[u8] =
    include_bytes!("../../crates/formats/oci-crypt/tests/vectors/pkcs7/options.json");
const CERTIFICATE: &[u8] =
    include_bytes!("../../crates/formats/oci-crypt/tests/vectors/pkcs7/cert.pem");
const KEY: &[u8] = include_bytes!("../../crates/formats/oci-crypt/tests/vectors/pkcs7/key.pem");
const COCO: &str = include_str!("../../crates/formats/oci-crypt/tests/vectors/coco.json");
const GO_JOSE: &str = include_str!("../../crates/formats/jose/tests/vectors/go-jose.json");
const COCO_KEY_NAME: &str = "kbs:///default/key/key_id1";

/// The schemes, by the byte that chooses them.
pub const SCHEMES: [&str; 7] = [
    Scheme::JWE,
    Scheme::PKCS7,
    Scheme::BAILIWICK,
    Scheme::ATTESTATION_AGENT,
    Scheme::PGP,
    Scheme::PKCS11,
    "provider.other",
];

/// Tries one packet; says whether it opened, or told whom it is for.
pub fn check(input: &[u8]) -> bool {
    let Some((choice, bytes)) = chosen(input) else {
        return false;
    };
    let name = SCHEMES[usize::from(choice) % SCHEMES.len()];
    let scheme: Scheme = name.parse().expect("the name of a scheme");
    let Ok(packet) = KeyPacket::parse(&scheme, bytes.to_vec()) else {
        assert_eq!(
            name,
            Scheme::BAILIWICK,
            "others are kept for whoever understands them"
        );
        return false;
    };
    comes_back_the_same(&scheme, &packet, bytes);
    let named = names_somebody(&packet);
    let mut opened = name == Scheme::JWE && opens_to_one_text(bytes);
    for opener in OPENERS.iter() {
        if let Opening::Opened(options) = opener.open(&packet) {
            let same = options.expose_bytes() == OPTIONS;
            assert!(same || is_malleable(bytes), "an altered packet opened");
            opened = true;
        }
    }
    // Nothing here opens these two.
    opened || (named && [Scheme::PGP, Scheme::PKCS11].contains(&name))
}

/// Whether a PKCS#7 packet names CBC, which peers write and nothing authenticates: a bit of it turns one of what it opens to, and
/// the layer's HMAC or binding refuses that.
fn is_malleable(bytes: &[u8]) -> bool {
    const CBC: [&[u8]; 5] = [
        b"\x60\x86\x48\x01\x65\x03\x04\x01\x02",
        b"\x60\x86\x48\x01\x65\x03\x04\x01\x16",
        b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a",
        b"\x2b\x0e\x03\x02\x07",
        b"\x2a\x86\x48\x86\xf7\x0d\x03\x07",
    ];
    CBC.iter()
        .any(|name| bytes.windows(name.len()).any(|window| window == *name))
}

fn comes_back_the_same(scheme: &Scheme, packet: &KeyPacket, bytes: &[u8]) {
    assert_eq!(packet.scheme(), *scheme);
    let written = packet.to_bytes();
    if scheme.as_str() != Scheme::BAILIWICK {
        assert_eq!(written, bytes, "what is not ours stays byte for byte");
    }
    let again = KeyPacket::parse(scheme, written).expect("what was written is read");
    assert_eq!(again, *packet);
}

/// What is told of the recipients comes from the packet, and is not larger than it.
fn names_somebody(packet: &KeyPacket) -> bool {
    match packet {
        KeyPacket::Pkcs7(bytes) => {
            let recipients = pkcs7_recipients(bytes).unwrap_or_default();
            for recipient in &recipients {
                assert!(recipient.serial().len() <= 2 * bytes.len());
                assert!(
                    !recipient.issuer().contains(char::is_control),
                    "a name speaks to the terminal"
                );
            }
            !recipients.is_empty()
        }
        KeyPacket::Pgp(bytes) => pgp_recipients(bytes).is_ok_and(|holders| !holders.is_empty()),
        KeyPacket::Pkcs11(bytes) => pkcs11_recipients(bytes).is_ok_and(|keys| !keys.is_empty()),
        KeyPacket::Foreign(foreign) => {
            let packet = CocoPacket::of(foreign);
            if let Some(packet) = &packet {
                assert!(
                    !packet.key_id().contains(char::is_control),
                    "a name speaks to the terminal"
                );
                assert!(
                    !packet.provider().contains(char::is_control),
                    "a name speaks to the terminal"
                );
            }
            packet.is_some()
        }
        KeyPacket::Bailiwick(packet) => {
            assert!(
                !packet.resource().contains(char::is_control),
                "a name speaks to the terminal"
            );
            assert!(
                !packet.authority().contains(char::is_control),
                "a name speaks to the terminal"
            );
            true
        }
        _ => false,
    }
}

/// The texts that go-jose made hold one sentence.
fn opens_to_one_text(bytes: &[u8]) -> bool {
    let mut opened = false;
    for key in JWE_KEYS.iter() {
        if let Ok(plaintext) = jose::jwe::decrypt(bytes, key) {
            assert_eq!(*plaintext, *SAID, "an altered JWE opened");
            opened = true;
        }
    }
    opened
}

static SAID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let vectors: serde_json::Value = serde_json::from_str(GO_JOSE).expect("vectors");
    vectors["plaintext"]
        .as_str()
        .expect("a text")
        .as_bytes()
        .to_vec()
});

fn jwe_keys() -> Vec<DecryptionKey> {
    let vectors: serde_json::Value = serde_json::from_str(GO_JOSE).expect("vectors");
    let keys = vectors["keys"].as_object().expect("keys").values();
    keys.filter_map(|key| jose::key_file::parse_private(key["pkcs8"].as_str()?.as_bytes()).ok())
        .collect()
}

static JWE_KEYS: LazyLock<Vec<DecryptionKey>> = LazyLock::new(jwe_keys);

static OPENERS: LazyLock<Vec<Box<dyn PacketOpener>>> = LazyLock::new(|| {
    let mut pkcs7 = Pkcs7Opener::new();
    pkcs7.add_certificate(Certificate::parse(CERTIFICATE).expect("a certificate"));
    pkcs7.add_key(&jose::key_file::parse_private(KEY).expect("its key"));
    let coco: serde_json::Value = serde_json::from_str(COCO).expect("vectors");
    let coco = STANDARD
        .decode(coco["key"].as_str().expect("a key"))
        .expect("base64");
    let coco = CocoKey::new(COCO_KEY_NAME, &coco).expect("a key");
    let mut openers: Vec<Box<dyn PacketOpener>> = vec![
        Box::new(JweOpener::new(jwe_keys())),
        Box::new(pkcs7),
        Box::new(CocoOpener::new(vec![coco])),
    ];
    for suite in Suite::ALL {
        let key = our_key(suite);
        openers.push(Box::new(BailiwickOpener::new(our_record(&key), key)));
    }
    openers
});

/// The key that packets of ours in the seeds are for.
pub fn our_key(suite: Suite) -> PrivateKey {
    PrivateKey::from_bytes(suite, &[7; 32]).expect("32 bytes make a key")
}

/// What is on record about it.
pub fn our_record(key: &PrivateKey) -> KeyRecord {
    KeyRecord {
        authority: "spiffe://prod.example".to_owned(),
        key_id: KeyId::of(key.public_key()),
        suite: key.public_key().suite(),
        resource: "medrec".to_owned(),
    }
}
