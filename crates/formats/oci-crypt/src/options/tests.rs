//! What options may say, and what they must not.

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
fn options_beyond_all_measure_are_refused() {
    let with = |len: usize| private(|value| value["theirs"] = "a".repeat(len).into()).map(drop);
    assert_eq!(with(MAX_PRIVATE_LEN / 2), Ok(()));
    assert_eq!(
        with(MAX_PRIVATE_LEN),
        Err(OptionsError::Malformed { which: "private" })
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

#[test]
fn a_second_spelling_of_a_private_member_is_refused() {
    let text = String::from_utf8(fresh(Bound::Unbound).expose_bytes().to_vec()).unwrap();
    let open = text.strip_suffix('}').unwrap();
    assert!(PrivateOptions::parse(text.as_bytes()).is_ok());
    for name in [
        "Symkey",
        "\u{17f}ymkey",
        "sym\u{212a}ey",
        "DIGEST",
        "CipherOptions",
        "Bailiwick",
    ] {
        let text = format!(r#"{open},"{name}":{{"nonce":""}}}}"#);
        let malformed = OptionsError::Malformed { which: "private" };
        assert_eq!(
            PrivateOptions::parse(text.as_bytes()).err(),
            Some(malformed),
            "{name}"
        );
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
