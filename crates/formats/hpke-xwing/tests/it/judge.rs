//! Go's `crypto/hpke` opens what we seal, and we open what it seals.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use hpke_xwing::{PrivateKey, PublicKey, Sealed, Suite, open, seal};

const CASES: [(&[u8], &[u8], &[u8]); 3] = [
    (b"", b"", b""),
    (
        b"bailiwick/image-key/v1\0spiffe://example",
        b"{\"v\":1}",
        b"a key",
    ),
    (&[0xff; 300], &[0; 70], &[0x5a; 70_000]),
];

#[test]
fn go_opens_what_we_seal() {
    let mut requests = Vec::new();
    for suite in Suite::ALL {
        for (info, aad, plaintext) in CASES {
            let key = PrivateKey::generate(suite).unwrap();
            let Sealed { enc, ct } = seal(key.public_key(), info, aad, plaintext).unwrap();
            requests.push(line(
                "open",
                suite,
                &[&key.expose_bytes(), &enc, info, aad, &ct],
            ));
            requests.push(line(
                "open",
                suite,
                &[&key.expose_bytes(), &enc, info, b"other", &ct],
            ));
        }
    }
    let answers = ask(&requests);
    for (pair, (_, _, plaintext)) in answers.chunks(2).zip(CASES.iter().cycle()) {
        assert_eq!(pair[0], [plaintext.to_vec()], "Go opened something else");
        assert!(pair[1].is_empty(), "Go opened under another aad");
    }
    assert_eq!(answers.len(), 2 * 2 * CASES.len());
}

#[test]
fn we_open_what_go_seals() {
    let generated = ask(&Suite::ALL.map(|suite| line("generate", suite, &[])));
    let keys: Vec<_> = Suite::ALL
        .into_iter()
        .zip(&generated)
        .map(|(suite, pair)| {
            let key = PrivateKey::from_bytes(suite, &pair[0]).unwrap();
            assert_eq!(
                key.public_key(),
                &PublicKey::from_bytes(suite, &pair[1]).unwrap()
            );
            key
        })
        .collect();
    let mut requests = Vec::new();
    for key in &keys {
        for (info, aad, plaintext) in CASES {
            let public = key.public_key();
            requests.push(line(
                "seal",
                public.suite(),
                &[public.to_bytes(), info, aad, plaintext],
            ));
        }
    }
    let answers = ask(&requests);
    assert_eq!(answers.len(), 2 * CASES.len());
    for (n, sealed) in answers.iter().enumerate() {
        let (info, aad, plaintext) = CASES[n % CASES.len()];
        let opened = open(&keys[n / CASES.len()], &sealed[0], info, aad, &sealed[1]).unwrap();
        assert_eq!(opened.as_slice(), plaintext);
    }
}

fn line(verb: &str, suite: Suite, values: &[&[u8]]) -> String {
    let mut line = format!("{verb} {suite}");
    for value in values {
        line.push(' ');
        line.push_str(&if value.is_empty() {
            "-".into()
        } else {
            hex::encode(value)
        });
    }
    line
}

/// The values of each answer; none for a refusal.
fn ask(requests: &[String]) -> Vec<Vec<Vec<u8>>> {
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judge");
    let mut go = Command::new("go")
        .args(["run", "."])
        .current_dir(judge)
        .env("GOFLAGS", "-mod=mod")
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("the judge needs Go 1.26: {error}"));
    let mut input = go.stdin.take().unwrap();
    let text = requests.join("\n");
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = go.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the judge failed");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|answer| {
            let values = answer.split(' ').skip(1);
            values
                .map(|value| hex::decode(value.trim_start_matches('-')).unwrap())
                .collect()
        })
        .collect()
}
