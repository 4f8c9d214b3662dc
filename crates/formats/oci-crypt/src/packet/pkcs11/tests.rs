//! What is read of PKCS#11 packets, what each size of key has room for, and who opens what.

use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use proptest::prelude::*;

use super::*;
use crate::binding::{Binding, Bound};
use crate::cipher::{LayerSealer, SystemRandomness};
use crate::digest::Digest;

/// A key in memory in the place of one in a token.
#[derive(Clone)]
struct Soft(PrivateDecryptingKey);

impl Soft {
    fn of(size: KeySize) -> Self {
        static KEYS: [OnceLock<PrivateDecryptingKey>; 3] = [const { OnceLock::new() }; 3];
        let place = match size {
            KeySize::Rsa2048 => 0,
            KeySize::Rsa3072 => 1,
            _ => 2,
        };
        let key = KEYS[place].get_or_init(|| PrivateDecryptingKey::generate(size).unwrap());
        Self(key.clone())
    }

    fn public(&self, hash: OaepHash) -> Result<Pkcs11Key, Pkcs11KeyError> {
        let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        Pkcs11Key::new(&Jwk::from_spki_der(der.as_ref()).unwrap(), hash)
    }

    fn opener(&self) -> Pkcs11Opener {
        Pkcs11Opener::new(vec![Box::new(self.clone())])
    }
}

impl TokenKey for Soft {
    fn decrypt(&self, hash: OaepHash, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, TokenKeyError> {
        let key = OaepPrivateDecryptingKey::new(self.0.clone()).unwrap();
        let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
        let length = key
            .decrypt(hash.algorithm(), blob, &mut buffer, None)
            .map_err(|_| TokenKeyError::NotForThisKey)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// A token that is not there.
struct Gone;

impl TokenKey for Gone {
    fn decrypt(&self, _: OaepHash, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, TokenKeyError> {
        Err(TokenKeyError::Token {
            key: "gone".to_owned(),
            source: "nobody is there".into(),
        })
    }
}

fn binding() -> Binding {
    Binding {
        ciphertext: Digest::of(b"ciphertext"),
        size: 1_000_000,
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        diff_id: Some(Digest::of(b"unpacked")),
        index: 0,
        of: 1,
        config: Digest::of(b"config"),
    }
}

fn options(bound: Bound) -> PrivateOptions {
    let sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
    let plain = Digest::of(b"plain");
    sealer.finish().unwrap().into_options(plain, bound).1
}

fn full() -> PrivateOptions {
    options(Bound::Full(Box::new(binding())))
}

fn opened(opening: Opening) -> PrivateOptions {
    match opening {
        Opening::Opened(options) => options,
        Opening::NotOurs => panic!("not ours"),
        Opening::Failed(error) => panic!("{error}"),
    }
}

fn wrapped(options: &PrivateOptions, recipients: Vec<Pkcs11Key>) -> KeyPacket {
    Pkcs11Wrapper::new(recipients).wrap(options).unwrap()
}

#[test]
fn every_size_of_key_gets_the_fullest_binding_that_it_has_room_for() {
    let hash = Bound::Hash(binding().hash());
    for (size, oaep, expected) in [
        (KeySize::Rsa2048, OaepHash::Sha1, Bound::Unbound),
        (KeySize::Rsa3072, OaepHash::Sha1, hash.clone()),
        (KeySize::Rsa3072, OaepHash::Sha256, hash.clone()),
        (KeySize::Rsa4096, OaepHash::Sha256, hash.clone()),
    ] {
        let (key, options) = (Soft::of(size), full());
        let public = key.public(oaep).unwrap();
        assert_eq!(public.recipient().has_room_for_binding, expected.is_bound());
        let back = opened(key.opener().open(&wrapped(&options, vec![public])));
        assert_eq!(*back.bound(), expected, "{size:?} {oaep:?}");
        assert_eq!(back.key().expose_key(), options.key().expose_key());
        assert_eq!(back.digest(), options.digest());
    }
}

#[test]
fn rsa_2048_has_no_room_under_sha_256() {
    let refused = Soft::of(KeySize::Rsa2048).public(OaepHash::Sha256);
    let expected = Pkcs11KeyError::NoRoom {
        bits: 2048,
        hash: OaepHash::Sha256,
    };
    assert_eq!(refused.err(), Some(expected));
}

#[test]
fn room_is_as_the_specification_counts_it() {
    assert_eq!(options(Bound::Unbound).expose_bytes().len(), UNBOUND_LEN);
    let by_hash = options(Bound::Hash([1; 32]));
    assert_eq!(by_hash.expose_bytes().len(), BOUND_BY_HASH_LEN);
    assert_eq!(OaepHash::Sha256.room(256), 190);
    assert_eq!(OaepHash::Sha1.room(256), 214);
    assert_eq!(OaepHash::Sha256.room(384), 318);
}

#[test]
fn a_hash_never_turns_into_more_and_unknown_members_go_before_the_binding_does() {
    let text = String::from_utf8(full().expose_bytes().to_vec()).unwrap();
    let padded = text.replacen('{', &format!(r#"{{"theirs":"{}","#, "x".repeat(800)), 1);
    let options = PrivateOptions::parse(padded.as_bytes()).unwrap();
    let short = options.expose_within(318).unwrap();
    let short = PrivateOptions::parse(&short).unwrap();
    assert_eq!(*short.bound(), Bound::Hash(binding().hash()));
    assert_eq!(*options.expose_within(5000).unwrap(), padded.as_bytes());
    assert!(options.expose_within(UNBOUND_LEN - 1).is_none());
}

#[test]
fn each_of_two_tokens_opens_and_a_third_does_not() {
    let (one, two) = (Soft::of(KeySize::Rsa3072), Soft::of(KeySize::Rsa2048));
    let options = full();
    let recipients = vec![
        two.public(OaepHash::Sha1).unwrap(),
        one.public(OaepHash::Sha256).unwrap(),
    ];
    let packet = wrapped(&options, recipients);
    for key in [&one, &two] {
        let back = opened(key.opener().open(&packet));
        assert_eq!(back.key().expose_key(), options.key().expose_key());
    }
    let stranger = Soft::of(KeySize::Rsa4096).opener();
    assert!(matches!(stranger.open(&packet), Opening::NotOurs));
    // Who holds both gets the binding, whatever stands first.
    let both = Pkcs11Opener::new(vec![Box::new(two.clone()), Box::new(one.clone())]);
    assert!(opened(both.open(&packet)).bound().is_bound());
}

#[test]
fn a_token_that_is_gone_is_an_error_unless_another_key_opens() {
    let key = Soft::of(KeySize::Rsa3072);
    let packet = wrapped(&full(), vec![key.public(OaepHash::Sha256).unwrap()]);
    let alone = Pkcs11Opener::new(vec![Box::new(Gone)]).open(&packet);
    assert!(matches!(
        alone,
        Opening::Failed(PacketError::Service { service, .. }) if service == "gone"
    ));
    let both = Pkcs11Opener::new(vec![Box::new(Gone), Box::new(key)]).open(&packet);
    opened(both);
}

#[test]
fn of_all_packets_that_open_the_fullest_binding_counts() {
    let (small, large) = (Soft::of(KeySize::Rsa2048), Soft::of(KeySize::Rsa3072));
    let keys = [
        small.public(OaepHash::Sha1).unwrap(),
        large.public(OaepHash::Sha256).unwrap(),
    ];
    let (small, large) = (small.opener(), large.opener());
    let (public, private) = {
        let sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
        let bound = Bound::Full(Box::new(binding()));
        sealer
            .finish()
            .unwrap()
            .into_options(Digest::of(b"plain"), bound)
    };
    let packets = keys.map(|key| wrapped(&private, vec![key]));
    let bound = |packets: &[&KeyPacket], openers: &[&dyn PacketOpener]| {
        let packets = packets.iter().map(|packet| (*packet).clone()).collect();
        let annotations = crate::annotations_of(&public, packets).unwrap();
        let opened = crate::open_layer_key("0", &annotations, openers).unwrap().0;
        opened.bound().clone()
    };
    let [unbound, by_hash] = &packets;
    let hash = Bound::Hash(binding().hash());
    for packets in [[unbound, by_hash], [by_hash, unbound]] {
        assert_eq!(bound(&packets, &[&small, &large]), hash);
        assert_eq!(bound(&packets, &[&large, &small]), hash);
        // Who holds the small key alone can't know.
        assert_eq!(bound(&packets, &[&small]), Bound::Unbound);
    }
    assert_eq!(bound(&[unbound], &[&small, &large]), Bound::Unbound);
}

fn packet(recipients: &str) -> KeyPacket {
    KeyPacket::Pkcs11(format!(r#"{{"version":0,"recipients":[{recipients}]}}"#).into_bytes())
}

#[test]
fn old_packets_without_a_hash_mean_sha_1_and_unknown_members_are_left_alone() {
    let key = Soft::of(KeySize::Rsa2048);
    let KeyPacket::Pkcs11(bytes) = wrapped(&full(), vec![key.public(OaepHash::Sha1).unwrap()])
    else {
        panic!("another packet")
    };
    let text = String::from_utf8(bytes).unwrap();
    for instead in [r#""hash":"""#, r#""hash":null"#, r#""more":[1]"#] {
        let old = text.replace(r#""hash":"sha1""#, instead);
        assert_ne!(old, text);
        opened(key.opener().open(&KeyPacket::Pkcs11(old.into_bytes())));
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let blob = base64::encode([7; 256]);
    let many = vec![format!(r#"{{"version":0,"blob":"{blob}"}}"#); MOST_RECIPIENTS + 1].join(",");
    let opener = Soft::of(KeySize::Rsa2048).opener();
    for recipients in [
        String::new(),
        many,
        format!(r#"{{"version":1,"blob":"{blob}"}}"#),
        format!(r#"{{"version":0,"blob":"{blob}","hash":"sha512"}}"#),
        format!(r#"{{"version":0,"blob":"{blob}","hash":"SHA1"}}"#),
        format!(r#"{{"version":0,"blob":"{blob}","hash":"sha1","hash":"sha1"}}"#),
        format!(r#"{{"version":0,"blob":"{blob}","blob":"{blob}"}}"#),
        r#"{"version":0,"blob":"AAAA"}"#.to_owned(),
        r#"{"version":0,"blob":"?"}"#.to_owned(),
        r#"{"version":0}"#.to_owned(),
        "1".to_owned(),
    ] {
        let packet = packet(&recipients);
        let outcome = opener.open(&packet);
        assert!(matches!(outcome, Opening::Failed(_)), "{recipients:.80}");
        assert!(pkcs11_recipients(&packet.to_bytes()).is_err());
    }
    let newer = KeyPacket::Pkcs11(br#"{"version":1,"recipients":[]}"#.to_vec());
    assert!(matches!(opener.open(&newer), Opening::Failed(_)));
}

proptest! {
    #[test]
    fn hostile_packets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = pkcs11_recipients(&bytes);
    }

    #[test]
    fn hostile_json_is_refused_or_described(
        version in 0u64..3, len in 0usize..300, hash in "(sha1|sha256|sha384|[a-z]{0,5})", extra in "[a-z]{1,8}",
    ) {
        let blob = base64::encode(vec![1; len]);
        let text = format!(r#"{{"{extra}":1,"version":{version},"recipients":[{{"version":0,"blob":"{blob}","hash":"{hash}"}}]}}"#);
        let known = ["", "sha1", "sha256"].contains(&hash.as_str());
        let twice = ["version", "recipients"].contains(&extra.as_str());
        let accepted = version == 0 && len >= 128 && known && !twice;
        prop_assert_eq!(pkcs11_recipients(text.as_bytes()).is_ok(), accepted);
    }

    #[test]
    fn altered_packets_do_not_open(position in 0usize..384, change in 1u8..) {
        let key = Soft::of(KeySize::Rsa3072);
        let KeyPacket::Pkcs11(bytes) = wrapped(&full(), vec![key.public(OaepHash::Sha256).unwrap()])
        else { panic!("another packet") };
        let mut json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let mut blob = base64::decode(json["recipients"][0]["blob"].as_str().unwrap()).unwrap();
        blob[position] ^= change;
        json["recipients"][0]["blob"] = base64::encode(blob).into();
        let altered = KeyPacket::Pkcs11(json.to_string().into_bytes());
        prop_assert!(!matches!(key.opener().open(&altered), Opening::Opened(_)));
    }
}
