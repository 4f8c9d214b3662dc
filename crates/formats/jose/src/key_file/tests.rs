//! What key files must and must not be.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::key::EcdsaP256Key;

const PASSWORD: &[u8] = b"correct horse";

fn vector(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/key-files");
    std::fs::read(folder.join(name)).unwrap()
}

fn vectors() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/key-files");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn jwk(name: &str) -> Value {
    let vectors: Value =
        serde_json::from_str(include_str!("../../tests/vectors/go-jose.json")).unwrap();
    vectors["keys"][name]["jwk"].clone()
}

fn public_jwk(name: &str) -> Value {
    let mut jwk = jwk(name);
    for member in ["d", "p", "q", "dp", "dq", "qi"] {
        jwk.as_object_mut().unwrap().remove(member);
    }
    jwk
}

/// The public half of a key of the vectors.
fn expected(name: &str) -> Jwk {
    parse_private(jwk(name).to_string().as_bytes())
        .unwrap()
        .public_jwk()
        .clone()
}

fn opened(file: &[u8], password: &[u8]) -> Result<Jwk, KeyFileError> {
    let keys = parse_private_keys(file, Some(password))?;
    Ok(only(keys)?.public_jwk().clone())
}

fn refused(file: &[u8]) -> String {
    parse_private_keys(file, Some(PASSWORD))
        .err()
        .unwrap()
        .to_string()
}

fn encrypted_vectors() -> impl Iterator<Item = String> {
    vectors().into_iter().filter(|name| {
        let others = ["refused.", "certificate", "public"];
        !others.iter().any(|other| name.contains(other))
    })
}

#[test]
fn every_encrypted_container_that_openssl_writes_is_read() {
    let names: Vec<String> = encrypted_vectors().collect();
    assert_eq!(names.len(), 17, "{names:?}");
    for name in names {
        let file = vector(&name);
        let password = match name.contains("umlauts") {
            true => "pässwörd".as_bytes(),
            false => PASSWORD,
        };
        let key = name.split('.').next().unwrap();
        assert_eq!(opened(&file, password).unwrap(), expected(key), "{name}");
        assert!(is_encrypted(&file), "{name}");
        let without = parse_private(&file);
        assert!(matches!(without, Err(KeyFileError::Encrypted)), "{name}");
    }
}

#[test]
fn a_wrong_password_is_named_as_such() {
    for name in encrypted_vectors() {
        for password in [b"".as_slice(), b"correct horsf", b"correct horse\n"] {
            let wrong = opened(&vector(&name), password);
            assert!(matches!(wrong, Err(KeyFileError::WrongPassword)), "{name}");
        }
    }
}

#[test]
fn a_wrong_password_whose_padding_fits_is_no_key() {
    let file = vector("p256.old-aes128.pem");
    let fitting = (0u32..20_000).filter(|number| {
        let block = pem_text::blocks(&file).unwrap().pop().unwrap();
        legacy::decrypt(&block, number.to_string().as_bytes()).is_ok()
    });
    let fitting: Vec<u32> = fitting.take(5).collect();
    assert!(
        !fitting.is_empty(),
        "the test would not test what it is for"
    );
    for number in fitting {
        let wrong = opened(&file, number.to_string().as_bytes());
        assert!(
            matches!(wrong, Err(KeyFileError::WrongPassword)),
            "{number}"
        );
    }
}

#[test]
fn a_password_for_a_plain_key_is_not_looked_at() {
    let plain = pkcs8_pem();
    assert!(!is_encrypted(plain.as_bytes()));
    assert!(opened(plain.as_bytes(), b"whatever").is_ok());
    let long = vec![b'x'; MAX_PASSWORD_LEN + 1];
    let file = vector("p256.scrypt.der");
    assert!(matches!(
        opened(&file, &long),
        Err(KeyFileError::LongPassword)
    ));
}

#[test]
fn certificates_and_old_public_keys_name_their_key() {
    let public = vectors().into_iter().filter(|name| {
        !name.starts_with("refused.") && (name.contains("certificate") || name.contains("public"))
    });
    let public: Vec<String> = public.collect();
    assert_eq!(public.len(), 6, "{public:?}");
    for name in public {
        let key = name.split('.').next().unwrap();
        assert_eq!(
            parse_public(&vector(&name)).unwrap(),
            expected(key),
            "{name}"
        );
        let as_private = refused(&vector(&name));
        assert!(
            as_private.starts_with("key file holds `"),
            "{name}: {as_private}"
        );
        assert!(
            as_private.ends_with("`, not a private key"),
            "{name}: {as_private}"
        );
    }
}

#[test]
fn what_is_not_read_is_refused_with_its_reason() {
    for (name, reason) in [
        ("refused.pbes1.pem", "encrypted with `PKCS#12's own scheme"),
        (
            "refused.camellia.pem",
            "encrypted with `1.2.392.200011.61.1.1.1.2`",
        ),
        (
            "refused.old-camellia.pem",
            "encrypted with `CAMELLIA-128-CBC`",
        ),
        ("refused.iterations.pem", "too many PBKDF2 iterations"),
        ("refused.x25519.pem", "of the kind `X25519`"),
        ("refused.ed25519.pem", "of the kind `Ed25519`"),
        ("refused.secp256k1.pem", "of the kind `secp256k1`"),
        ("refused.rsa1024.pem", "private key is not accepted"),
        (
            "refused.pkcs12.der",
            "key file holds `PKCS#12`, not a private key",
        ),
    ] {
        let said = refused(&vector(name));
        assert!(said.contains(reason), "{name}: {said}");
    }
    for (name, kind) in [
        ("refused.x25519-public.pem", "X25519"),
        ("refused.secp256k1-public.pem", "secp256k1"),
    ] {
        let said = parse_public(&vector(name)).unwrap_err();
        assert!(matches!(said, KeyFileError::UnsupportedKey { found } if found == kind));
    }
}

#[test]
fn keys_of_other_kinds_in_json_are_named() {
    let okp = json!({ "kty": "OKP", "crv": "X25519", "x": "AAAA", "d": "AAAA" });
    assert!(refused(okp.to_string().as_bytes()).contains("kind `X25519`"));
    let said = parse_public(okp.to_string().as_bytes()).unwrap_err();
    assert!(matches!(said, KeyFileError::UnsupportedKey { found } if found == "X25519"));
    let symmetric = json!({ "kty": "oct", "k": "AAAA" });
    assert!(refused(symmetric.to_string().as_bytes()).contains("kind `oct`"));
}

#[test]
fn public_and_private_jwks_are_told_apart() {
    let (public, private) = (public_jwk("rsa").to_string(), jwk("rsa").to_string());
    assert!(refused(public.as_bytes()).contains("holds `public JWK`"));
    let said = parse_public(private.as_bytes()).unwrap_err().to_string();
    assert_eq!(said, "key file holds `private JWK`, not a public key");
}

#[test]
fn a_set_gives_all_its_keys_but_those_for_signatures() {
    let mut signing = public_jwk("p384");
    signing["use"] = "sig".into();
    signing["crv"] = "of tomorrow".into();
    let set = json!({ "keys": [public_jwk("rsa"), signing, public_jwk("p521")] });
    let keys = parse_public_keys(set.to_string().as_bytes()).unwrap();
    assert_eq!(keys, [expected("rsa"), expected("p521")]);
    assert!(matches!(
        parse_public(set.to_string().as_bytes()),
        Err(KeyFileError::Several { count: 2 })
    ));

    let set = json!({ "keys": [jwk("rsa"), jwk("p256")] });
    let keys = parse_private_keys(set.to_string().as_bytes(), None).unwrap();
    let keys: Vec<&Jwk> = keys.iter().map(DecryptionKey::public_jwk).collect();
    assert_eq!(keys, [&expected("rsa"), &expected("p256")]);
}

#[test]
fn a_set_with_a_key_that_is_not_read_is_refused_with_its_number() {
    let okp = json!({ "kty": "OKP", "crv": "X25519", "x": "AAAA", "d": "AAAA" });
    let set = json!({ "keys": [jwk("rsa"), okp] }).to_string();
    assert_eq!(refused(set.as_bytes()), "key 2 of the set is not accepted");
    let public = json!({ "keys": [public_jwk("rsa"), jwk("p256")] }).to_string();
    assert!(matches!(
        parse_public_keys(public.as_bytes()),
        Err(KeyFileError::InSet { number: 2, .. })
    ));
    for empty in [
        json!({ "keys": [] }),
        json!({ "keys": [{ "kty": "EC", "use": "sig" }] }),
    ] {
        let set = empty.to_string();
        assert!(matches!(
            parse_public_keys(set.as_bytes()),
            Err(KeyFileError::EmptySet)
        ));
        assert!(matches!(
            parse_private_keys(set.as_bytes(), None),
            Err(KeyFileError::EmptySet)
        ));
    }
    let many = json!({ "keys": vec![public_jwk("p256"); 65] }).to_string();
    assert!(parse_public_keys(many.as_bytes()).is_err());
}

#[test]
fn the_inner_der_is_handed_out_for_other_schemes() {
    let der = private_der(&vector("rsa.aes-256-cbc.pem"), Some(PASSWORD)).unwrap();
    assert_eq!(parse_private(&der).unwrap().public_jwk(), &expected("rsa"));
    assert!(private_der(jwk("rsa").to_string().as_bytes(), None).is_err());
}

#[test]
fn pem_that_is_cut_or_closed_by_another_label_is_refused() {
    let file = String::from_utf8(vector("p256.old-aes256.pem")).unwrap();
    let windows = file.replace('\n', "\r\n");
    assert!(opened(windows.as_bytes(), PASSWORD).is_ok());
    for broken in [
        file.replace("-----END EC PRIVATE", "-----END RSA PRIVATE"),
        file.replace("-----END", ""),
        file.replace("Proc-Type: 4,ENCRYPTED\n", ""),
        file.replace("4,ENCRYPTED", "4,CLEAR"),
        file.replace("AES-256-CBC,", "AES-256-CBC,00"),
        file.replace("AES-256-CBC,", "AES-256-CBC "),
        file.replace("DEK-Info", "DEK"),
    ] {
        assert!(opened(broken.as_bytes(), PASSWORD).is_err(), "{broken}");
    }
}

fn pkcs8_pem() -> String {
    let der = EcdsaP256Key::generate().unwrap().to_pkcs8().unwrap();
    pem::encode(&pem::Pem::new("PRIVATE KEY", der.to_vec()))
}

#[test]
fn a_curve_named_before_the_key_is_passed_over() {
    let parameters = pem::encode(&pem::Pem::new("EC PARAMETERS", [6, 0]));
    assert!(parse_private(format!("a remark\n{parameters}{}", pkcs8_pem()).as_bytes()).is_ok());
    assert!(matches!(
        parse_private(parameters.as_bytes()),
        Err(KeyFileError::NotUnderstood { .. })
    ));
}

#[test]
fn several_keys_in_a_file_are_refused() {
    let several = format!("{}{}", pkcs8_pem(), pkcs8_pem());
    assert!(matches!(
        parse_private(several.as_bytes()),
        Err(KeyFileError::Several { count: 2 })
    ));
}

#[test]
fn other_labels_are_named_in_the_refusal() {
    let request = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", [1, 2]));
    let refused = parse_public(request.as_bytes()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "key file holds `CERTIFICATE REQUEST`, not a public key"
    );
    assert!(matches!(
        parse_public(pkcs8_pem().as_bytes()),
        Err(KeyFileError::WrongKind { .. })
    ));
}

#[test]
fn long_files_are_refused_unread() {
    assert!(matches!(
        parse_private(&[b'-'; MAX_LEN + 1]),
        Err(KeyFileError::TooLong)
    ));
}

#[test]
fn a_private_jwk_whose_halves_do_not_match_is_refused() {
    let mut mixed = jwk("p256");
    mixed["d"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE".into();
    assert!(parse_private(mixed.to_string().as_bytes()).is_err());
    let mut mixed = jwk("rsa");
    mixed["d"] = mixed["p"].clone();
    assert!(parse_private(mixed.to_string().as_bytes()).is_err());
}

/// PBES2 over the given parameters of a key derivation, sealed with nothing worth opening.
fn pbes2(derivation: &[u8]) -> Vec<u8> {
    let aes =
        hex::decode("301d060960864801650304012a0410000102030405060708090a0b0c0d0e0f").unwrap();
    let parameters = sequence(&[derivation, &aes].concat());
    let oid = hex::decode("06092a864886f70d01050d").unwrap();
    let algorithm = sequence(&[oid, parameters].concat());
    sequence(&[algorithm, vec![4, 16], vec![0; 16]].concat())
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let len = u8::try_from(content.len()).unwrap();
    let head = if len < 0x80 {
        vec![0x30, len]
    } else {
        vec![0x30, 0x81, len]
    };
    [head.as_slice(), content].concat()
}

fn integer(value: u64) -> Vec<u8> {
    let bytes: Vec<u8> = [0].into_iter().chain(value.to_be_bytes()).collect();
    let zeros = bytes
        .windows(2)
        .take_while(|pair| pair[0] == 0 && pair[1] < 0x80)
        .count();
    [
        &[2, u8::try_from(bytes.len() - zeros).unwrap()],
        &bytes[zeros..],
    ]
    .concat()
}

fn scrypt_file(n: u64, r: u64, p: u64) -> Vec<u8> {
    let oid = hex::decode("06092b06010401da47040b").unwrap();
    let numbers = [vec![4, 2, 1, 2], integer(n), integer(r), integer(p)].concat();
    pbes2(&sequence(&[oid, sequence(&numbers)].concat()))
}

fn pbkdf2_file(iterations: u64, more: &[u8]) -> Vec<u8> {
    let oid = hex::decode("06092a864886f70d01050c").unwrap();
    let numbers = [vec![4, 2, 1, 2], integer(iterations), more.to_vec()].concat();
    pbes2(&sequence(&[oid, sequence(&numbers)].concat()))
}

#[test]
fn greedy_parameters_are_refused_before_any_work() {
    let outcome = |file: Vec<u8>| opened(&file, PASSWORD).unwrap_err();
    // The shapes are right: small numbers fail for the password only.
    assert!(matches!(
        outcome(scrypt_file(16, 1, 1)),
        KeyFileError::WrongPassword
    ));
    assert!(matches!(
        outcome(pbkdf2_file(1, &[])),
        KeyFileError::WrongPassword
    ));
    assert!(matches!(
        outcome(pbkdf2_file(1, &integer(32))),
        KeyFileError::WrongPassword
    ));
    for (n, r, p) in [
        (1 << 40, 8, 1),
        (1 << 19, 8, 1),
        (1 << 14, 8, 1 << 20),
        (u64::MAX, u64::MAX, u64::MAX),
        (2, u64::MAX, 1),
        (1 << 22, 1, 2),
        (1 << 63, 0, u64::MAX),
    ] {
        let refused = outcome(scrypt_file(n, r, p));
        let is_refused = matches!(
            refused,
            KeyFileError::ExcessiveWork { .. } | KeyFileError::MalformedEncryption { .. }
        );
        assert!(is_refused, "{n} {r} {p}: {refused}");
    }
    for iterations in [u64::from(pbes2::MAX_ITERATIONS) + 1, 1 << 32, u64::MAX] {
        let refused = outcome(pbkdf2_file(iterations, &[]));
        assert!(
            matches!(refused, KeyFileError::ExcessiveWork { .. }),
            "{iterations}"
        );
    }
    for malformed in [
        scrypt_file(0, 1, 1),
        scrypt_file(1, 1, 1),
        scrypt_file(15, 1, 1),
        scrypt_file(16, 0, 1),
        scrypt_file(16, 1, 0),
        pbkdf2_file(0, &[]),
        pbkdf2_file(1, &integer(16)),
        pbkdf2_file(1, &[5, 0]),
    ] {
        assert!(matches!(
            outcome(malformed),
            KeyFileError::MalformedEncryption { .. }
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn mangled_encrypted_files_are_no_crash_and_no_other_key(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let names: Vec<String> = encrypted_vectors().filter(|name| name.starts_with("p256")).collect();
        let mut file = vector(which.get::<String>(&names));
        let at = at.index(file.len());
        file[at] = byte;
        // A changed nonce or block of CBC can change the key's public half only together with its private one.
        if let Ok(public) = opened(&file, PASSWORD) {
            prop_assert_eq!(public, expected("p256"));
        }
        let _ = (is_encrypted(&file), parse_public_keys(&file).is_ok());
    }

    #[test]
    fn hostile_parameters_are_no_crash(derivation in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(opened(&pbes2(&derivation), PASSWORD).is_err());
    }

    #[test]
    fn hostile_files_are_an_error_and_no_crash(mut file in prop::collection::vec(any::<u8>(), 0..300), kind in 0usize..4) {
        let start: &[u8] = [b"{".as_slice(), b"0", b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", b""][kind];
        file.splice(..0, start.iter().copied());
        prop_assert!(opened(&file, PASSWORD).is_err());
        prop_assert!(parse_public_keys(&file).is_err());
        let _ = is_encrypted(&file);
    }
}
