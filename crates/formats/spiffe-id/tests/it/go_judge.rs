//! go-spiffe and Go's own x509 judge what this crate makes, and this crate judges the same. Go is a prerequisite
//! of this repository's tests.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jose::EcdsaP256Key;
use serde_json::{Value, json};
use spiffe_id::{Bundle, JwtClaims, UnixTime, validate_jwt_svid, verify_x509_svid};

use crate::authority::{Authority, NOW, ca, domain, facts, facts_oid, leaf};

/// The judge, built once.
fn judge() -> &'static Path {
    static JUDGE: OnceLock<PathBuf> = OnceLock::new();
    JUDGE.get_or_init(|| {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../interop");
        let judge = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judge-spiffe");
        let build = Command::new("go")
            .args(["build", "-o"])
            .arg(&judge)
            .arg("./cmd/judge-spiffe")
            .current_dir(&module)
            .output()
            .expect("Go must be installed: go-spiffe judges this crate");
        assert!(
            build.status.success(),
            "the judge must build: {}",
            String::from_utf8_lossy(&build.stderr)
        );
        judge
    })
}

fn ask(question: &Value) -> Result<Value, String> {
    let mut child = Command::new(judge())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(question.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.code() {
        Some(0) => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        Some(1) => Err(String::from_utf8(output.stderr).unwrap()),
        other => panic!("the judge ended with {other:?}"),
    }
}

/// Go's validation of tokens reads the clock itself.
#[expect(clippy::disallowed_methods, reason = "the judge knows no other time")]
fn real_now() -> UnixTime {
    UnixTime::from_secs(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
}

#[test]
fn go_accepts_our_bundles_chains_and_tokens() {
    let (root, key, now) = (
        Authority::root(),
        EcdsaP256Key::generate().unwrap(),
        real_now(),
    );
    let sub = root.sub(ca("sub", "spiffe://prod.example"));
    let mut params = leaf();
    params.custom_extensions = vec![facts(b"measured")];
    let chain = [sub.sign(&params), sub.der.clone()];
    let bundle = Bundle::new(&domain())
        .with_x509_authority(&root.der)
        .and_then(|bundle| bundle.with_jwt_authority(key.public_jwk().clone().with_kid("k1")))
        .unwrap()
        .with_sequence(7);
    let id = domain().join("/records/reader").unwrap();
    let claims = JwtClaims::new(id, ["records"], now, now.plus_secs(300)).unwrap();
    let token = claims
        .with_claim("bailiwick", json!({ "leaf": 7 }))
        .unwrap()
        .sign("k1", &key)
        .unwrap();

    let question = json!({
        "trust_domain": "prod.example", "bundle": bundle.to_json().unwrap(), "at": NOW.as_secs(),
        "chain": chain.each_ref().map(|der| STANDARD.encode(der)), "jwt": token, "audience": "records",
        "spiffe_id": "spiffe://prod.example/records/reader", "extension": facts_oid(),
    });
    let answer = ask(&question).unwrap();
    assert_eq!(answer["x509"][0]["extension"], "6d65617375726564");
    assert_eq!(answer["jwt"][0]["claims"]["bailiwick"]["leaf"], 7);
    assert_eq!(
        answer["bundles"],
        json!({ "x509": { "prod.example": 1 }, "jwt": { "prod.example": 1 } })
    );

    assert!(verify_x509_svid(&chain, &[bundle.x509()], NOW).is_ok());
    assert!(validate_jwt_svid(&token, "records", &[&bundle], now).is_ok());

    let stranger = Bundle::new(&domain())
        .with_x509_authority(&Authority::root().der)
        .and_then(|bundle| bundle.with_jwt_authority(key.public_jwk().clone().with_kid("k2")))
        .unwrap();
    for (member, value) in [
        ("bundle", json!(stranger.to_json().unwrap())),
        ("audience", json!("billing")),
        ("spiffe_id", json!("spiffe://prod.example/records/writer")),
        ("at", json!(1)),
        ("jwt", json!(token.replace('.', "x"))),
        ("trust_domain", json!("other.example")),
    ] {
        let mut changed = question.clone();
        changed[member] = value;
        assert!(ask(&changed).is_err(), "{member}");
    }
}
