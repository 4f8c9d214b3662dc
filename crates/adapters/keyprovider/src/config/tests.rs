//! What others write, and what must not be understood by half.

use super::*;

/// All kinds that are in use, in one file.
const ALL: &str = r#"{"key-providers":{
  "p1":{"cmd":{"path":"/usr/lib/kp","args":["-x"]}},
  "p2":{"grpc":"kms.example:443","grpc-tls":{"root-ca-file":"/ca.pem","cert-file":"/c.pem","key-file":"/k.pem","server-name":"kms","insecure-skip-verify":false}},
  "p3":{"ttrpc":"unix:///run/x.sock"},
  "p4":{"native":"attestation_agent"},
  "p5":{"grpc":"unix:///run/y.sock","cmd":null},
  "p6":{"grpc":"127.0.0.1:1","ttrpc":"unix:///z"}
},"beside":1}"#;

fn one(entry: &str) -> Result<Means, ConfigError> {
    let text = format!(r#"{{"key-providers":{{"p":{entry}}}}}"#);
    parse(text.as_bytes()).unwrap().remove("p").unwrap()
}

#[test]
fn every_kind_that_is_in_use_is_read() {
    let mut entries = parse(ALL.as_bytes()).unwrap();
    let mut take = |name| entries.remove(name).unwrap();
    assert_eq!(
        take("p1"),
        Ok(Means::Command {
            path: "/usr/lib/kp".into(),
            args: vec!["-x".to_owned()]
        })
    );
    let Ok(Means::Grpc {
        address,
        tls: Some(tls),
    }) = take("p2")
    else {
        panic!("not gRPC with TLS");
    };
    assert_eq!(address.to_string(), "kms.example:443");
    assert_eq!(
        tls,
        Tls {
            roots: Some("/ca.pem".into()),
            identity: Some(("/c.pem".into(), "/k.pem".into())),
            server_name: Some("kms".to_owned()),
        }
    );
    assert!(matches!(take("p3"), Ok(Means::Ttrpc { .. })));
    assert_eq!(take("p4"), Err(ConfigError::Native));
    assert!(matches!(take("p5"), Ok(Means::Grpc { tls: None, .. })));
    assert!(matches!(take("p6"), Ok(Means::Grpc { .. })));
    assert!(entries.is_empty());
}

#[test]
fn a_misspelt_protection_is_no_plain_connection() {
    for entry in [
        r#"{"grpc":"kms:1","grpc_tls":{}}"#,
        r#"{"grpc":"kms:1","grpc-tls":{"root-ca":"/ca.pem"}}"#,
        r#"{"grpc":"kms:1","tls":{}}"#,
        r#"{"gprc":"kms:1"}"#,
        r#"{"grpc-tls":{}}"#,
        r#"{"grpc":""}"#,
        r#"{"grpc":7}"#,
        "{}",
        "null",
        r#"{"cmd":{"args":["x"]}}"#,
    ] {
        assert_eq!(one(entry), Err(ConfigError::Entry), "{entry}");
    }
    let skips = r#"{"grpc":"kms:1","grpc-tls":{"insecure-skip-verify":true}}"#;
    assert_eq!(one(skips), Err(ConfigError::SkipVerify));
    for half in [
        r#"{"cert-file":"/c"}"#,
        r#"{"key-file":"/k","cert-file":""}"#,
    ] {
        let entry = format!(r#"{{"grpc":"kms:1","grpc-tls":{half}}}"#);
        assert_eq!(one(&entry), Err(ConfigError::HalfCertificate));
    }
    let empty = one(r#"{"grpc":"kms:1","grpc-tls":{}}"#).unwrap();
    assert!(matches!(empty, Means::Grpc { tls: Some(tls), .. } if tls == Tls::default()));
}

#[test]
fn programs_and_sockets_are_named_from_the_root() {
    for path in ["./kp", "bin/kp", "", "../kp", "/usr/kp\\u0000"] {
        let entry = format!(r#"{{"cmd":{{"path":"{path}"}}}}"#);
        assert!(
            matches!(one(&entry), Err(ConfigError::Program(_))),
            "{path}"
        );
    }
    assert!(one(r#"{"cmd":{"path":"kp","args":null}}"#).is_ok());
    for entry in [
        r#"{"ttrpc":"kms:1"}"#,
        r#"{"ttrpc":"unix://x"}"#,
        r#"{"grpc":"https://kms:1"}"#,
    ] {
        assert!(
            matches!(one(entry), Err(ConfigError::Address(_))),
            "{entry}"
        );
    }
}

#[test]
fn a_broken_file_is_refused_and_a_bad_name_only_for_its_provider() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{"keyproviders":{}}"#,
        r#"{"key-providers":[]}"#,
        r#"{"key-providers":{},"key-providers":{}}"#,
        r#"{"key-providers":{"p":{"grpc":"a:1","grpc":"b:1"}}}"#,
    ] {
        assert_eq!(parse(text.as_bytes()), Err(ConfigError::File), "{text}");
    }
    let text = r#"{"key-providers":{"a,b":{"grpc":"a:1"},"c":{"grpc":"a:1"}}}"#;
    let entries = parse(text.as_bytes()).unwrap();
    assert_eq!(entries["a,b"], Err(ConfigError::Name));
    assert!(entries["c"].is_ok());
}

#[test]
fn a_file_that_is_not_there_configures_nobody() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(read(&folder.path().join("none")), Ok(Entries::new()));
    assert!(matches!(read(folder.path()), Err(ConfigError::Read { .. })));
}

proptest::proptest! {
    #[test]
    fn hostile_files_are_errors_or_entries(body: Vec<u8>, text: String) {
        let _ = parse(&body);
        let _ = parse(text.as_bytes());
        let _ = parse(format!(r#"{{"key-providers":{{"p":{text}}}}}"#).as_bytes());
    }
}
