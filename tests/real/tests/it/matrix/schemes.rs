//! Who may open an image, by scheme: as each tool is told it.

use std::path::PathBuf;

use real::keys::{KeyPair, P256, P384, P521, RSA};
use real::tokens::TokenKey;
use serde_json::{Map, Value, json};

use super::crew::Crew;

/// A row of the table.
pub(crate) struct Scheme {
    pub(crate) name: &'static str,
    /// `--recipient`s for us, which peers understand, too, if they know the scheme.
    pub(crate) recipients: Vec<String>,
    /// Options of ours alone.
    pub(crate) options: Vec<String>,
    /// What Go's judge is told to encrypt for; absent where its question has no form for all of it.
    pub(crate) judge: Option<Map<String, Value>>,
    /// Who opens: each must.
    pub(crate) holders: Vec<Holder>,
    /// Which of Go's judges is asked.
    pub(crate) asks: Asks,
    /// Which keys a decoder may be given.
    pub(crate) decoder: DecoderKeys,
}

impl Scheme {
    /// Nobody else writes one of its packets.
    pub(crate) fn is_ours_alone(&self) -> bool {
        self.judge.is_none()
    }
}

/// One who may open it.
#[derive(Clone)]
pub(crate) struct Holder {
    /// Files with keys and certificates; `provider:NAME` for a key provider.
    pub(crate) keys: Vec<String>,
    /// What Go's judge is told.
    pub(crate) judge: Map<String, Value>,
}

/// Go's judges: one of them loads modules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// `judge-ocicrypt`.
    Files,
    /// `judge-pkcs11`.
    Tokens,
}

/// A decoder's keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecoderKeys {
    /// A folder of keys.
    Folder,
    /// None of its own; key providers are configured.
    Providers,
}

/// Every row.
pub(crate) fn all(crew: &Crew) -> Vec<Scheme> {
    let mut rows = jwe(crew);
    rows.extend(jwk(crew));
    rows.extend(pkcs7(crew));
    rows.extend(pgp(crew));
    rows.extend(pkcs11(crew));
    rows.extend(providers(crew));
    rows.push(ours(crew));
    rows
}

fn jwe(crew: &Crew) -> Vec<Scheme> {
    let pair = |name: &str, algorithm| crew.key(name, algorithm);
    let (rsa, other) = (pair("rsa", RSA), pair("rsa-2", RSA));
    let (p256, p384, p521) = (pair("p256", P256), pair("p384", P384), pair("p521", P521));
    vec![
        of_keys("jwe RSA", &[&rsa]),
        of_keys("jwe RSA, two", &[&rsa, &other]),
        of_keys("jwe EC P-256", &[&p256]),
        of_keys("jwe EC P-384", &[&p384]),
        of_keys("jwe EC P-521", &[&p521]),
        of_keys("jwe RSA and EC, four", &[&rsa, &p256, &p384, &p521]),
    ]
}

fn jwk(crew: &Crew) -> Vec<Scheme> {
    let pair = |key, alg| crew.vector(key, alg);
    let rsa = pair("rsa", "RSA-OAEP-256");
    let (p256, p384) = (
        pair("p256", "ECDH-ES+A128KW"),
        pair("p384", "ECDH-ES+A192KW"),
    );
    let p521 = pair("p521", "ECDH-ES+A256KW");
    vec![
        of_keys("jwe JWK RSA-OAEP-256", &[&rsa]),
        of_keys("jwe JWK ECDH-ES+A128KW", &[&p256]),
        of_keys("jwe JWK ECDH-ES+A192KW", &[&p384]),
        of_keys("jwe JWK ECDH-ES+A256KW", &[&p521]),
        of_keys("jwe JWK, all four", &[&rsa, &p256, &p384, &p521]),
    ]
}

fn of_keys(name: &'static str, keys: &[&KeyPair]) -> Scheme {
    let public: Vec<&PathBuf> = keys.iter().map(|key| &key.public).collect();
    let holder = |key: &&KeyPair| Holder {
        keys: vec![key.private().to_owned()],
        judge: object(json!({"keys": [key.private()]})),
    };
    Scheme {
        name,
        recipients: keys.iter().map(|key| key.recipient()).collect(),
        options: Vec::new(),
        judge: Some(object(json!({"recipients": public}))),
        holders: keys.iter().map(holder).collect(),
        asks: Asks::Files,
        decoder: DecoderKeys::Folder,
    }
}

/// skopeo writes the older shape of these packets, Go's newest ocicrypt the newer.
fn pkcs7(crew: &Crew) -> Vec<Scheme> {
    let (one, two) = (
        crew.certified("pathology", "rsa"),
        crew.certified("radiology", "rsa-2"),
    );
    let row = |name, holders: &[&(KeyPair, PathBuf)]| {
        let certificates: Vec<&PathBuf> =
            holders.iter().map(|(_, certificate)| certificate).collect();
        let recipients = certificates
            .iter()
            .map(|file| format!("pkcs7:{}", file.display()));
        let holders = holders.iter().map(|(key, certificate)| Holder {
            keys: vec![key.private().to_owned(), certificate.display().to_string()],
            judge: object(json!({"keys": [key.private()], "certificates": [certificate]})),
        });
        Scheme {
            name,
            recipients: recipients.collect(),
            options: Vec::new(),
            judge: Some(object(json!({"certificates": certificates}))),
            holders: holders.collect(),
            asks: Asks::Files,
            decoder: DecoderKeys::Folder,
        }
    };
    vec![row("pkcs7", &[&one]), row("pkcs7, two", &[&one, &two])]
}

fn pgp(crew: &Crew) -> Vec<Scheme> {
    let (ann, bob) = (crew.openpgp("ann"), crew.openpgp("bob"));
    let public = crew.openpgp_ring();
    let row = |name, people: &[(&str, &PathBuf)]| {
        let mails = people.iter().map(|(name, _)| format!("{name}@example.org"));
        let mails: Vec<String> = mails.collect();
        let holder = |(_, ring): &(&str, &PathBuf)| Holder {
            keys: vec![ring.display().to_string()],
            judge: object(json!({"gpg_ring": ring})),
        };
        Scheme {
            name,
            recipients: mails.iter().map(|mail| format!("pgp:{mail}")).collect(),
            options: vec!["--gpg-homedir".into(), crew.gnupg().display().to_string()],
            judge: Some(object(json!({"gpg_ring": public, "gpg_recipients": mails}))),
            holders: people.iter().map(holder).collect(),
            asks: Asks::Files,
            decoder: DecoderKeys::Folder,
        }
    };
    vec![
        row("pgp RSA", &[("ann", &ann)]),
        row("pgp RSA, two", &[("ann", &ann), ("bob", &bob)]),
    ]
}

/// By the public key, by the token, and both.
fn pkcs11(crew: &Crew) -> Vec<Scheme> {
    let (one, two) = (crew.token_key("pathology"), crew.token_key("radiology"));
    let row = |name, keys: &[&TokenKey], recipients: Vec<String>, judge| {
        let holders = keys.iter().map(|key| Holder {
            keys: vec![key.yaml.display().to_string()],
            judge: object(json!({"keys": [key.yaml]})),
        });
        Scheme {
            name,
            recipients,
            options: Vec::new(),
            judge: Some(object(judge)),
            holders: holders.collect(),
            asks: Asks::Tokens,
            decoder: DecoderKeys::Folder,
        }
    };
    vec![
        row(
            "pkcs11 RSA",
            &[&one],
            vec![one.by_public_key()],
            json!({"public_keys": [one.public]}),
        ),
        row(
            "pkcs11 RSA, asked of the token",
            &[&one],
            vec![one.by_token()],
            json!({"yamls": [one.yaml]}),
        ),
        row(
            "pkcs11 RSA, two",
            &[&one, &two],
            vec![one.by_public_key(), two.by_token()],
            json!({"public_keys": [one.public], "yamls": [two.yaml]}),
        ),
    ]
}

fn providers(crew: &Crew) -> Vec<Scheme> {
    let rsa = crew.key("rsa", RSA);
    let row = |name, provider: &'static str, beside: Option<&KeyPair>| {
        let holder = Holder {
            keys: vec![format!("provider:{provider}")],
            judge: object(json!({"providers": [provider]})),
        };
        let mut row = Scheme {
            name,
            recipients: vec![format!("provider:{provider}:ward")],
            options: Vec::new(),
            judge: Some(object(json!({"providers": [format!("{provider}:ward")]}))),
            holders: vec![holder],
            asks: Asks::Files,
            decoder: DecoderKeys::Providers,
        };
        if let Some(key) = beside {
            let other = of_keys("", &[key]);
            row.recipients.extend(other.recipients);
            row.holders.extend(other.holders);
            row.judge.as_mut().unwrap().extend(other.judge.unwrap());
        }
        row
    };
    vec![
        row("key provider, a program", "program", None),
        row("key provider, a program, beside jwe", "program", Some(&rsa)),
        row("key provider behind gRPC", "service", None),
        row(
            "key provider behind gRPC, beside jwe",
            "service",
            Some(&rsa),
        ),
    ]
}

/// Our own packet is for the agent and its server, which other tests ask; here it must disturb nobody.
fn ours(crew: &Crew) -> Scheme {
    let row = of_keys("our own packet, beside jwe", &[&crew.key("rsa", RSA)]);
    let (document, pin) = crew.key_document();
    let recipients = [row.recipients, vec!["bailiwick:medrec".to_owned()]].concat();
    Scheme {
        recipients,
        options: vec![
            "--key-document".into(),
            document.display().to_string(),
            "--root-pin".into(),
            pin,
        ],
        judge: None,
        ..row
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}
