//! Certificates and keys of key brokers as recipients and as keys.

use images::{
    DecryptOptions, Keys, Kind, RecipientError, Recipients, Silent, decrypt, encrypt, inspect,
};
use serde_json::json;

use crate::build::image;
use crate::memory::Memory;

const CERTIFICATE: &[u8] =
    include_bytes!("../../../../formats/oci-crypt/tests/vectors/pkcs7/cert.pem");
const KEY: &[u8] = include_bytes!("../../../../formats/oci-crypt/tests/vectors/pkcs7/key.pem");
const OTHER_KEY: &[u8] =
    include_bytes!("../../../../formats/oci-crypt/tests/vectors/pkcs7/other-key.pem");
const BROKER_KEY: (&str, &[u8]) = ("kbs:///default/key/1", &[7; 32]);

fn encrypted() -> Memory {
    let mut recipients = Recipients::new();
    recipients.add_certificate(CERTIFICATE).unwrap();
    recipients
        .add_broker_key(BROKER_KEY.0, BROKER_KEY.1)
        .unwrap();
    let target = Memory::default();
    encrypt(&image("a"), &target, &recipients, &Silent).unwrap();
    target
}

fn opens(keys: &Keys) -> bool {
    let target = Memory::default();
    let options = DecryptOptions::default();
    decrypt(&encrypted(), &target, &keys.openers(), options, &Silent).is_ok()
}

#[test]
fn certificate_and_key_open_together_in_either_order() {
    let mut keys = Keys::default();
    keys.add_certificate(CERTIFICATE).unwrap();
    assert!(matches!(
        keys.check(),
        Err(RecipientError::CertificateWithoutKey { .. })
    ));
    keys.add_private_key(OTHER_KEY, None).unwrap();
    assert!(keys.check().is_err() && !opens(&keys));
    keys.add_private_key(KEY, None).unwrap();
    assert!(keys.check().is_ok() && opens(&keys));

    let mut keys = Keys::default();
    keys.add_private_key(KEY, None).unwrap();
    assert!(keys.check().is_ok() && !opens(&keys), "no certificate yet");
    keys.add_certificate(CERTIFICATE).unwrap();
    assert!(opens(&keys));
}

#[test]
fn a_brokers_key_opens_under_its_name_only() {
    let mut keys = Keys::default();
    keys.add_broker_key("kbs:///default/key/2", BROKER_KEY.1)
        .unwrap();
    assert!(!opens(&keys));
    keys.add_broker_key(BROKER_KEY.0, BROKER_KEY.1).unwrap();
    assert!(opens(&keys));
    let refused = keys
        .add_broker_key("default/key/1", BROKER_KEY.1)
        .unwrap_err();
    assert_eq!(refused.kind(), Kind::Usage);
}

#[test]
fn inspect_names_both() {
    let report = serde_json::to_value(inspect(&encrypted(), &[]).unwrap()).unwrap();
    assert_eq!(
        report["images"][0]["layers"][0]["recipients"],
        json!([
            {"scheme": "pkcs7", "certificates": [
                {"issuer": "CN=pathology,O=Example Hospital", "serial": "00c0ffee0123456789"},
            ]},
            {"scheme": "confidentialContainers", "name": "provider.attestation-agent",
             "key": "kbs:///default/key/1", "keeper": "kbs"},
        ])
    );
}
