//! JWT-SVID, clause by clause.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{Algorithm, EcdsaP256Key, Header, Signer as _, sign_compact};
use serde_json::{Value, json};
use spiffe_id::{
    Bundle, ClaimsError, JwtClaims, JwtSvid, JwtSvidError, SpiffeId, UnixTime, validate_jwt_svid,
};

use crate::authority::{NOW, domain};

struct Issuer {
    key: EcdsaP256Key,
    bundle: Bundle,
}

impl Issuer {
    fn new() -> Self {
        let key = EcdsaP256Key::generate().unwrap();
        let bundle = Bundle::new(&domain())
            .with_jwt_authority(key.public_jwk().clone().with_kid("k1"))
            .unwrap();
        Self { key, bundle }
    }

    /// Signs whatever it is given under a header text of its own.
    fn sign_raw(&self, header: &str, claims: &str) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self.key.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn validate(&self, token: &str) -> Result<JwtSvid, JwtSvidError> {
        validate_jwt_svid(token, "records", &[&self.bundle], NOW)
    }

    /// What validation says about good claims after a change.
    fn with(&self, change: impl FnOnce(&mut Value)) -> Result<JwtSvid, JwtSvidError> {
        let mut claims = claims();
        change(&mut claims);
        self.validate(&self.sign_raw(HEADER, &claims.to_string()))
    }
}

const HEADER: &str = r#"{"alg":"ES256","kid":"k1","typ":"JWT"}"#;

fn claims() -> Value {
    json!({ "sub": "spiffe://prod.example/reader", "aud": ["records"], "iat": NOW.as_secs(), "exp": NOW.as_secs() + 60 })
}

fn id() -> SpiffeId {
    "spiffe://prod.example/reader".parse().unwrap()
}

#[test]
fn a_signed_svid_is_validated_with_its_claims() {
    let issuer = Issuer::new();
    let claims = JwtClaims::new(id(), ["records", "billing"], NOW, NOW.plus_secs(60)).unwrap();
    let token = claims
        .with_claim("bailiwick", json!({ "leaf": 7 }))
        .unwrap()
        .sign("k1", &issuer.key)
        .unwrap();
    let svid = issuer.validate(&token).unwrap();
    assert_eq!((svid.id(), svid.expires_at()), (&id(), NOW.plus_secs(60)));
    assert_eq!(svid.audience(), ["records", "billing"]);
    assert_eq!(svid.claims()["bailiwick"]["leaf"], 7);
    let header = jose::decode_unverified_header(&token).unwrap();
    assert_eq!(
        (header.kid(), header.typ(), header.others().len()),
        (Some("k1"), Some("JWT"), 0)
    );
}

#[test]
fn claims_that_break_the_rules_are_not_signed() {
    let new = |audience: &[&str], end| JwtClaims::new(id(), audience.to_vec(), NOW, end);
    assert!(matches!(
        new(&[], NOW.plus_secs(1)),
        Err(ClaimsError::Audience)
    ));
    assert!(matches!(
        new(&[""], NOW.plus_secs(1)),
        Err(ClaimsError::Audience)
    ));
    assert!(matches!(new(&["a"], NOW), Err(ClaimsError::Expiry)));
    for name in ["sub", "aud", "exp", "iat", "nbf"] {
        let again = new(&["a"], NOW.plus_secs(1))
            .unwrap()
            .with_claim(name, json!(1));
        assert!(matches!(again, Err(ClaimsError::Claim { .. })));
    }
}

#[test]
fn headers_are_alg_kid_and_typ() {
    let issuer = Issuer::new();
    let sign = |header: &str| issuer.validate(&issuer.sign_raw(header, &claims().to_string()));
    assert!(sign(HEADER).is_ok());
    assert!(sign(r#"{"alg":"ES256","kid":"k1"}"#).is_ok());
    assert!(sign(r#"{"alg":"ES256","kid":"k1","typ":"JOSE"}"#).is_ok());
    for (header, name) in [
        (r#"{"alg":"ES256","kid":"k1","x5c":[]}"#, "x5c"),
        (r#"{"alg":"ES256","kid":"k1","jwk":{}}"#, "jwk"),
        (r#"{"alg":"ES256","kid":"k1","cty":"JWT"}"#, "cty"),
        (r#"{"alg":"ES256","kid":"k1","mine":1}"#, "mine"),
    ] {
        assert!(
            matches!(sign(header), Err(JwtSvidError::Header { name: found }) if found == name),
            "{header}"
        );
    }
    assert!(matches!(
        sign(r#"{"alg":"ES256"}"#),
        Err(JwtSvidError::NoKeyId)
    ));
    assert!(matches!(
        sign(r#"{"alg":"ES256","kid":"k2"}"#),
        Err(JwtSvidError::UnknownKey { .. })
    ));
    for header in [
        r#"{"alg":"none","kid":"k1"}"#,
        r#"{"alg":"HS256","kid":"k1"}"#,
        r#"{"alg":"EdDSA","kid":"k1"}"#,
        r#"{"alg":"ES256","kid":"k1","typ":"jwt"}"#,
        r#"{"alg":"ES256","kid":"k1","typ":"wit+jwt"}"#,
        r#"{"alg":"ES256","kid":"k1","crit":["exp"]}"#,
        r#"{"alg":"ES256","alg":"ES256","kid":"k1"}"#,
    ] {
        assert!(
            matches!(sign(header), Err(JwtSvidError::Signature(_))),
            "{header}"
        );
    }
    for alg in Algorithm::ALL.iter().filter(|alg| alg.name() != "ES256") {
        let refused = sign(&format!(r#"{{"alg":"{alg}","kid":"k1"}}"#));
        assert!(matches!(refused, Err(JwtSvidError::Algorithm(_))), "{alg}");
    }
}

#[test]
fn the_subject_is_an_id_of_a_known_trust_domain() {
    let issuer = Issuer::new();
    for bad in [json!(null), json!(1), json!(["spiffe://prod.example/a"])] {
        assert!(matches!(
            issuer.with(|claims| claims["sub"] = bad),
            Err(JwtSvidError::Claim { name: "sub" })
        ));
    }
    let refused = issuer.with(|claims| claims["sub"] = json!("reader"));
    assert!(matches!(refused, Err(JwtSvidError::Subject(_))));
    let refused = issuer.with(|claims| claims["sub"] = json!("spiffe://other.example/reader"));
    assert!(matches!(
        refused,
        Err(JwtSvidError::UnknownTrustDomain { .. })
    ));
}

#[test]
fn a_trust_domain_vouches_for_its_own_subjects_only() {
    let (ours, theirs) = (Issuer::new(), Issuer::new());
    let other = Bundle::new(&"other.example".parse().unwrap())
        .with_jwt_authority(theirs.key.public_jwk().clone().with_kid("k1"))
        .unwrap();
    let token = theirs.sign_raw(HEADER, &claims().to_string());
    let refused = validate_jwt_svid(&token, "records", &[&other, &ours.bundle], NOW);
    assert!(matches!(
        refused,
        Err(JwtSvidError::Signature(jose::VerifyError::BadSignature))
    ));
}

#[test]
fn the_audience_is_present_and_ours() {
    let issuer = Issuer::new();
    assert!(
        issuer
            .with(|claims| claims["aud"] = json!("records"))
            .is_ok()
    );
    assert!(
        issuer
            .with(|claims| claims["aud"] = json!(["a", "records"]))
            .is_ok()
    );
    for bad in [
        json!(null),
        json!([]),
        json!(1),
        json!(["records", 1]),
        json!({}),
    ] {
        let refused = issuer.with(|claims| claims["aud"] = bad.clone());
        assert!(
            matches!(refused, Err(JwtSvidError::Claim { name: "aud" })),
            "{bad}"
        );
    }
    let refused = issuer.with(|claims| claims["aud"] = json!(["record", "records "]));
    assert!(matches!(refused, Err(JwtSvidError::Audience { .. })));
}

#[test]
fn the_expiry_is_present_and_ahead() {
    let issuer = Issuer::new();
    let refused = issuer.with(|claims| drop(claims.as_object_mut().unwrap().remove("exp")));
    assert!(matches!(refused, Err(JwtSvidError::Claim { name: "exp" })));
    for bad in [json!("9999999999"), json!(-1), json!(1e300), json!(null)] {
        let refused = issuer.with(|claims| claims["exp"] = bad.clone());
        assert!(
            matches!(refused, Err(JwtSvidError::Claim { name: "exp" })),
            "{bad}"
        );
    }
    for late in [
        json!(NOW.as_secs()),
        json!(NOW.as_secs() as f64 + 0.9),
        json!(0),
    ] {
        assert!(matches!(
            issuer.with(|claims| claims["exp"] = late),
            Err(JwtSvidError::Expired)
        ));
    }
    assert!(
        issuer
            .with(|claims| claims["exp"] = json!(NOW.as_secs() as f64 + 1.5))
            .is_ok()
    );
}

#[test]
fn a_token_from_the_future_is_refused_beyond_a_clocks_error() {
    let issuer = Issuer::new();
    for name in ["nbf", "iat"] {
        let ahead = |seconds| json!(NOW.plus_secs(seconds).as_secs());
        assert!(issuer.with(|claims| claims[name] = ahead(30)).is_ok());
        assert!(matches!(
            issuer.with(|claims| claims[name] = ahead(31)),
            Err(JwtSvidError::NotYetValid)
        ));
        assert!(matches!(
            issuer.with(|claims| claims[name] = json!("x")),
            Err(JwtSvidError::Claim { .. })
        ));
    }
}

#[test]
fn a_changed_token_is_refused() {
    let issuer = Issuer::new();
    let token = issuer.sign_raw(HEADER, &claims().to_string());
    let other = issuer.sign_raw(HEADER, &claims().to_string().replace("reader", "writer"));
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (other_head, _) = other.rsplit_once('.').unwrap();
    assert!(
        issuer
            .validate(&format!("{other_head}.{signature}"))
            .is_err()
    );
    for bad in [
        format!("{head}."),
        head.to_owned(),
        format!("{token}."),
        format!("{token}="),
        format!(" {token}"),
    ] {
        assert!(
            matches!(issuer.validate(&bad), Err(JwtSvidError::Signature(_))),
            "`{bad}`"
        );
    }
    let twice = claims()
        .to_string()
        .replacen('{', r#"{"sub":"spiffe://prod.example/admin","#, 1);
    assert!(matches!(
        issuer.validate(&issuer.sign_raw(HEADER, &twice)),
        Err(JwtSvidError::Json(_))
    ));
}

#[test]
fn a_signed_text_of_another_kind_is_no_svid() {
    let issuer = Issuer::new();
    let header = Header::new(Algorithm::Es256)
        .with_kid("k1")
        .with_typ("statement+jwt");
    let token = sign_compact(&header, claims().to_string().as_bytes(), &issuer.key).unwrap();
    assert!(matches!(
        issuer.validate(&token),
        Err(JwtSvidError::Signature(_))
    ));
    assert!(validate_jwt_svid(&token, "records", &[], UnixTime::from_secs(0)).is_err());
}
