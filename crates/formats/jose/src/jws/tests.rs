//! What signed texts must and must not be.

use super::*;
use crate::key::EcdsaP256Key;

const TYP: &str = "bailiff+jwt";

fn signed(header_json: &str, key: &EcdsaP256Key) -> String {
    let input = format!(
        "{}.{}",
        base64url::encode(header_json),
        base64url::encode("{}")
    );
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", base64url::encode(signature))
}

fn verify(token: &str, key: &EcdsaP256Key) -> Result<Verified, VerifyError> {
    verify_compact(token, &key.verifying_key().unwrap(), &Expected::typ(TYP))
}

#[test]
fn what_was_signed_comes_back() {
    let key = EcdsaP256Key::generate().unwrap();
    let header = Header::new(Algorithm::Es256).with_kid("k\"1").with_typ(TYP);
    let token = sign_compact(&header, b"payload", &key).unwrap();
    let verified = verify(&token, &key).unwrap();
    assert_eq!(
        (verified.header(), verified.payload()),
        (&header, b"payload".as_slice())
    );
    assert_eq!(
        decode_unverified_header(&token).unwrap().kid(),
        Some("k\"1")
    );
}

#[test]
fn another_key_is_refused() {
    let (key, other) = (
        EcdsaP256Key::generate().unwrap(),
        EcdsaP256Key::generate().unwrap(),
    );
    let token = signed(r#"{"alg":"ES256","typ":"bailiff+jwt"}"#, &other);
    assert!(verify(&token, &other).is_ok());
    assert!(matches!(
        verify(&token, &key),
        Err(VerifyError::BadSignature)
    ));
}

#[test]
fn a_key_inside_the_header_is_not_used() {
    let (key, mallory) = (
        EcdsaP256Key::generate().unwrap(),
        EcdsaP256Key::generate().unwrap(),
    );
    let jwk = serde_json::to_string(mallory.public_jwk()).unwrap();
    let token = signed(
        &format!(r#"{{"alg":"ES256","typ":"bailiff+jwt","jwk":{jwk}}}"#),
        &mallory,
    );
    assert!(matches!(
        verify(&token, &key),
        Err(VerifyError::BadSignature)
    ));
    assert_eq!(decode_unverified_header(&token).unwrap().others(), ["jwk"]);
}

#[test]
fn headers_that_ask_for_more_than_we_understand_are_refused() {
    let key = EcdsaP256Key::generate().unwrap();
    let refused = |header: &str| verify(&signed(header, &key), &key).unwrap_err();
    for crit in [r#"["b64"]"#, "[]", "null", "1"] {
        let header = format!(r#"{{"alg":"ES256","typ":"bailiff+jwt","crit":{crit},"b64":false}}"#);
        assert!(matches!(refused(&header), VerifyError::Critical), "{crit}");
    }
    let twice = refused(r#"{"alg":"ES256","typ":"bailiff+jwt","typ":"bailiff+jwt"}"#);
    assert!(matches!(
        twice,
        VerifyError::Header {
            source: JsonError::Duplicate { .. }
        }
    ));
    let nested = refused(r#"{"alg":"ES256","typ":"bailiff+jwt","x":{"a":1,"a":1}}"#);
    assert!(matches!(
        nested,
        VerifyError::Header {
            source: JsonError::Duplicate { .. }
        }
    ));
}

#[test]
fn the_header_cannot_choose_the_algorithm() {
    let key = EcdsaP256Key::generate().unwrap();
    let refused = |alg: &str| {
        verify(
            &signed(&format!(r#"{{"alg":"{alg}","typ":"bailiff+jwt"}}"#), &key),
            &key,
        )
    };
    for alg in ["none", "HS256", "es256", ""] {
        assert!(
            matches!(refused(alg), Err(VerifyError::UnknownAlgorithm { .. })),
            "{alg}"
        );
    }
    for alg in ["ES384", "RS256", "PS256"] {
        assert!(
            matches!(refused(alg), Err(VerifyError::WrongAlgorithm { .. })),
            "{alg}"
        );
    }
}

#[test]
fn a_text_of_another_type_is_refused() {
    let key = EcdsaP256Key::generate().unwrap();
    let token = |typ: &str| signed(&format!(r#"{{"alg":"ES256"{typ}}}"#), &key);
    for typ in ["", r#","typ":"JWT""#, r#","typ":"BAILIFF+JWT""#] {
        assert!(
            matches!(
                verify(&token(typ), &key),
                Err(VerifyError::WrongType { .. })
            ),
            "{typ}"
        );
    }
    let lenient = Expected::typ_absent_or(&["JWT", "JOSE"]);
    let verify = |typ: &str| verify_compact(&token(typ), &key.verifying_key().unwrap(), &lenient);
    assert!(verify("").is_ok() && verify(r#","typ":"JOSE""#).is_ok());
    assert!(verify(r#","typ":"bailiff+jwt""#).is_err());
}

#[test]
fn only_the_canonical_text_verifies() {
    let key = EcdsaP256Key::generate().unwrap();
    let token = signed(r#"{"alg":"ES256","typ":"bailiff+jwt"}"#, &key);
    // 64 signature bytes end in a group with 4 spare bits: setting one gives another text of the same bytes.
    let (head, last) = token.split_at(token.len() - 1);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet
        .iter()
        .position(|c| last.as_bytes()[0] == *c)
        .unwrap();
    let twin = format!("{head}{}", alphabet[at | 1] as char);
    assert!(matches!(
        verify(&twin, &key),
        Err(VerifyError::Malformed { part: "signature" })
    ));
    for changed in [
        format!("{token}="),
        format!("{token}."),
        format!(" {token}"),
        format!("{token}\n"),
    ] {
        assert!(
            matches!(verify(&changed, &key), Err(VerifyError::Malformed { .. })),
            "{changed:?}"
        );
    }
}

#[test]
fn parts_cannot_be_missing_empty_or_too_long() {
    let key = EcdsaP256Key::generate().unwrap();
    let token = signed(r#"{"alg":"ES256","typ":"bailiff+jwt"}"#, &key);
    let unsigned = &token[..=token.rfind('.').unwrap()];
    assert!(matches!(
        verify(unsigned, &key),
        Err(VerifyError::BadSignature)
    ));
    assert!(matches!(
        verify("", &key),
        Err(VerifyError::Malformed { .. })
    ));
    assert!(matches!(
        verify("a.b", &key),
        Err(VerifyError::Malformed { .. })
    ));
    let long = "A".repeat(MAX_COMPACT_LEN + 1);
    assert!(matches!(
        verify(&long, &key),
        Err(VerifyError::TooLong { .. })
    ));
}

#[test]
fn a_header_that_contradicts_the_signer_is_not_signed() {
    let key = EcdsaP256Key::generate().unwrap();
    let refused = sign_compact(&Header::new(Algorithm::Es384), b"", &key);
    assert!(matches!(refused, Err(SignError::WrongAlgorithm { .. })));
}

proptest::proptest! {
    #[test]
    fn hostile_texts_are_an_error_and_no_crash(token in "[A-Za-z0-9_=. -]{0,200}|.{0,60}") {
        let key = EcdsaP256Key::generate().unwrap();
        proptest::prop_assert!(verify(&token, &key).is_err());
        let _ = decode_unverified_header(&token).is_ok();
    }

    #[test]
    fn hostile_headers_are_an_error_and_no_crash(header in "\\{?(\"(alg|typ|kid|crit)\":(\"ES256\"|1|null|\\[\\]|\\{\\}),?){0,4}\\}?") {
        let key = EcdsaP256Key::generate().unwrap();
        proptest::prop_assert!(verify(&signed(&header, &key), &key).is_err());
    }

    #[test]
    fn hostile_keys_are_an_error_and_no_crash(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        proptest::prop_assert!(crate::Jwk::from_spki_der(&bytes).is_err());
        proptest::prop_assert!(crate::Jwk::from_pkcs1_der(&bytes).is_err());
        proptest::prop_assert!(EcdsaP256Key::from_pkcs8(&bytes).is_err());
        proptest::prop_assert!(crate::strict_json::from_slice::<crate::JwkSet>(&bytes).is_err());
    }
}
