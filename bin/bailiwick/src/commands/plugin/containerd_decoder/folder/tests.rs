//! Folders as operators, Secrets, and whoever can write into one, fill them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const VECTORS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../crates/formats/jose/tests/vectors/key-files/"
);
const PASSWORD_OF_VECTORS: &str = "correct horse\n";

fn vector(name: &str) -> Vec<u8> {
    fs::read(format!("{VECTORS}{name}")).unwrap()
}

fn pem() -> String {
    rcgen::KeyPair::generate().unwrap().serialize_pem()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// Each file with what became of it, in short, and the number of keys.
fn found(folder: &Path) -> (Vec<(String, String)>, usize) {
    let mut keys = Keys::default();
    let files = add_folder(&mut keys, folder).unwrap();
    let short = |file: KeyFile| {
        let meaning = match file.meaning {
            Meaning::Unused { why } => why,
            other => format!("{other:?}"),
        };
        (file.name.display().to_string(), meaning)
    };
    let opens = keys.named_openers().len() - 1;
    (files.into_iter().map(short).collect(), opens)
}

fn is(found: &[(String, String)], expected: &[(&str, &str)]) {
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let wanted: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, wanted, "{found:?}");
    for ((name, meaning), (_, says)) in found.iter().zip(expected) {
        assert!(meaning.contains(says), "{name}: {meaning}, not {says}");
    }
}

#[test]
fn every_kind_of_key_is_told_by_its_content_and_the_files_beside_it() {
    let folder = folder(&[
        ("a.pem", pem().as_bytes()),
        ("b.der", &vector("p256.pbkdf2.der")),
        ("b.der.password", PASSWORD_OF_VECTORS.as_bytes()),
        ("certificate.pem", &vector("rsa.certificate.pem")),
        ("deep/er/rsa.pem", &vector("rsa.aes-256-cbc.pem")),
        ("deep/er/rsa.pem.password", b"correct horse"),
        ("kek", &[7; 32]),
        ("kek.kid", b"kbs:///default/key/1\n"),
        ("public.pem", &vector("rsa.pkcs1-public.pem")),
    ]);
    let (files, keys) = found(folder.path());
    is(
        &files,
        &[
            ("a.pem", "PrivateKeys"),
            ("b.der", "PrivateKeys"),
            ("b.der.password", "BesideAKey"),
            ("certificate.pem", "Certificate"),
            ("deep/er/rsa.pem", "PrivateKeys"),
            ("deep/er/rsa.pem.password", "BesideAKey"),
            ("kek", "BrokerKey"),
            ("kek.kid", "BesideAKey"),
            ("public.pem", "PublicKeys"),
        ],
    );
    assert_eq!(keys, 4);
}

#[test]
fn what_is_not_understood_is_told_with_the_reason() {
    let folder = folder(&[
        ("README", b"no key"),
        ("empty", b""),
        ("garbage", &[0xaf]),
        ("huge", &vec![b'-'; 70 * 1024]),
        ("kek", &[7; 31]),
        ("kek.kid", b"kbs:///default/key/1"),
        ("kek2", &[7; 32]),
        ("kek2.kid", b"../etc"),
        ("lonely.password", b"x"),
        ("locked", &vector("p256.pbkdf2.der")),
        ("mixed", &[7; 32]),
        ("mixed.kid", b"kbs:///default/key/1"),
        ("mixed.password", b"x"),
        ("no", &vector("p256.pbkdf2.der")),
        ("no.password", b"\n"),
        ("wrong", &vector("p256.pbkdf2.der")),
        ("wrong.password", b"incorrect horse"),
    ]);
    let (files, keys) = found(folder.path());
    is(
        &files,
        &[
            ("README", "neither PEM nor DER nor JWK"),
            ("empty", "it is empty"),
            ("garbage", "key"),
            ("huge", "more than 65536 bytes"),
            ("kek", "31 bytes, not 32"),
            ("kek.kid", "BesideAKey"),
            ("kek2", "key's name is not"),
            ("kek2.kid", "BesideAKey"),
            ("locked", "no password is given"),
            ("lonely.password", "there is no `lonely`"),
            ("mixed", "a password and the name"),
            ("mixed.kid", "BesideAKey"),
            ("mixed.password", "BesideAKey"),
            ("no", "`no.password` is empty"),
            ("no.password", "BesideAKey"),
            ("wrong", "password is wrong"),
            ("wrong.password", "BesideAKey"),
        ],
    );
    assert_eq!(keys, 0);
}

#[cfg(feature = "pgp")]
#[test]
fn rings_of_openpgp_are_opened_with_their_password() {
    let vectors = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../crates/formats/oci-crypt/tests/vectors/pgp/"
    );
    let vector = |name: &str| fs::read(format!("{vectors}{name}")).unwrap();
    let folder = folder(&[
        ("a.key", &vector("rsa3072.armoured.key")),
        ("b.pub", &vector("p256.pub")),
        ("c.gpg", &vector("rsa2048.key")),
        ("d.gpg", &vector("rsa2048.key")),
        ("d.gpg.password", b"incorrect horse"),
        ("e.gpg", &vector("rsa2048.key")),
        ("e.gpg.password", PASSWORD_OF_VECTORS.as_bytes()),
    ]);
    let (files, keys) = found(folder.path());
    is(
        &files,
        &[
            ("a.key", "PrivateKeys"),
            ("b.pub", "PublicKeys"),
            ("c.gpg", NO_PASSWORD),
            ("d.gpg", "password"),
            ("d.gpg.password", "BesideAKey"),
            ("e.gpg", "PrivateKeys"),
            ("e.gpg.password", "BesideAKey"),
        ],
    );
    assert_eq!(keys, 2);
}

#[cfg(feature = "pkcs11")]
#[test]
fn a_token_of_which_no_module_is_found_is_told() {
    let yaml = b"pkcs11:\n  uri: pkcs11:token=none;object=none?module-name=none&pin-value=1\n";
    let folder = folder(&[("token.yaml", yaml)]);
    let (files, keys) = found(folder.path());
    assert_eq!((files.len(), keys), (1, 0), "{files:?}");
    assert!(!files[0].1.contains("Keys"), "{files:?}");
}

#[test]
fn a_mounted_secret_has_each_key_once_though_all_are_links() {
    let folder = folder(&[
        ("..2026_11_28_01.1/developer.pem", pem().as_bytes()),
        (
            "..2026_11_28_01.1/team/locked.der",
            &vector("p256.pbkdf2.der"),
        ),
        (
            "..2026_11_28_01.1/team/locked.der.password",
            PASSWORD_OF_VECTORS.as_bytes(),
        ),
    ]);
    let link = |to: &str, name: &str| symlink(to, folder.path().join(name)).unwrap();
    link("..2026_11_28_01.1", "..data");
    link("..data/developer.pem", "developer.pem");
    link("..data/team", "team");
    let (files, keys) = found(folder.path());
    is(
        &files,
        &[
            ("developer.pem", "PrivateKeys"),
            ("team/locked.der", "PrivateKeys"),
            ("team/locked.der.password", "BesideAKey"),
        ],
    );
    assert_eq!(keys, 2);
    // The folder itself may be a link.
    let other = tempfile::tempdir().unwrap();
    symlink(folder.path(), other.path().join("keys")).unwrap();
    assert_eq!(found(&other.path().join("keys")).1, 2);
}

#[test]
fn links_that_go_round_or_lead_out_or_nowhere_end_nothing() {
    let outside = folder(&[("stolen.pem", pem().as_bytes())]);
    let folder = folder(&[("good.pem", pem().as_bytes()), ("sub/.keep", b"")]);
    let link = |to: &Path, name: &str| symlink(to, folder.path().join(name)).unwrap();
    link(Path::new("."), "again");
    link(Path::new("b"), "a");
    link(Path::new("a"), "b");
    link(&outside.path().join("stolen.pem"), "absolute.pem");
    link(Path::new("none"), "dangling");
    link(outside.path(), "elsewhere");
    let up = Path::new("../..").join(outside.path().strip_prefix("/").unwrap());
    link(&up.join("stolen.pem"), "sub/up.pem");
    link(Path::new("../good.pem"), "sub/within.pem");
    link(Path::new("/proc/self/environ"), "sub/magic");
    let (files, keys) = found(folder.path());
    is(
        &files,
        &[
            ("a", "back to itself"),
            ("absolute.pem", "out of the folder"),
            ("b", "back to itself"),
            ("dangling", "nowhere"),
            ("elsewhere", "out of the folder"),
            ("good.pem", "PrivateKeys"),
            ("sub/.keep", "it is empty"),
            ("sub/magic", "out of the folder"),
            ("sub/up.pem", "out of the folder"),
            ("sub/within.pem", "PrivateKeys"),
        ],
    );
    assert_eq!(keys, 2);
}

#[test]
fn pipes_are_not_waited_for_and_depth_and_number_have_an_end() {
    let deep = "d/".repeat(12);
    let folder = folder(&[(&format!("{deep}key.pem"), pem().as_bytes())]);
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (files, _) = found(folder.path());
    assert!(files[0].1.contains("8 folders deep"), "{files:?}");
    assert_eq!(files[1], ("pipe".into(), "it is no file".into()));
    assert_eq!(files.len(), 2);
    for number in 0..256 {
        fs::write(folder.path().join(format!("key-{number}")), "x").unwrap();
    }
    let error = add_folder(&mut Keys::default(), folder.path()).unwrap_err();
    assert!(matches!(error, WalkError::TooManyFiles), "{error}");
    for number in 0..1024 {
        fs::create_dir(folder.path().join(format!("folder-{number}"))).unwrap();
    }
    let error = add_folder(&mut Keys::default(), folder.path()).unwrap_err();
    assert!(matches!(error, WalkError::TooManyEntries), "{error}");
}

#[test]
fn a_folder_that_is_not_there_or_none_is_an_error() {
    let folder = folder(&[("key.pem", b"")]);
    for path in [folder.path().join("none"), folder.path().join("key.pem")] {
        let error = add_folder(&mut Keys::default(), &path).unwrap_err();
        assert!(matches!(error, WalkError::Unreadable(_)), "{error}");
    }
}

#[test]
fn permissions_are_told() {
    let folder = folder(&[("key.pem", pem().as_bytes())]);
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(folder.path().join("key.pem"), mode).unwrap();
    let files = add_folder(&mut Keys::default(), folder.path()).unwrap();
    assert_eq!(files[0].mode, 0o640);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_hostile_file_is_told_and_hides_no_key(
        content in proptest::collection::vec(any::<u8>(), 0..200),
        beside in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        suffix in prop::sample::select(vec![PASSWORD, KID]),
    ) {
        let good = pem();
        let mut files = vec![("good.pem", good.as_bytes()), ("hostile", &content)];
        let name = format!("hostile{suffix}");
        if let Some(beside) = &beside {
            files.push((&name, beside));
        }
        let folder = folder(&files);
        let (files, keys) = found(folder.path());
        prop_assert_eq!(keys, 1);
        prop_assert_eq!(&files[0].1, "PrivateKeys");
        prop_assert!(!files[1].1.contains("Keys"), "{:?}", files);
    }
}
