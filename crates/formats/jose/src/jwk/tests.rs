//! What is a key, and what only looks like one.

use super::*;
use crate::strict_json;

// RFC 7638 section 3.1.
const RFC_RSA: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
// RFC 7517 appendix A.1.
const RFC_EC: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"}"#;

fn parse(text: &str) -> Jwk {
    strict_json::from_str(text).unwrap()
}

#[test]
fn the_thumbprint_is_the_one_of_the_rfc() {
    assert_eq!(
        parse(RFC_RSA).thumbprint().to_string(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
}

#[test]
fn keys_survive_json_and_x509() {
    for text in [RFC_RSA, RFC_EC] {
        let key = parse(text);
        assert_eq!(parse(&serde_json::to_string(&key).unwrap()), key);
        let again = Jwk::from_spki_der(&key.to_spki_der().unwrap()).unwrap();
        assert_eq!(again.thumbprint(), key.thumbprint());
    }
}

#[test]
fn a_point_off_the_curve_is_refused() {
    let off = RFC_EC.replace("4Etl6SRW", "4Etl6SRX");
    assert!(strict_json::from_str::<Jwk>(&off).is_err());
    assert!(Jwk::from_ec_point(Curve::P256, &[4; 65]).is_err());
    assert!(Jwk::from_ec_point(Curve::P256, &[0]).is_err());
}

#[test]
fn a_private_key_is_not_taken_for_a_public_one() {
    let private = RFC_EC.replace(r#""use""#, r#""d":"AA","use""#);
    let error = strict_json::from_str::<Jwk>(&private).unwrap_err();
    let strict_json::JsonError::Malformed { source } = error else {
        panic!("{error}")
    };
    assert!(source.to_string().contains("private key"));
}

#[test]
fn small_or_padded_rsa_numbers_are_refused() {
    assert!(Jwk::from_rsa(&[0xff; 128], &[1, 0, 1]).is_err());
    assert!(Jwk::from_rsa(&[0xff; 256], &[1, 0, 1]).is_ok());
    assert!(Jwk::from_rsa(&[[0].as_slice(), &[0xff; 256]].concat(), &[1, 0, 1]).is_err());
    for e in [&[1][..], &[2], &[0], &[0, 1], &[], &[1; 6]] {
        assert!(Jwk::from_rsa(&[0xff; 256], e).is_err(), "{e:?}");
    }
    assert!(Jwk::from_rsa(&[], &[]).is_err());
}

#[test]
fn sets_leave_out_unknown_kinds_and_refuse_malformed_keys() {
    let set =
        |key: &str| strict_json::from_str::<JwkSet>(&format!(r#"{{"keys":[{key},{RFC_EC}]}}"#));
    assert_eq!(
        set(r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#)
            .unwrap()
            .keys
            .len(),
        1
    );
    assert!(set(r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#).is_err());
    assert!(
        set(RFC_EC).unwrap().find("1").is_none(),
        "two keys share the id"
    );
    assert!(set(RFC_RSA).unwrap().find("1").is_some());
}

proptest::proptest! {
    #[test]
    fn hostile_sets_are_an_error_or_keys_that_come_back(
        text in r#"\{"keys":\[(\{("(kty|crv|x|y|n|e|kid|x5c)":("(EC|RSA|OKP|P-256|AQAB|[A-Za-z0-9_-]{0,44})"|1|null|\[\]),?){0,6}\},?){0,3}\]\}"#,
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        if let Ok(set) = strict_json::from_str::<JwkSet>(&text) {
            for key in &set.keys {
                proptest::prop_assert_eq!(&parse(&serde_json::to_string(key).unwrap()), key);
            }
        }
        proptest::prop_assert!(strict_json::from_slice::<JwkSet>(&bytes).is_err());
        proptest::prop_assert!(Jwk::from_spki_der(&bytes).is_err() && Jwk::from_pkcs1_der(&bytes).is_err());
    }
}
