//! `plugin ocicrypt-keyprovider` as skopeo and CRI-O call it, and `image encrypt` where providers are missing or broken.

use std::{fs, path::Path, process::Command};

use custody::{KeyDocument, KeyUse, RootPin};
use hpke_xwing::{PrivateKey, Suite};
use jose::EcdsaP256Key;
use keyprovider::protocol::{ask_to_unwrap, ask_to_wrap, unwrapped, wrapped};
use oci_crypt::{
    BailiwickOpener, BailiwickPacket, Bound, KeyId, KeyPacket, KeyRecord, LayerSealer, Opening,
    PacketOpener, PrivateOptions, SystemRandomness,
};

use crate::runner::{Ran, run};

const AUTHORITY: &str = "spiffe://hospital.example";

/// An authority with a key document in a folder.
struct Authority {
    folder: tempfile::TempDir,
    root: EcdsaP256Key,
    key: PrivateKey,
}

impl Authority {
    fn new() -> Self {
        let this = Self {
            folder: tempfile::tempdir().unwrap(),
            root: EcdsaP256Key::generate().unwrap(),
            key: PrivateKey::generate(Suite::XWing).unwrap(),
        };
        let dataset = "medical-records".parse().unwrap();
        let public = this.key.public_key();
        let document =
            KeyDocument::new(AUTHORITY, "medrec", &dataset, public, 1000, i64::MAX >> 20)
                .sign(KeyUse::Image, this.root.public_jwk(), &this.root)
                .unwrap();
        fs::write(this.file("medrec.json"), document).unwrap();
        this
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn plugin(&self, more: &[&str], question: &[u8]) -> Ran {
        let pin = RootPin::of(self.root.public_jwk()).unwrap().to_string();
        let words = ["plugin", "ocicrypt-keyprovider", "--root-pin", &pin];
        let question = std::str::from_utf8(question).unwrap();
        run(&[&words[..], more].concat(), question)
    }

    fn opener(&self) -> BailiwickOpener {
        let record = KeyRecord {
            authority: AUTHORITY.to_owned(),
            key_id: KeyId::of(self.key.public_key()),
            suite: Suite::XWing,
            resource: "medrec".to_owned(),
        };
        let key = PrivateKey::from_bytes(Suite::XWing, &self.key.expose_bytes()).unwrap();
        BailiwickOpener::new(record, key)
    }
}

fn options() -> PrivateOptions {
    let sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
    let digest = oci_crypt::Digest::of(b"plain");
    sealer
        .finish()
        .unwrap()
        .into_options(digest, Bound::Unbound)
        .1
}

fn asked(provider: &str, argument: &str, options: &PrivateOptions) -> zeroize::Zeroizing<Vec<u8>> {
    ask_to_wrap(provider, &[argument.to_owned()], options.expose_bytes())
}

#[test]
fn it_wraps_for_the_image_set_of_a_signed_document() {
    let (authority, options) = (Authority::new(), options());
    let document = authority.file("medrec.json");
    let configured = ["--key-document", &document];
    for (recipient, more) in [
        ("medrec", &configured[..]),
        ("bailiwick:medrec", &configured),
        ("Enabled", &configured),
        (&document, &[]),
    ] {
        let ran = authority.plugin(more, &asked("bailiwick", recipient, &options));
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.stderr.contains("not bound"), "{ran:?}");
        let packet = wrapped(ran.stdout.as_bytes()).unwrap();
        let packet = KeyPacket::Bailiwick(BailiwickPacket::parse(&packet).unwrap());
        let Opening::Opened(opened) = authority.opener().open(&packet) else {
            unreachable!("the authority's key does not open it");
        };
        assert_eq!(opened.expose_bytes(), options.expose_bytes());
        // Opening needs a layer to release the key for, and says so.
        let ran = authority.plugin(&[], &ask_to_unwrap("bailiwick", &[], &packet.to_bytes()));
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains("does not say which layer"), "{ran:?}");
    }
}

#[test]
fn documents_of_others_and_recipients_without_one_are_refused() {
    let (authority, other, options) = (Authority::new(), Authority::new(), options());
    let (ours, theirs) = (authority.file("medrec.json"), other.file("medrec.json"));
    for (recipient, more, says) in [
        (
            "billing",
            &["--key-document", &ours][..],
            "no `--key-document`",
        ),
        ("medrec", &["--key-document", &theirs], "is refused"),
        (
            "medrec",
            &["--key-document", &ours, "--key-document", &ours],
            "more than one",
        ),
        ("medrec", &["--name", "kms"], "no arguments for `kms`"),
        ("jwe:key.pub", &[], "no `--key-document`"),
    ] {
        let ran = authority.plugin(more, &asked("bailiwick", recipient, &options));
        assert!(ran.status != 0 && ran.stdout.is_empty(), "{ran:?}");
        assert!(ran.stderr.contains(says), "{says}: {ran:?}");
        let secret = std::str::from_utf8(options.expose_bytes()).unwrap();
        assert!(!ran.stderr.contains(&secret[10..60]), "{ran:?}");
    }
    let question = asked("bailiwick", "medrec", &options);
    let unpinned = run(
        &["plugin", "ocicrypt-keyprovider", "--key-document", &ours],
        std::str::from_utf8(&question).unwrap(),
    );
    assert!(unpinned.stderr.contains("--root-pin"), "{unpinned:?}");
    for malformed in ["", "{}", r#"{"op":"keywrap"}"#] {
        let ran = authority.plugin(&[], malformed.as_bytes());
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:?}");
    }
}

#[test]
fn under_another_name_it_wraps_for_public_keys_and_opens_with_private_ones() {
    let (authority, options) = (Authority::new(), options());
    let (public, private) = (authority.file("pub"), authority.file("key"));
    let key = EcdsaP256Key::generate().unwrap();
    fs::write(&public, key.public_jwk().to_spki_der().unwrap()).unwrap();
    fs::write(&private, key.to_pkcs8().unwrap()).unwrap();
    let recipient = format!("jwe:{public}");
    let ran = authority.plugin(&["--name", "local"], &asked("local", &recipient, &options));
    assert_eq!(ran.status, 0, "{ran:?}");
    let packet = wrapped(ran.stdout.as_bytes()).unwrap();
    let question = ask_to_unwrap("local", &[], &packet);
    let ran = authority.plugin(&["--name", "local", "--key", &private], &question);
    assert_eq!(ran.status, 0, "{ran:?}");
    let opened = unwrapped(ran.stdout.as_bytes()).unwrap();
    assert_eq!(*opened, options.expose_bytes());
    let keyless = authority.plugin(&["--name", "local"], &question);
    assert!(
        keyless.status != 0 && keyless.stderr.contains("--key"),
        "{keyless:?}"
    );
}

#[test]
fn a_locked_key_opens_with_its_password() {
    let authority = Authority::new();
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../crates/formats/jose/tests/vectors/key-files"
    );
    let recipient = format!("jwe:{folder}/p256.certificate.pem");
    let options = options();
    let ran = authority.plugin(&["--name", "local"], &asked("local", &recipient, &options));
    let question = ask_to_unwrap("local", &[], &wrapped(ran.stdout.as_bytes()).unwrap());
    fs::write(authority.file("password"), "correct horse\n").unwrap();
    let key = format!("{folder}/p256.scrypt.pem");
    let with = |password: &str| {
        let key = format!("{key}{password}");
        authority.plugin(&["--name", "local", "--key", &key], &question)
    };
    let ran = with(&format!(":file={}", authority.file("password")));
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(
        *unwrapped(ran.stdout.as_bytes()).unwrap(),
        options.expose_bytes()
    );
    for (password, says) in [
        ("", "is encrypted"),
        (":pass=wrong", "password is wrong"),
        (":file=/none", "no password"),
    ] {
        let ran = with(password);
        assert!(ran.status != 0 && ran.stdout.is_empty(), "{ran:?}");
        assert!(ran.stderr.contains(says), "{says}: {ran:?}");
    }
}

#[test]
fn a_document_whose_key_was_not_announced_is_refused_where_the_ledger_is_named() {
    let (authority, options) = (Authority::new(), options());
    let document = authority.file("medrec.json");
    let ledger = tlog::Signer::from_seed("hospital.example/ledger", &[7; 32]).unwrap();
    let ledger = ledger.verifier_key().to_string();
    let question = asked("bailiwick", "medrec", &options);
    let ran = authority.plugin(
        &["--key-document", &document, "--ledger-key", &ledger],
        &question,
    );
    assert!(ran.status != 0 && ran.stdout.is_empty(), "{ran:?}");
    assert!(ran.stderr.contains("medrec.json` is refused"), "{ran:?}");
    let ran = authority.plugin(
        &["--key-document", &document, "--ledger-key", "none"],
        &question,
    );
    assert!(ran.status != 0 && ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn a_recipient_that_nobody_configured_is_an_error_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ocicrypt.json");
    fs::write(&config, r#"{"key-providers":{"old":{"native":"x"}}}"#).unwrap();
    let encrypt = |recipient: &str, config: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_bailiwick"))
            .args([
                "image",
                "encrypt",
                "oci:a:1",
                "oci:b:1",
                "--recipient",
                recipient,
            ])
            .env("OCICRYPT_KEYPROVIDER_CONFIG", config)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    };
    for (recipient, says) in [
        ("provider:kms:a", "key provider `kms` is not configured"),
        ("provider:old", "`native` provider"),
        ("provider:bailiwick:medrec", "bailiwick:IMAGE-SET"),
    ] {
        let (status, stderr) = encrypt(recipient, &config);
        assert_eq!(status, Some(2), "{stderr}");
        assert!(
            stderr.contains(says) && stderr.contains("hint: "),
            "{stderr}"
        );
    }
    let (status, stderr) = encrypt("provider:kms", &folder.path().join("none"));
    assert_eq!(status, Some(2), "{stderr}");
    let (status, stderr) = encrypt("provider:kms", folder.path());
    assert_eq!(status, Some(2), "{stderr}");
}
