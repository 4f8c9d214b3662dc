//! GnuPG, played by programs that misbehave: what is asked, how often, and what is believed.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

/// A program that takes the place of gpg, and counts how often it was called. It reads what it is told: a test of `exec` in
/// this process leaves writing to a broken pipe deadly.
fn stand_in(script: &str) -> (tempfile::TempDir, GpgOpener) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gpg");
    let counted = format!(
        "#!/bin/sh\necho x >>{}/calls\ncat >/dev/null\n{script}\n",
        folder.path().display()
    );
    fs::write(&file, counted).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let program = Program {
        name: file,
        homedir: None,
    };
    let opener = GpgOpener {
        program,
        answers: Mutex::default(),
    };
    (folder, opener)
}

/// For one key, with content that only a stand-in opens.
fn packet() -> KeyPacket {
    let key = [&[0xc1, 10, 3], &[7; 8][..], &[1]].concat();
    KeyPacket::Pgp([&key[..], &[0xd2, 1, 1]].concat())
}

fn calls(folder: &tempfile::TempDir) -> usize {
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap_or_default();
    calls.lines().count()
}

#[test]
fn a_packet_is_asked_about_once_whatever_comes_of_it() {
    let options = r#"{"symkey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","cipheroptions":{"nonce":"AAECAwQFBgcICQoLDA0ODw=="}}"#;
    let opens =
        format!("cat >/dev/null; echo '[GNUPG:] DECRYPTION_OKAY' >&2; printf %s '{options}'");
    let (folder, opener) = stand_in(&opens);
    for _ in 0..3 {
        assert!(matches!(opener.open(&packet()), Opening::Opened(_)));
    }
    assert_eq!(calls(&folder), 1);
    let (folder, opener) = stand_in("echo 'gpg: no pinentry' >&2; exit 2");
    for _ in 0..3 {
        let Opening::Failed(PacketError::Service { source, .. }) = opener.open(&packet()) else {
            panic!("it failed")
        };
        assert!(source.to_string().contains("no pinentry"), "{source}");
    }
    assert_eq!(calls(&folder), 1);
}

#[test]
fn keys_that_gpg_does_not_have_are_not_ours() {
    let (_folder, opener) = stand_in(
        "echo '[GNUPG:] ENC_TO 0707070707070707 1 0' >&2; echo '[GNUPG:] NO_SECKEY 0707070707070707' >&2; exit 2",
    );
    assert!(matches!(opener.open(&packet()), Opening::NotOurs));
}

#[test]
fn an_exit_code_alone_proves_nothing() {
    let (_folder, opener) = stand_in("printf '{}'");
    assert!(matches!(opener.open(&packet()), Opening::Failed(_)));
}

#[test]
fn nobody_is_asked_for_the_password_of_a_strangers_packet() {
    let (folder, opener) = stand_in("exit 2");
    let KeyPacket::Pgp(for_a_key) = packet() else {
        panic!("it is OpenPGP")
    };
    let for_a_password = [0xc3, 4, 4, 9, 0, 8];
    for packet in [
        [&for_a_password[..], &[0xd2, 1, 1]].concat(),
        [&for_a_password[..], &for_a_key].concat(),
    ] {
        assert_eq!(pgp_recipients(&packet).unwrap()[0], PgpHolder::Password);
        let opened = opener.open(&KeyPacket::Pgp(packet));
        assert!(matches!(opened, Opening::NotOurs));
    }
    assert_eq!(calls(&folder), 0);
}

#[test]
fn signatures_make_gpg_ask_no_server() {
    let (folder, opener) = stand_in(r#"echo "$*" >"$0.words"; exit 2"#);
    let _ = opener.open(&packet());
    let words = fs::read_to_string(folder.path().join("gpg.words")).unwrap();
    assert!(words.contains("--no-auto-key-retrieve"), "{words}");
}

#[test]
fn gpg_that_takes_too_long_is_unavailable() {
    let (_folder, opener) = stand_in("exec sleep 60");
    let patience = Duration::from_millis(50);
    let limits = Limits {
        patience,
        ..DECRYPT
    };
    let error = opener
        .program
        .run(&["--decrypt"], &[], limits)
        .err()
        .unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[cfg(feature = "pgp")]
#[test]
fn a_file_that_is_called_like_somebody_in_the_ring_is_not_taken_for_him() {
    let ring = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../crates/formats/oci-crypt/tests/vectors/pgp/all.pub.gpg");
    let (_folder, opener) = stand_in(&format!("cat '{}'", ring.display()));
    let gpg = Gpg(opener.program);
    let here = tempfile::tempdir().unwrap();
    for name in ["p256@example.org", "rsa1024@example.org", "key.asc"] {
        fs::write(here.path().join(name), "of somebody else").unwrap();
    }
    let refused = |named: &str| {
        let refused = gpg.recipient_in(here.path(), named).err().unwrap();
        format!("{refused:#}")
    };
    // One is a key that may be used, the other one that may not.
    for named in ["p256@example.org", "rsa1024@example.org"] {
        assert!(refused(named).contains("GnuPG has a key of this name"));
    }
    for named in ["./p256@example.org", "key.asc"] {
        assert!(refused(named).contains("not understood"), "{named}");
    }
    assert!(gpg.recipient_in(here.path(), "p384@example.org").is_ok());
}

#[test]
fn too_much_is_an_error_and_other_packets_are_not_shown_to_gpg() {
    let (folder, opener) =
        stand_in("echo '[GNUPG:] DECRYPTION_OKAY' >&2; head -c 300000 /dev/zero");
    assert!(matches!(opener.open(&packet()), Opening::Failed(_)));
    assert_eq!(calls(&folder), 1);
    let unprotected = KeyPacket::Pgp(vec![0xc9, 1, 1]);
    assert!(matches!(opener.open(&unprotected), Opening::Failed(_)));
    assert!(matches!(
        opener.open(&KeyPacket::Jwe(Vec::new())),
        Opening::NotOurs
    ));
    assert_eq!(calls(&folder), 1);
}

#[test]
fn gpg_that_is_missing_is_named() {
    let program = Program {
        name: "/nowhere/gpg".into(),
        homedir: None,
    };
    let error = program.run(&["--decrypt"], &[], DECRYPT).err().unwrap();
    assert!(error.to_string().contains("/nowhere/gpg"), "{error}");
}
