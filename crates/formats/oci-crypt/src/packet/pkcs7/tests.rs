//! What peers write opens, and what attackers make of it is refused without telling why.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::rsa::PublicEncryptingKey;
use proptest::prelude::*;

use super::content::Sealed;
use super::*;
use crate::base64;

const OPTIONS: &[u8] = include_bytes!("../../../tests/vectors/pkcs7/options.json");
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/vectors/pkcs7/cert.pem");
const KEY: &[u8] = include_bytes!("../../../tests/vectors/pkcs7/key.pem");
const OTHER_CERTIFICATE: &[u8] = include_bytes!("../../../tests/vectors/pkcs7/other-cert.pem");
const OTHER_KEY: &[u8] = include_bytes!("../../../tests/vectors/pkcs7/other-key.pem");
const EC_CERTIFICATE: &[u8] = include_bytes!("../../../tests/vectors/pkcs7/ec-cert.pem");

fn packet(name: &str) -> Vec<u8> {
    let packets: BTreeMap<String, String> =
        serde_json::from_str(include_str!("../../../tests/vectors/pkcs7/packets.json")).unwrap();
    base64::decode(&packets[name]).unwrap()
}

fn certificate() -> Certificate {
    Certificate::parse(CERTIFICATE).unwrap()
}

fn opener(certificate: &[u8], key: &[u8]) -> Pkcs7Opener {
    let certificate = Certificate::parse(certificate).unwrap();
    let key = DecryptionKey::from_der(pem::parse(key).unwrap().contents()).unwrap();
    let mut opener = Pkcs7Opener::new();
    opener.add_certificate(certificate);
    opener.add_key(&key);
    assert!(opener.lonely_certificate().is_none());
    opener
}

fn ours() -> Pkcs7Opener {
    opener(CERTIFICATE, KEY)
}

/// One for all: a private key is verified when it is read, which takes longer than its use.
static OURS: LazyLock<Pkcs7Opener> = LazyLock::new(ours);

fn open(packet: Vec<u8>) -> Opening {
    OURS.open(&KeyPacket::Pkcs7(packet))
}

/// What came of a packet, in a form that compares.
fn outcome(opening: Opening) -> Result<Vec<u8>, String> {
    match opening {
        Opening::Opened(options) => Ok(options.expose_bytes().to_vec()),
        Opening::NotOurs => Err("not ours".into()),
        Opening::Failed(error) => Err(error.to_string()),
    }
}

fn replaced(mut packet: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let place = position(&packet, old);
    packet[place..place + new.len()].copy_from_slice(new);
    packet
}

fn position(packet: &[u8], part: &[u8]) -> usize {
    let mut windows = packet.windows(part.len());
    windows.position(|window| window == part).unwrap()
}

const REFUSED: &str = "PKCS#7 packet did not open";

#[test]
fn every_form_that_peers_write_opens() {
    for name in [
        "go-aes-128-gcm",
        "go-two-recipients",
        "go-aes-256-gcm",
        "go-aes-128-cbc",
        "go-aes-256-cbc",
        "go-des-cbc",
        "go-oaep-sha-1",
        "go-oaep-sha-256",
        "go-oaep-sha-384",
        "go-oaep-sha-512",
        "openssl-aes-128-cbc",
        "openssl-aes-256-gcm",
        "openssl-des-ede3-cbc",
        "openssl-oaep-sha-256",
    ] {
        assert_eq!(outcome(open(packet(name))).unwrap(), OPTIONS, "{name}");
    }
}

#[test]
fn the_older_shape_of_content_opens() {
    for name in ["skopeo-1.9.3-one", "skopeo-1.9.3-two"] {
        let Opening::Opened(options) = open(packet(name)) else {
            panic!("{name} did not open");
        };
        let layer = "sha256:acfc40aff15c7bcbe04b52bfe6293ec45cec0953a1939b524fa0685a5bebe404";
        assert_eq!(options.digest(), Some(layer));
    }
}

#[test]
fn what_is_not_read_is_named() {
    for (name, expected) in [
        (
            "go-oaep-sha-224",
            "packet uses OAEP hash `2.16.840.1.101.3.4.2.4`, which is not read",
        ),
        // Only the specification tells that the mask is another one than peers mean.
        ("openssl-oaep-mixed", REFUSED),
        ("openssl-indefinite", "packet is malformed at ContentInfo"),
        ("openssl-key-id", "not ours"),
    ] {
        assert_eq!(outcome(open(packet(name))).unwrap_err(), expected, "{name}");
    }
    let sha_256 = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
    let mut mixed = packet("openssl-oaep-sha-256");
    let mask = mixed
        .windows(9)
        .rposition(|window| window == sha_256)
        .unwrap();
    mixed[mask + 8] = 2;
    assert_eq!(
        outcome(open(mixed)).unwrap_err(),
        "packet uses OAEP mask `2.16.840.1.101.3.4.2.2`, which is not read"
    );
    let unknown = replaced(
        packet("go-aes-128-cbc"),
        b"\x60\x86\x48\x01\x65\x03\x04\x01\x02",
        b"\x60\x86\x48\x01\x65\x03\x04\x01\x7f",
    );
    assert_eq!(
        outcome(open(unknown)).unwrap_err(),
        "packet uses content cipher `2.16.840.1.101.3.4.1.127`, which is not read"
    );
}

#[test]
fn each_recipient_of_a_packet_opens_it_and_nobody_else() {
    let options = PrivateOptions::parse(OPTIONS).unwrap();
    let other = Certificate::parse(OTHER_CERTIFICATE).unwrap();
    let wrapper = Pkcs7Wrapper::new(vec![certificate(), other]);
    let wrapped = wrapper.wrap(&options).unwrap();
    for opener in [ours(), opener(OTHER_CERTIFICATE, OTHER_KEY)] {
        assert_eq!(outcome(opener.open(&wrapped)).unwrap(), OPTIONS);
    }
    let alone = Pkcs7Wrapper::new(vec![certificate()])
        .wrap(&options)
        .unwrap();
    let stranger = opener(OTHER_CERTIFICATE, OTHER_KEY);
    assert_eq!(outcome(stranger.open(&alone)).unwrap_err(), "not ours");
    let names = pkcs7_recipients(&wrapped.to_bytes()).unwrap();
    assert_eq!(names.len(), 2);
    assert!(names.contains(certificate().name()));
    assert!(Pkcs7Wrapper::new(Vec::new()).wrap(&options).is_err());
}

#[test]
fn our_packet_differs_from_gos_only_where_it_is_random() {
    let options = PrivateOptions::parse(OPTIONS).unwrap();
    let ours = Pkcs7Wrapper::new(vec![certificate()])
        .wrap(&options)
        .unwrap();
    let blank = |mut packet: Vec<u8>| {
        let (key, content) = {
            let envelope = Envelope::parse(&packet).unwrap();
            (
                envelope.recipients[0].encrypted_key.to_vec(),
                envelope.content,
            )
        };
        let nonce = position(&packet, b"\x30\x11\x84\x0c") + 4;
        packet[nonce..nonce + 12].fill(0);
        let packet = replaced(packet, &key, &vec![0; key.len()]);
        replaced(packet, &content, &vec![0; content.len()])
    };
    assert_eq!(blank(ours.to_bytes()), blank(packet("go-aes-128-gcm")));
}

#[test]
fn a_certificate_without_its_key_opens_nothing() {
    let key = DecryptionKey::from_der(pem::parse(OTHER_KEY).unwrap().contents()).unwrap();
    let ec = DecryptionKey::generate_ec(jose::Curve::P256).unwrap();
    let mut opener = Pkcs7Opener::new();
    opener.add_certificate(certificate());
    opener.add_key(&key);
    opener.add_key(&ec);
    let lonely = opener.lonely_certificate().unwrap();
    assert_eq!(lonely.name(), certificate().name());
    let packet = KeyPacket::Pkcs7(packet("go-aes-128-gcm"));
    assert_eq!(outcome(opener.open(&packet)).unwrap_err(), "not ours");
}

#[test]
fn another_issuer_or_serial_number_is_another_recipient() {
    let issuer = replaced(packet("go-aes-128-gcm"), b"pathology", b"pathologz");
    let serial = replaced(
        packet("go-aes-128-gcm"),
        b"\x00\xc0\xff\xee",
        b"\x00\xc0\xff\xef",
    );
    for changed in [issuer, serial] {
        assert_eq!(outcome(open(changed)).unwrap_err(), "not ours");
    }
}

#[test]
fn a_packet_that_gives_each_the_others_key_does_not_open() {
    let packet = packet("go-two-recipients");
    let envelope = Envelope::parse(&packet).unwrap();
    let certificate = certificate();
    let key_of = |ours: bool| {
        let mut infos = envelope.recipients.iter();
        let info = infos.find(|info| info.is_for(certificate.name()) == ours);
        info.unwrap().encrypted_key
    };
    let (ours, theirs) = (key_of(true), key_of(false));
    let moved = replaced(packet.clone(), ours, theirs);
    assert_eq!(outcome(open(moved)).unwrap_err(), REFUSED);
}

#[test]
fn a_packet_that_is_cut_or_goes_on_is_malformed() {
    for name in ["go-aes-128-gcm", "skopeo-1.9.3-two", "openssl-aes-256-gcm"] {
        let whole = packet(name);
        for length in 0..whole.len() {
            let refused = outcome(open(whole[..length].to_vec())).unwrap_err();
            assert!(refused.contains("malformed"), "{name} {length}: {refused}");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert!(outcome(open(longer)).unwrap_err().contains("malformed"));
    }
    // 4 GiB, announced by six bytes.
    let huge = b"\x30\x84\xff\xff\xff\xff".to_vec();
    assert!(outcome(open(huge)).unwrap_err().contains("malformed"));
}

#[test]
fn no_changed_byte_of_an_authenticated_packet_is_overlooked() {
    let whole = packet("go-aes-128-gcm");
    // The version says nothing that is not seen otherwise.
    let version = position(&whole, b"\x02\x01\x00\x31") + 2;
    for place in (0..whole.len()).filter(|place| *place != version) {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        assert!(outcome(open(changed)).is_err(), "byte {place}");
    }
}

/// Bleichenbacher's question: does the error tell whether the padding was right?
#[test]
fn padding_length_and_content_of_the_key_fail_alike() {
    let spki = certificate_key();
    let encrypted = |content_key: &[u8]| {
        let key = aws_lc_rs::rsa::Pkcs1PublicEncryptingKey::new(spki.clone()).unwrap();
        let mut out = vec![0; key.ciphertext_size()];
        key.encrypt(content_key, &mut out).unwrap();
        out
    };
    let mut small = vec![0; 256];
    small[255] = 2;
    let long = [0xff; 256].to_vec();
    let questions = [
        ("another key", encrypted(&[7; 16])),
        ("a shorter key", encrypted(&[7; 15])),
        ("a longer key", encrypted(&[7; 32])),
        ("no key", encrypted(&[])),
        ("no padding", small),
        ("larger than the modulus", long),
    ];
    for name in ["go-aes-128-gcm", "go-aes-128-cbc", "go-des-cbc"] {
        let whole = packet(name);
        let key = Envelope::parse(&whole).unwrap().recipients[0].encrypted_key;
        for (what, question) in &questions {
            let asked = replaced(whole.clone(), key, question);
            assert_eq!(outcome(open(asked)).unwrap_err(), REFUSED, "{name}: {what}");
        }
    }
}

/// Vaudenay's question: does the error tell whether the content's padding was right?
#[test]
fn padding_and_content_of_unauthenticated_packets_fail_alike() {
    let whole = packet("go-aes-128-cbc");
    let content = Envelope::parse(&whole).unwrap().content;
    let last = content.len() - 17;
    for change in 1..=255 {
        let mut changed = content.clone();
        // The block before the last decides the last one's padding; its own text becomes garbage.
        changed[last] ^= change;
        let asked = replaced(whole.clone(), &content, &changed);
        assert_eq!(outcome(open(asked)).unwrap_err(), REFUSED, "{change}");
    }
    for length in [0, 1, 15, 16] {
        let sealed = Sealed::new(OPTIONS).unwrap();
        let iv = [4, 16].into_iter().chain([0; 16]).collect::<Vec<u8>>();
        let cbc = [
            b"\x30\x1d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x02".as_slice(),
            &iv,
        ]
        .concat();
        let key = certificate().encrypt(sealed.key.as_slice()).unwrap();
        let asked = envelope::write(&[(certificate().name(), key)], &cbc, &vec![0; length]);
        assert_eq!(outcome(open(asked)).unwrap_err(), REFUSED, "{length} bytes");
    }
}

#[test]
fn other_bytes_than_options_are_an_error_of_their_own_only_under_a_tag() {
    let sealed = Sealed::new(b"{}").unwrap();
    let key = certificate().encrypt(sealed.key.as_slice()).unwrap();
    let certificate = certificate();
    let recipients = [(certificate.name(), key)];
    let packet = envelope::write(&recipients, &sealed.algorithm, &sealed.content);
    assert!(matches!(
        open(packet),
        Opening::Failed(PacketError::Options { .. })
    ));
}

#[test]
fn thousands_of_recipients_are_refused_before_any_is_tried() {
    let sealed = Sealed::new(OPTIONS).unwrap();
    let recipients: Vec<_> = (0..300)
        .map(|_| (certificate().name().clone(), vec![0; 256]))
        .collect();
    let recipients: Vec<_> = recipients
        .iter()
        .map(|(name, key)| (name, key.clone()))
        .collect();
    let packet = envelope::write(&recipients, &sealed.algorithm, &sealed.content);
    assert_eq!(
        outcome(open(packet)).unwrap_err(),
        "packet is malformed at number of recipients"
    );
}

#[test]
fn a_certificate_file_holds_one_rsa_certificate() {
    let refused = |file: &[u8]| Certificate::parse(file).err().unwrap();
    let two = [CERTIFICATE, OTHER_CERTIFICATE].concat();
    assert_eq!(refused(&two), CertificateError::Several { count: 2 });
    assert_eq!(refused(KEY), CertificateError::NotUnderstood);
    assert_eq!(refused(EC_CERTIFICATE), CertificateError::Key);
    assert_eq!(refused(b""), CertificateError::NotUnderstood);
    assert_eq!(
        refused(&vec![0x30; MAX_CERTIFICATE_LEN + 1]),
        CertificateError::TooLong
    );
    let der = pem::parse(CERTIFICATE).unwrap().into_contents();
    let parsed = Certificate::parse(&der).unwrap();
    assert_eq!(parsed.name(), certificate().name());
    for length in 0..der.len() {
        assert!(Certificate::parse(&der[..length]).is_err(), "{length}");
    }
    let key = pem::parse(KEY).unwrap().into_contents();
    assert!(Certificate::is_in(CERTIFICATE) && Certificate::is_in(&der));
    assert!(!Certificate::is_in(KEY) && !Certificate::is_in(&key));
}

#[test]
fn issuers_are_shown_and_cannot_deceive() {
    let name = certificate().name().clone();
    assert_eq!(name.issuer(), "CN=pathology,O=Example Hospital");
    assert_eq!(name.serial(), "00c0ffee0123456789");
    let deceiving = IssuerAndSerial {
        issuer: {
            let text = element(0x0c, "a\u{202e}b\u{1b}[2J\u{85}".as_bytes());
            let oid = element(0x06, b"\x55\x04\x03");
            let pair = element(0x30, &[oid, text].concat());
            element(0x30, &element(0x31, &pair))
        },
        serial: vec![1],
    };
    let shown = deceiving.issuer();
    assert!(shown.is_ascii() && !shown.contains('\u{1b}'), "{shown}");
    let hostile = IssuerAndSerial {
        issuer: b"\x30\x03\x31\x01\x30".to_vec(),
        serial: vec![1],
    };
    assert_eq!(hostile.issuer(), "(unreadable name)");
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    der::element(tag, &[content])
}

fn certificate_key() -> PublicEncryptingKey {
    let key = DecryptionKey::from_der(pem::parse(KEY).unwrap().contents()).unwrap();
    key.expose_rsa().unwrap().public_key()
}

proptest! {
    #[test]
    fn hostile_packets_are_an_answer_and_no_crash(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(!matches!(open(bytes.clone()), Opening::Opened(_)));
        prop_assert!(pkcs7_recipients(&bytes).is_err());
        prop_assert!(Certificate::from_der(&bytes).is_err());
    }

    #[test]
    fn damaged_packets_are_an_answer_and_no_crash(
        name in prop::sample::select(vec!["go-aes-128-gcm", "skopeo-1.9.3-two", "go-oaep-sha-256", "openssl-aes-256-gcm"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = packet(name);
        let mut damaged = whole.clone();
        for (place, value) in changes {
            damaged[place.index(whole.len())] = value;
        }
        let names = pkcs7_recipients(&damaged).unwrap_or_default();
        names.iter().for_each(|name| drop(name.issuer()));
        let _ = open(damaged.clone());
        damaged.truncate(cut.index(whole.len()));
        prop_assert!(!matches!(open(damaged), Opening::Opened(_)));
    }

    #[test]
    fn damaged_certificates_are_an_answer_and_no_crash(
        place in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        let mut der = pem::parse(CERTIFICATE).unwrap().into_contents();
        let place = place.index(der.len());
        der[place] = value;
        if let Ok(certificate) = Certificate::from_der(&der) {
            drop(certificate.name().issuer());
        }
    }
}
