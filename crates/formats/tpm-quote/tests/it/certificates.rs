//! Certificates that do not make a TPM: of strangers, at the wrong time, for another key, of another kind.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair,
    SubjectPublicKeyInfo,
};
use tpm_quote::{EkError, ManufacturerRoots, verify_ek_certificate};

use crate::vectors::{NOW, bytes, public, roots};

#[test]
fn another_manufacturer_is_not_believed() {
    let stranger = ManufacturerRoots::from_pem(&bytes("stranger.pem")).unwrap();
    let refused = verify_ek_certificate(
        &bytes("ek-rsa2048.crt"),
        &[],
        &stranger,
        &public("ek-rsa2048.pub"),
        NOW,
    );
    assert!(matches!(refused, Err(EkError::Untrusted { .. })));
}

#[test]
fn a_certificate_before_its_time_is_not_believed() {
    let refused = verify_ek_certificate(
        &bytes("ek-rsa2048.crt"),
        &[],
        &roots(),
        &public("ek-rsa2048.pub"),
        NOW - 30 * 86_400,
    );
    assert!(matches!(refused, Err(EkError::Untrusted { .. })));
}

#[test]
fn the_certificate_of_another_tpm_is_not_believed() {
    for ek in ["other-ek-rsa2048.pub", "ek-p384.pub"] {
        let refused =
            verify_ek_certificate(&bytes("ek-rsa2048.crt"), &[], &roots(), &public(ek), NOW);
        assert_eq!(refused, Err(EkError::OtherKey));
    }
    let refused = verify_ek_certificate(
        &bytes("ek-rsa2048.crt"),
        &[],
        &roots(),
        &public("node.pub"),
        NOW,
    );
    assert!(matches!(refused, Err(EkError::UnfitKey { .. })));
}

#[test]
fn a_root_is_needed_and_an_intermediate_is_none() {
    assert!(matches!(
        ManufacturerRoots::from_pem(b""),
        Err(EkError::Roots)
    ));
    assert!(matches!(
        ManufacturerRoots::from_pem(b"no certificate"),
        Err(EkError::Roots)
    ));
    let pem = String::from_utf8(bytes("manufacturer.pem")).unwrap();
    let issuer = &pem[pem.rfind("-----BEGIN").unwrap()..];
    assert!(matches!(
        ManufacturerRoots::from_pem(issuer.as_bytes()),
        Err(EkError::Roots)
    ));
    let root = &pem[..pem.rfind("-----BEGIN").unwrap()];
    let root = ManufacturerRoots::from_pem(root.as_bytes()).unwrap();
    let certificate = bytes("ek-rsa2048.crt");
    let ek = public("ek-rsa2048.pub");
    assert!(verify_ek_certificate(&certificate, &[], &root, &ek, NOW).is_err());
    // The TPM may carry the intermediate itself.
    let body: String = issuer
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    verify_ek_certificate(&certificate, &[base64(&body)], &root, &ek, NOW).unwrap();
}

/// A manufacturer made here, whose certificates follow the profile only as far as is asked.
fn verdict(usage: &[&[u8]], name: Option<Vec<u8>>) -> Result<(), EkError> {
    let ek = public("ek-rsa2048.pub");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let roots = ManufacturerRoots::from_der([root.der().as_ref()]).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !usage.is_empty() {
        let purposes: Vec<Vec<u8>> = usage.iter().map(|oid| tlv(0x06, oid)).collect();
        params
            .custom_extensions
            .push(CustomExtension::from_oid_content(
                &[2, 5, 29, 37],
                tlv(0x30, &purposes.concat()),
            ));
    }
    if let Some(name) = name {
        let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], name);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    }
    let spki = SubjectPublicKeyInfo::from_der(&ek.spki_der()).unwrap();
    let issuer = Issuer::from_ca_cert_der(root.der(), key).unwrap();
    let leaf = params.signed_by(&spki, &issuer).unwrap();
    verify_ek_certificate(leaf.der(), &[], &roots, &ek, NOW).map(drop)
}

#[test]
fn certificates_of_another_kind_are_not_believed() {
    verdict(&[EK_USAGE], Some(tpm_name(&[1, 2, 3]))).unwrap();
    let server: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
    for usage in [&[][..], &[server]] {
        assert_eq!(
            verdict(usage, Some(tpm_name(&[1, 2, 3]))),
            Err(EkError::NotOfTpm {
                what: "the key usage"
            })
        );
    }
    assert!(matches!(
        verdict(&[EK_USAGE], None),
        Err(EkError::NotOfTpm { .. })
    ));
    for present in [&[2, 3][..], &[1, 3], &[1, 2]] {
        assert!(matches!(
            verdict(&[EK_USAGE], Some(tpm_name(present))),
            Err(EkError::NotOfTpm { .. })
        ));
    }
    assert_eq!(
        verdict(&[EK_USAGE], Some(tpm_name(&[1, 1, 2, 3]))),
        Err(EkError::Malformed)
    );
}

/// A `SubjectAltName` with one directory name that has these of the TPM's attributes.
fn tpm_name(attributes: &[u8]) -> Vec<u8> {
    let sets: Vec<u8> = attributes
        .iter()
        .flat_map(|last| {
            let oid = tlv(0x06, &[0x67, 0x81, 0x05, 0x02, *last]);
            tlv(0x31, &tlv(0x30, &[oid, tlv(0x0c, b"id:0000")].concat()))
        })
        .collect();
    tlv(0x30, &tlv(0xa4, &tlv(0x30, &sets)))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        len @ 0..=127 => out.push(u8::try_from(len).unwrap()),
        len => out.extend([0x81, u8::try_from(len).unwrap()]),
    }
    out.extend(content);
    out
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for symbol in text.trim_end_matches('=').chars() {
        bits = bits << 6 | u32::try_from(DIGITS.find(symbol).unwrap()).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    out
}

const EK_USAGE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
