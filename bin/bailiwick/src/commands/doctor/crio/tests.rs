//! CRI-O's files as people leave them.

use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::commands::doctor::State;

const VECTORS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../crates/formats/jose/tests/vectors/key-files/"
);

struct Node(TempDir);

impl Node {
    /// A node with a good key, and what CRI-O is told in its configuration.
    fn new(config: &str) -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        for folder in ["conf.d", "keys", "units", "proc"] {
            fs::create_dir(node.path(folder)).unwrap();
        }
        fs::write(
            node.path("crio.conf"),
            config.replace("$", node.0.path().to_str().unwrap()),
        )
        .unwrap();
        node.key(
            "good.pem",
            rcgen::KeyPair::generate()
                .unwrap()
                .serialize_pem()
                .as_bytes(),
        );
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn key(&self, name: &str, content: &[u8]) {
        let path = self.path("keys").join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn checks(&self) -> Vec<Check> {
        let crio = Crio {
            config: &self.path("crio.conf"),
            drop_ins: &self.path("conf.d"),
            units: &[self.path("units"), self.path("default")],
            processes: &self.path("proc"),
        };
        crio.checks()
    }

    fn wrong(&self) -> Vec<(String, String)> {
        let checks = self.checks().into_iter();
        let wrong = checks.filter(Check::is_wrong);
        let name = |what: String| what.replace(self.0.path().to_str().unwrap(), "$");
        wrong.map(|check| (name(check.what), check.found)).collect()
    }
}

const CONFIG: &str = "[crio.runtime]\ndecryption_keys_path = \"$/keys\"\n";

#[test]
fn a_node_that_is_right_has_nothing_wrong() {
    assert_eq!(Node::new(CONFIG).wrong(), []);
    // Without files what is built in counts.
    let node = Node::new("");
    fs::remove_file(node.path("crio.conf")).unwrap();
    assert!(node.checks()[0].found.contains("neither"));
}

#[test]
fn whatever_fails_all_pulls_is_named() {
    let node = Node::new(CONFIG);
    node.key("README", b"keys for images");
    node.key(
        "certificate.pem",
        &fs::read(format!("{VECTORS}rsa.certificate.pem")).unwrap(),
    );
    node.key("empty", b"");
    node.key(
        "locked.pem",
        &fs::read(format!("{VECTORS}p256.scrypt.pem")).unwrap(),
    );
    node.key("ring.gpg", &[0x95, 1, 2]);
    fs::create_dir(node.path("keys/..2026")).unwrap();
    symlink("..2026", node.path("keys/..data")).unwrap();
    symlink("good.pem", node.path("keys/link.pem")).unwrap();
    let wrong = node.wrong();
    let names: Vec<&str> = wrong.iter().map(|(what, _)| what.as_str()).collect();
    let expected = [
        "..data",
        "README",
        "certificate.pem",
        "empty",
        "link.pem",
        "locked.pem",
    ];
    assert_eq!(names, expected.map(|name| format!("key $/keys/{name}")));
    assert!(
        wrong
            .iter()
            .all(|(_, found)| found.contains("every pull fails")),
        "{wrong:?}"
    );
    assert!(
        wrong[0].1.contains("a link") && wrong[5].1.contains("encrypted"),
        "{wrong:?}"
    );
}

#[test]
fn keys_that_only_we_read_are_named() {
    let node = Node::new(CONFIG);
    let key = jose::EcdsaP256Key::generate().unwrap().to_pkcs8().unwrap();
    let jwk = serde_json::json!({"keys": [jwk(&key)]}).to_string();
    node.key("set.json", jwk.as_bytes());
    let wrong = node.wrong();
    assert!(
        wrong.len() == 1 && wrong[0].1.contains("sets of JWK"),
        "{wrong:?}"
    );
}

/// A private JWK; its numbers come from the PKCS#8 form, where they lie at fixed places.
fn jwk(pkcs8: &[u8]) -> serde_json::Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
    let public = &pkcs8[pkcs8.len() - 64..];
    serde_json::json!({
        "kty": "EC", "crv": "P-256", "d": B64.encode(&pkcs8[36..68]),
        "x": B64.encode(&public[..32]), "y": B64.encode(&public[32..]),
    })
}

#[test]
fn keys_for_everybody_are_named() {
    let node = Node::new(CONFIG);
    let key = node.path("keys/good.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(node.path("keys"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(node.wrong()[0].1.contains("everybody"));
    fs::set_permissions(node.path("keys"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(node.wrong(), []);
}

#[test]
fn the_last_drop_in_counts() {
    let node = Node::new("[crio.runtime]\ndecryption_keys_path = \"$/none\"\n");
    let drop_in = |name: &str, text: &str| {
        let text = text.replace("$", node.0.path().to_str().unwrap());
        fs::write(node.path("conf.d").join(name), text).unwrap();
    };
    drop_in("20-keys.conf", CONFIG);
    drop_in("10-keys.conf", "[crio.runtime]\ndecryption_keys_path = 7\n");
    let found = |what: &str| {
        let checks = node.checks();
        checks
            .into_iter()
            .find(|check| check.what.starts_with(what))
            .unwrap()
    };
    assert_eq!(found("CRI-O's folder of keys").found, "1 keys");
    drop_in("30-keys.conf", "[crio.runtime]\ndecryption_keys_path = 7\n");
    assert!(found("CRI-O's folder of keys").is_wrong());
    drop_in("40-broken.conf", "[crio");
    assert!(found("CRI-O's configuration").is_wrong());
}

#[test]
fn handlers_are_told_from_the_gate() {
    let gate = tempfile::tempdir().unwrap();
    let path = gate.path().join("bailiwick-runc");
    symlink(std::env::current_exe().unwrap(), &path).unwrap();
    let node = Node::new(&format!(
        "{CONFIG}[crio.runtime.runtimes.runc]\nruntime_path = {path:?}\n[crio.runtime.runtimes.crun]\nruntime_path = \"/usr/bin/crun\"\n"
    ));
    let checks = node.checks();
    let handlers = checks
        .iter()
        .filter(|check| check.what.starts_with("runtime handler"));
    let states: Vec<(&str, State)> = handlers
        .map(|check| (check.what.as_str(), check.state))
        .collect();
    let expected = [
        ("runtime handler crun", State::Note),
        ("runtime handler runc", State::Ok),
    ];
    assert_eq!(states, expected);
}

#[test]
fn the_environment_is_found_in_units_and_processes() {
    let node = Node::new(CONFIG);
    let providers = node.path("providers.json");
    let found = || {
        let checks = node.checks();
        let check = checks
            .into_iter()
            .find(|check| check.what == "CRI-O's key providers");
        check.unwrap()
    };
    assert_eq!(found().state, State::Note);
    fs::write(
        node.path("default"),
        format!("#{VARIABLE}=/a\n{VARIABLE}=\"{}\"\n", providers.display()),
    )
    .unwrap();
    assert_eq!(found().state, State::Ok);
    assert!(node.wrong()[0].1.contains("does not exist"));
    fs::write(
        &providers,
        r#"{"key-providers":{"kms":{"cmd":{"path":"/bin/sh"}}}}"#,
    )
    .unwrap();
    assert_eq!(node.wrong(), []);
    fs::write(
        node.path("units/override.conf"),
        format!("[Service]\nEnvironment=A=b \"{VARIABLE}=/unit\" C=d\n"),
    )
    .unwrap();
    assert!(found().found.contains("`/unit`"));
    let process = node.path("proc/77");
    fs::create_dir(&process).unwrap();
    fs::write(process.join("comm"), "crio\n").unwrap();
    fs::write(
        process.join("environ"),
        format!("A=b\0{VARIABLE}=/running\0"),
    )
    .unwrap();
    assert!(found().found.contains("`/running`"));
}
