use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

/// A program that takes the place of gpg, and counts how often it was called.
fn stand_in(script: &str) -> (tempfile::TempDir, GpgOpener) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gpg");
    let counted = format!(
        "#!/bin/sh\necho x >>{}/calls\n{script}\n",
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
