//! X509-SVID, clause by clause.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use spiffe_id::{
    CertificateError, UnixTime, X509Bundle, X509Svid, X509SvidError, extension_value,
    split_der_chain, verify_x509_svid,
};

use crate::authority::{Authority, END, NOW, START, ca, domain, facts, facts_oid, leaf, uri};

/// What verification says about a leaf made from `params` by a good authority.
fn verdict(params: &CertificateParams) -> Result<X509Svid, X509SvidError> {
    let root = Authority::root();
    verify_x509_svid(&[root.sign(params)], &[&root.bundle()], NOW)
}

fn with(change: impl FnOnce(&mut CertificateParams)) -> Result<X509Svid, X509SvidError> {
    let mut params = leaf();
    change(&mut params);
    verdict(&params)
}

#[test]
fn a_good_leaf_yields_its_id_key_and_facts() {
    let svid = with(|leaf| leaf.custom_extensions = vec![facts(b"measured")]).unwrap();
    assert_eq!(
        svid.id().to_string(),
        "spiffe://prod.example/records/reader"
    );
    assert_eq!(svid.extension(&facts_oid()), Some(b"measured".as_slice()));
    assert_eq!(svid.extension("1.2.3.4"), None);
    assert_eq!(svid.extension("nonsense"), None);
    assert_eq!((svid.not_before(), svid.not_after()), (START, END));
    assert!(jose::Jwk::from_spki_der(svid.spki_der()).is_ok());
}

#[test]
fn facts_can_be_read_before_anything_is_verified() {
    let mut params = leaf();
    params.custom_extensions = vec![facts(b"measured")];
    let der = Authority::root().sign(&params);
    assert_eq!(
        extension_value(&der, &facts_oid()).unwrap(),
        Some(b"measured".to_vec())
    );
    assert_eq!(
        extension_value(b"no certificate", "1.2.3"),
        Err(CertificateError::Malformed)
    );
}

#[test]
fn a_leaf_has_exactly_one_uri_but_any_other_names() {
    let more = with(|leaf| {
        leaf.subject_alt_names
            .push(uri("spiffe://prod.example/second"))
    });
    assert!(matches!(more, Err(X509SvidError::UriCount { found: 2 })));
    let more = with(|leaf| leaf.subject_alt_names.push(uri("https://prod.example/")));
    assert!(matches!(more, Err(X509SvidError::UriCount { found: 2 })));
    let none = with(|leaf| {
        leaf.subject_alt_names = vec![SanType::DnsName("prod.example".try_into().unwrap())]
    });
    assert!(matches!(none, Err(X509SvidError::UriCount { found: 0 })));
    assert!(
        with(|leaf| leaf
            .subject_alt_names
            .push(SanType::DnsName("db.prod".try_into().unwrap())))
        .is_ok()
    );
}

#[test]
fn the_uri_is_a_spiffe_id_with_a_path() {
    for bad in [
        "https://prod.example/a",
        "spiffe://prod.example/a/",
        "spiffe://Prod.example/a",
        "spiffe://prod.example/%61",
    ] {
        let refused = with(|leaf| leaf.subject_alt_names = vec![uri(bad)]);
        assert!(matches!(refused, Err(X509SvidError::Id(_))), "`{bad}`");
    }
    let refused = with(|leaf| leaf.subject_alt_names = vec![uri("spiffe://prod.example")]);
    assert!(matches!(refused, Err(X509SvidError::NoPath)));
}

#[test]
fn a_signing_certificate_authenticates_nobody() {
    let refused = with(|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert!(matches!(refused, Err(X509SvidError::SigningCertificate)));
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        let refused = with(|leaf| leaf.key_usages.push(usage));
        assert!(matches!(refused, Err(X509SvidError::SigningCertificate)));
    }
}

#[test]
fn the_key_is_for_digital_signatures() {
    assert!(matches!(
        with(|leaf| leaf.key_usages.clear()),
        Err(X509SvidError::KeyUsage)
    ));
    let refused = with(|leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement]);
    assert!(matches!(refused, Err(X509SvidError::KeyUsage)));
    assert!(with(|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyAgreement)).is_ok());
}

#[test]
fn extended_usage_is_absent_or_names_both_sides() {
    assert!(with(|leaf| leaf.extended_key_usages.clear()).is_ok());
    for one in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ] {
        let refused = with(|leaf| leaf.extended_key_usages = vec![one]);
        assert!(matches!(refused, Err(X509SvidError::ExtendedKeyUsage)));
    }
}

#[test]
fn an_unknown_critical_extension_is_refused() {
    let mut critical = facts(b"x");
    critical.set_criticality(true);
    assert!(matches!(
        with(|leaf| leaf.custom_extensions = vec![critical]),
        Err(X509SvidError::Path(_))
    ));
}

#[test]
fn validity_is_judged_at_the_time_given() {
    let root = Authority::root();
    let chain = [root.sign(&leaf())];
    let at =
        |seconds| verify_x509_svid(&chain, &[&root.bundle()], UnixTime::from_secs(seconds)).is_ok();
    assert!(at(START.as_secs()) && at(END.as_secs()));
    assert!(!at(START.as_secs() - 1) && !at(END.as_secs() + 1) && !at(0) && !at(u64::MAX));
}

#[test]
fn an_expired_root_vouches_for_nobody() {
    let mut params = ca("root", "spiffe://prod.example");
    params.not_after = date_time_ymd(2026, 1, 10);
    let key = rcgen::KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    let root = Authority {
        issuer: rcgen::Issuer::new(params, key),
        der,
    };
    let chain = [root.sign(&leaf())];
    assert!(verify_x509_svid(&chain, &[&root.bundle()], START).is_ok());
    assert!(matches!(
        verify_x509_svid(&chain, &[&root.bundle()], NOW),
        Err(X509SvidError::Path(_))
    ));
}

#[test]
fn a_stranger_with_the_same_name_is_refused() {
    let (root, stranger) = (Authority::root(), Authority::root());
    let chain = [stranger.sign(&leaf())];
    assert!(matches!(
        verify_x509_svid(&chain, &[&root.bundle()], NOW),
        Err(X509SvidError::Path(_))
    ));
}

#[test]
fn a_trust_domain_vouches_for_its_own_ids_only() {
    let root = Authority::root();
    let mut params = leaf();
    params.subject_alt_names = vec![uri("spiffe://other.example/a")];
    let chain = [root.sign(&params)];
    let refused = verify_x509_svid(&chain, &[&root.bundle()], NOW);
    assert!(matches!(
        refused,
        Err(X509SvidError::UnknownTrustDomain { .. })
    ));
    let other = X509Bundle::new(&"other.example".parse().unwrap())
        .with_authority(&Authority::root().der)
        .unwrap();
    let refused = verify_x509_svid(&chain, &[&root.bundle(), &other], NOW);
    assert!(matches!(refused, Err(X509SvidError::Path(_))));
}

#[test]
fn intermediates_are_followed_and_keep_the_rules() {
    let root = Authority::root();
    let good = root.sub(ca("sub", "spiffe://prod.example"));
    let chain = [good.sign(&leaf()), good.der.clone()];
    assert!(verify_x509_svid(&chain, &[&root.bundle()], NOW).is_ok());
    assert!(verify_x509_svid(&chain[..1], &[&root.bundle()], NOW).is_err());

    let with_path = root.sub(ca("sub", "spiffe://prod.example/sub"));
    let refused = verify_x509_svid(
        &[with_path.sign(&leaf()), with_path.der.clone()],
        &[&root.bundle()],
        NOW,
    );
    assert!(matches!(refused, Err(X509SvidError::Intermediate)));
}

#[test]
fn a_leaf_signs_no_leaf() {
    let root = Authority::root();
    let workload = root.sub(leaf());
    let refused = verify_x509_svid(
        &[workload.sign(&leaf()), workload.der.clone()],
        &[&root.bundle()],
        NOW,
    );
    assert!(matches!(refused, Err(X509SvidError::Path(_))));
    let mut unmarked = ca("sub", "spiffe://prod.example");
    unmarked.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let sub = root.sub(unmarked);
    assert!(
        verify_x509_svid(
            &[sub.sign(&leaf()), sub.der.clone()],
            &[&root.bundle()],
            NOW
        )
        .is_err()
    );
}

#[test]
fn chains_have_a_length() {
    let root = Authority::root();
    let none: [Vec<u8>; 0] = [];
    assert!(matches!(
        verify_x509_svid(&none, &[&root.bundle()], NOW),
        Err(X509SvidError::ChainLength)
    ));
    let long = vec![root.sign(&leaf()); 9];
    assert!(matches!(
        verify_x509_svid(&long, &[&root.bundle()], NOW),
        Err(X509SvidError::ChainLength)
    ));
}

#[test]
fn only_signing_certificates_are_authorities() {
    let der = Authority::root().sign(&leaf());
    assert_eq!(
        X509Bundle::new(&domain()).with_authority(&der),
        Err(CertificateError::NotAuthority)
    );
    let mut unmarked = ca("sub", "spiffe://prod.example");
    unmarked.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let der = Authority::root().sub(unmarked).der;
    assert_eq!(
        X509Bundle::new(&domain()).with_authority(&der),
        Err(CertificateError::NotAuthority)
    );
}

#[test]
fn certificates_one_behind_the_other_come_apart_again() {
    let (first, second) = (Authority::root(), Authority::root());
    let bundle = first
        .bundle()
        .with_authority(&second.der)
        .unwrap()
        .with_authority(&first.der)
        .unwrap();
    let bytes = bundle.to_der_chain();
    assert_eq!(
        split_der_chain(&bytes).unwrap(),
        [first.der.as_slice(), &second.der]
    );
    assert_eq!(
        X509Bundle::from_der_chain(&domain(), &bytes).unwrap(),
        bundle
    );
    assert_eq!(
        split_der_chain(&bytes[..bytes.len() - 1]),
        Err(CertificateError::Malformed)
    );
    assert_eq!(split_der_chain(&[]), Ok(vec![]));
}
