//! go-spiffe, unmodified, as the client: it fetches, verifies and asks for validation. Go is a prerequisite of this
//! repository's tests.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use agent::{AgentError, JwtSvid, X509Svid};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use spiffe_id::Bundle;
use zeroize::Zeroizing;

use super::fake::{FakeAgent, answer, id, jwt_authority, now, served, token};

#[tokio::test]
async fn go_spiffe_gets_verifies_and_validates_what_the_socket_gives() {
    let (jwt_key, jwt_bundle) = jwt_authority();
    let (svid, bundle) = real_svid(&jwt_bundle);
    let token = token(&jwt_key, "vault", 300);
    let agent = FakeAgent::new();
    agent.bundle.send_replace(Arc::new(bundle));
    answer(&agent.x509, [Ok(svid)]);
    answer(
        &agent.jwt,
        [Ok(JwtSvid {
            id: id(),
            token: token.clone(),
            expires: now(),
        })],
    );
    let served = served(agent);
    let socket = format!("unix://{}", served.path.display());
    let verdict =
        ask(json!({"socket": socket, "audience": "vault", "spiffe_id": id().to_string()}))
            .await
            .unwrap();
    assert_eq!(verdict["x509"][0]["spiffe_id"], id().to_string());
    assert_eq!(verdict["x509"][0]["has_key"], true);
    assert_eq!(verdict["jwt"][0]["token"], token);
    assert_eq!(verdict["jwt"][0]["validated"], true);
}

#[tokio::test]
async fn go_spiffe_is_told_a_denial_as_one() {
    let agent = FakeAgent::new();
    let denied = AgentError::Denied {
        code: "denied".to_owned(),
        reason: "not in DAL05".to_owned(),
        receipt: None,
    };
    answer(&agent.x509, [Err(denied)]);
    let served = served(agent);
    let question =
        json!({"socket": format!("unix://{}", served.path.display()), "timeout_seconds": 3});
    let said = ask(question).await.unwrap_err();
    assert!(
        said.contains("PermissionDenied") && said.contains("not in DAL05"),
        "{said}"
    );
}

fn real_svid(with: &Bundle) -> (X509Svid, Bundle) {
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let mut root = CertificateParams::default();
    root.subject_alt_names = vec![uri("spiffe://td.lab")];
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_key = KeyPair::generate().unwrap();
    let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![uri(&id().to_string())];
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().unwrap();
    let chain = vec![
        leaf.signed_by(&key, &Issuer::new(root, root_key))
            .unwrap()
            .der()
            .to_vec(),
    ];
    let bundle = with.clone().with_x509_authority(&root_der).unwrap();
    let key_pkcs8 = Zeroizing::new(key.serialize_der());
    (
        X509Svid {
            id: id(),
            chain,
            key_pkcs8,
            not_after: now().plus(Duration::from_secs(3600)),
        },
        bundle,
    )
}

/// The judge, built; its answer or what it says against it.
async fn ask(question: Value) -> Result<Value, String> {
    tokio::task::spawn_blocking(move || ask_blocking(&question))
        .await
        .unwrap()
}

fn ask_blocking(question: &Value) -> Result<Value, String> {
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
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

fn judge() -> &'static Path {
    static JUDGE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    JUDGE.get_or_init(|| {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../interop");
        let judge = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judge-spiffe-rpc");
        let build = Command::new("go")
            .args(["build", "-o"])
            .arg(&judge)
            .arg("./cmd/judge-spiffe")
            .current_dir(module)
            .output()
            .unwrap();
        assert!(
            build.status.success(),
            "the judge must build: {}",
            String::from_utf8_lossy(&build.stderr)
        );
        judge
    })
}
