//! Every parser meets hostile input: it answers, and what it accepts it writes back as it was.

use std::sync::LazyLock;

use jose::EcdsaP256Key;
use proptest::prelude::*;
use spiffe_id::{
    Bundle, JwtClaims, SpiffeId, TrustDomain, X509Bundle, extension_value, split_der_chain,
    validate_jwt_svid, verify_x509_svid,
};

use crate::authority::{Authority, NOW, domain, facts, facts_oid, leaf};

static CHAIN: LazyLock<(Vec<u8>, X509Bundle)> = LazyLock::new(|| {
    let root = Authority::root();
    let mut params = leaf();
    params.custom_extensions = vec![facts(b"measured")];
    (root.sign(&params), root.bundle())
});

static TOKEN: LazyLock<(String, Bundle)> = LazyLock::new(|| {
    let key = EcdsaP256Key::generate().unwrap();
    let bundle = Bundle::new(&domain())
        .with_jwt_authority(key.public_jwk().clone().with_kid("k"))
        .unwrap();
    let bundle = bundle.with_x509_authority(&Authority::root().der).unwrap();
    let claims = JwtClaims::new(
        domain().join("/a").unwrap(),
        ["aud"],
        NOW,
        NOW.plus_secs(60),
    )
    .unwrap();
    (claims.sign("k", &key).unwrap(), bundle)
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_an_id_as_written_or_refused(text in "(spiffe://)?[a-z.%:@]{0,8}(/[a-zA-Z0-9._%-]{0,4}){0,4}|.{0,60}") {
        if let Ok(id) = text.parse::<SpiffeId>() { prop_assert_eq!(id.to_string(), &*text); }
        if let Ok(domain) = text.parse::<TrustDomain>() { prop_assert_eq!(domain.to_string(), text); }
    }

    #[test]
    fn a_joined_path_never_leaves_its_trust_domain(path in ".{0,30}") {
        if let Ok(id) = domain().join(&path) {
            prop_assert_eq!(id.trust_domain(), &domain());
            prop_assert_eq!(id.path(), path);
        }
    }

    #[test]
    fn a_changed_certificate_is_refused(at: prop::sample::Index, with: u8, kind in 0..3u8) {
        let (leaf, bundle) = &*CHAIN;
        let mut changed = leaf.clone();
        let place = at.index(changed.len());
        match kind {
            0 => changed[place] = with,
            1 => changed.truncate(place),
            _ => changed.insert(place, with),
        }
        prop_assume!(changed != *leaf);
        let _ = extension_value(&changed, &facts_oid());
        let _ = split_der_chain(&changed);
        let _ = X509Bundle::from_der_chain(&domain(), &changed);
        prop_assert!(verify_x509_svid(&[changed], &[bundle], NOW).is_err());
    }

    #[test]
    fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (leaf, bundle) = &*CHAIN;
        let _ = split_der_chain(&bytes);
        prop_assert!(verify_x509_svid(std::slice::from_ref(&bytes), &[bundle], NOW).is_err());
        // What follows the leaf is only needed if the path leads through it.
        prop_assert!(verify_x509_svid(&[leaf.clone(), bytes], &[bundle], NOW).is_ok());
    }

    #[test]
    fn a_changed_token_is_refused(at: prop::sample::Index, with in "[A-Za-z0-9_.=-]", kind in 0..3u8) {
        let (token, bundle) = &*TOKEN;
        let mut changed = token.clone();
        let place = at.index(changed.len());
        match kind {
            0 => changed.replace_range(place..=place, &with),
            1 => changed.truncate(place),
            _ => changed.insert_str(place, &with),
        }
        prop_assume!(changed != *token);
        prop_assert!(validate_jwt_svid(&changed, "aud", &[bundle], NOW).is_err());
    }

    #[test]
    fn any_token_is_borne(token in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}|.{0,60}") {
        prop_assert!(validate_jwt_svid(&token, "aud", &[&TOKEN.1], NOW).is_err());
    }

    #[test]
    fn a_changed_bundle_is_borne(at: prop::sample::Index, with in "\\PC", kind in 0..3u8) {
        let mut json = TOKEN.1.to_json().unwrap();
        let place = at.index(json.len());
        match kind {
            0 => json.replace_range(place..=place, &with),
            1 => json.truncate(place),
            _ => json.insert_str(place, &with),
        }
        if let Ok(read) = Bundle::parse(&domain(), &json) {
            prop_assert_eq!(Bundle::parse(&domain(), &read.to_json().unwrap()).unwrap(), read);
        }
    }
}
