//! `svid` as a workload starts it.

use std::{process::Stdio, time::Duration};

use crate::workload::{Svid, command, container, said, workload};

#[test]
fn a_token_is_printed_and_a_denial_has_its_code() {
    let workload = workload();
    let address = format!("unix://{}", workload.socket.display());
    let jwt = || {
        command(&["svid", "jwt", "--audience", "vault"])
            .env("SPIFFE_ENDPOINT_SOCKET", &address)
            .output()
            .unwrap()
    };
    assert_eq!(jwt().stdout, b"a.b.c\n");
    *workload.agent.denies.lock().unwrap() = Some("no".to_owned());
    assert_eq!(jwt().status.code(), Some(3));
    let x509 = command(&[
        "svid",
        "x509",
        "--socket",
        workload.socket.to_str().unwrap(),
    ])
    .output()
    .unwrap();
    assert_eq!(x509.status.code(), Some(5), "{}", said(&x509));
}

fn root() -> (rcgen::CertificateParams, rcgen::KeyPair, Vec<u8>) {
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://td.lab".try_into().unwrap())];
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let key = rcgen::KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    (params, key, der)
}

fn svid() -> Svid {
    let (params, key, root) = root();
    let mut leaf = rcgen::CertificateParams::default();
    leaf.subject_alt_names = vec![rcgen::SanType::URI("spiffe://td.lab/a".try_into().unwrap())];
    leaf.is_ca = rcgen::IsCa::ExplicitNoCa;
    leaf.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let own = rcgen::KeyPair::generate().unwrap();
    let leaf = leaf
        .signed_by(&own, &rcgen::Issuer::new(params, key))
        .unwrap()
        .der()
        .to_vec();
    Svid {
        leaf,
        key: own.serialize_der(),
        root,
    }
}

#[test]
fn an_x509_svid_is_saved_with_its_key_for_its_owner_alone() {
    let workload = workload();
    let svid = svid();
    *workload.agent.svid.lock().unwrap() = Some(svid.clone());
    let socket = workload.socket.to_str().unwrap();
    let shown = command(&["svid", "x509", "--socket", socket])
        .output()
        .unwrap();
    assert_eq!(
        pem::parse(&shown.stdout).unwrap().contents(),
        svid.leaf,
        "{}",
        said(&shown)
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    // The second time replaces what the first one wrote.
    for _ in 0..2 {
        let saved = command(&["svid", "x509", "--socket", socket, "--write", path])
            .output()
            .unwrap();
        assert!(saved.status.success(), "{}", said(&saved));
    }
    let read = |name: &str| {
        pem::parse(std::fs::read(folder.path().join(name)).unwrap())
            .unwrap()
            .into_contents()
    };
    assert_eq!(
        (read("svid.pem"), read("svid_key.pem"), read("bundle.pem")),
        (svid.leaf, svid.key, svid.root)
    );
    let key = std::fs::metadata(folder.path().join("svid_key.pem")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777,
        0o600
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

/// Whoever got inside finds no key any more.
#[test]
fn a_hand_inside_ends_the_watch_and_removes_its_key() {
    let workload = workload();
    *workload.agent.svid.lock().unwrap() = Some(svid());
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("svid_key.pem");
    let socket = workload.socket.to_str().unwrap();
    let path = folder.path().to_str().unwrap();
    let watch = command(&["svid", "watch", "--socket", socket, "--write", path])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = || folder.path().join("svid.pem").exists();
    for _ in 0..3000 {
        if written() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(key.exists());
    workload.agent.hands.touch(&container());
    let ended = watch.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{}", said(&ended));
    assert!(!key.exists() && !folder.path().join("svid.pem").exists());
}

#[test]
fn an_svid_of_another_root_is_not_shown() {
    let workload = workload();
    let (_, _, stranger) = root();
    *workload.agent.svid.lock().unwrap() = Some(Svid {
        root: stranger,
        ..svid()
    });
    let output = command(&[
        "svid",
        "x509",
        "--socket",
        workload.socket.to_str().unwrap(),
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(output.stdout.is_empty());
}
