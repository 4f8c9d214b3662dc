//! What looks like a secret in the configuration, which everybody can read. Names are told, values never.

use std::collections::HashMap;

use serde::Serialize;

use crate::config::Public;

/// Something that looks like a secret and is readable for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SuspectReport {
    /// Where it stands.
    pub place: SuspectPlace,
    /// Its name there, or which step or word it is.
    pub name: String,
    /// Why it looks like one.
    pub reason: SuspectReason,
}

/// Where a suspect stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SuspectPlace {
    /// A variable of the environment.
    Environment,
    /// A label.
    Label,
    /// A command that built the image.
    History,
    /// The command that runs in it.
    Command,
}

/// Why something looks like a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SuspectReason {
    /// It is called like one.
    Name,
    /// It is written as keys and tokens of well-known services are.
    Form,
    /// Nobody would write it by hand: it looks random.
    Random,
}

/// All that looks like a secret, each once.
pub(crate) fn suspects(public: &Public) -> Vec<SuspectReport> {
    let mut found = Vec::new();
    if let Some(run) = &public.config {
        for variable in run.env.iter().flatten() {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            judge(&mut found, SuspectPlace::Environment, name, value);
        }
        for (name, value) in run.labels.iter().flatten() {
            judge(&mut found, SuspectPlace::Label, name, value);
        }
        let words = run.entrypoint.iter().chain(&run.cmd).flatten();
        for (number, word) in words.enumerate() {
            command(
                &mut found,
                SuspectPlace::Command,
                &format!("word {number}"),
                word,
            );
        }
    }
    for (number, step) in public.history.iter().flatten().enumerate() {
        let text = step.created_by.as_deref().unwrap_or_default();
        command(
            &mut found,
            SuspectPlace::History,
            &format!("step {number}"),
            text,
        );
    }
    found
}

/// A command line: each `NAME=value` in it, and each word by itself.
fn command(found: &mut Vec<SuspectReport>, place: SuspectPlace, otherwise: &str, text: &str) {
    for word in text.split_whitespace() {
        let word = word.trim_matches(['"', '\'', ',', ';', '[', ']']);
        match word.split_once('=') {
            Some((name, value)) => judge(found, place, name.trim_start_matches('-'), value),
            None => judge(found, place, otherwise, word),
        }
    }
}

fn judge(found: &mut Vec<SuspectReport>, place: SuspectPlace, name: &str, value: &str) {
    let value = value.trim_matches(['"', '\'']);
    let Some(reason) = reason(name, value) else {
        return;
    };
    let report = SuspectReport {
        place,
        name: name.chars().take(NAME_LIMIT).collect(),
        reason,
    };
    if found.len() < SUSPECT_LIMIT && !found.contains(&report) {
        found.push(report);
    }
}

fn reason(name: &str, value: &str) -> Option<SuspectReason> {
    let name = name.to_ascii_lowercase();
    // A path, or a variable that is filled in elsewhere, is no secret itself.
    let refers = ["/", "$", "./"]
        .iter()
        .any(|start| value.starts_with(start));
    if value.is_empty() || (refers && !has_password(value)) {
        return None;
    }
    if FORMS.iter().any(|form| value.starts_with(form)) || has_password(value) {
        return Some(SuspectReason::Form);
    }
    if NAMES.iter().any(|secret| name.contains(secret)) {
        return Some(SuspectReason::Name);
    }
    let harmless = HARMLESS.iter().any(|known| name.contains(known));
    (!harmless && looks_random(value)).then_some(SuspectReason::Random)
}

/// `scheme://user:password@host`.
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else {
        return false;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let login = authority.rsplit_once('@').map(|(login, _)| login);
    let password = login.and_then(|login| login.split_once(':'));
    password.is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
}

/// Letters and digits mixed as only a generator mixes them.
fn looks_random(value: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    if !(TOKEN_LEAST..=TOKEN_MOST).contains(&value.len()) || !value.bytes().all(token) {
        return false;
    }
    let mixed = value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic());
    let hexadecimal = value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let least = if hexadecimal { 3.0 } else { 3.8 };
    mixed && (!hexadecimal || value.len() >= 32) && entropy(value) >= least
}

/// Bits for each character, by how often each occurs.
fn entropy(value: &str) -> f64 {
    let mut counts: HashMap<u8, f64> = HashMap::new();
    for byte in value.bytes() {
        *counts.entry(byte).or_default() += 1.0;
    }
    let total: f64 = counts.values().sum();
    let shares = counts.values().map(|count| count / total);
    shares.map(|share| -share * share.log2()).sum()
}

const NAMES: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
    "credential",
    "client_key",
];
/// Sums of downloads and ids of sources are public, and long.
const HARMLESS: [&str; 8] = [
    "sha256", "sha512", "sha1", "checksum", "digest", "revision", "gpg_key", "commit",
];
const FORMS: [&str; 12] = [
    "-----BEGIN",
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "sk_live_",
    "eyJhbGci",
];
const NAME_LIMIT: usize = 128;
const SUSPECT_LIMIT: usize = 64;
const TOKEN_LEAST: usize = 20;
const TOKEN_MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_form_and_looks() {
        for (name, value, expected) in [
            ("DB_PASSWORD", "hunter2", Some(SuspectReason::Name)),
            ("npm.token", "abc", Some(SuspectReason::Name)),
            ("X", "ghp_0123456789", Some(SuspectReason::Form)),
            ("URL", "postgres://me:pw@db/x", Some(SuspectReason::Form)),
            ("X", "q8Zr1Vt0Lk3Wn5Yb7Hd9", Some(SuspectReason::Random)),
            (
                "X",
                "9f86d081884c7d659a2feaa0c55ad015",
                Some(SuspectReason::Random),
            ),
            ("DB_PASSWORD_FILE", "/run/secrets/db", None),
            ("DB_PASSWORD", "", None),
            ("DB_PASSWORD", "$OTHER", None),
            ("URL", "https://example.com/a", None),
            ("PYTHON_SHA256", "9f86d081884c7d659a2feaa0c55ad015", None),
            ("PATH", "/usr/local/sbin:/usr/local/bin", None),
            ("LANG", "C.UTF-8", None),
            ("X", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa1", None),
        ] {
            assert_eq!(reason(name, value), expected, "{name}");
        }
    }

    #[test]
    fn values_are_never_told() {
        let text = r#"{"config": {"Env": ["API_KEY=hunter2"], "Labels": {"token": "hunter2"},
            "Cmd": ["run", "--password=hunter2"]},
            "history": [{"created_by": "RUN curl -H ghp_hunter2 && TOKEN=hunter2 make"}]}"#;
        let found = suspects(&serde_json::from_str(text).unwrap());
        let places: Vec<_> = found
            .iter()
            .map(|one| (one.place, one.name.as_str()))
            .collect();
        assert_eq!(
            places,
            [
                (SuspectPlace::Environment, "API_KEY"),
                (SuspectPlace::Label, "token"),
                (SuspectPlace::Command, "password"),
                (SuspectPlace::History, "step 0"),
                (SuspectPlace::History, "TOKEN"),
            ]
        );
        assert!(!serde_json::to_string(&found).unwrap().contains("hunter2"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(name in ".{0,20}", value in ".{0,60}") {
            let mut found = Vec::new();
            command(&mut found, SuspectPlace::History, &name, &value);
            proptest::prop_assert!(found.len() <= SUSPECT_LIMIT);
        }
    }
}
