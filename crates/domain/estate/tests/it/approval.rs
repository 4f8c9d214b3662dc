//! Changes are approved by those whom the estate in force asks, with keys that it knows, and by nobody else.

mod attacks;
mod model;
mod narrowing;
mod signatures;
mod ways;

use std::collections::{BTreeMap, BTreeSet};

use estate::{
    ApprovedChange, ChangeId, ChangeRecord, ChangeSignature, Digest, Estate, Founders, NotApproved,
    PolicyVersion, Requirement, SshKey, Submission, Timestamp, approve, diff,
};
use sshsig::SigningKey;

use crate::example_files;

const VERSION: PolicyVersion = PolicyVersion(3);

/// The key of a person; another name after `/` is another key of the same person.
fn key(name: &str) -> SigningKey {
    SigningKey::generate_ed25519(*Digest::of(name).as_bytes(), name).unwrap()
}

fn public(name: &str) -> SshKey {
    SshKey::from(key(name).public_key().clone())
}

fn person_of(name: &str) -> String {
    let (person, _) = name.split_once('/').unwrap_or((name, ""));
    let host = if person == "olu" {
        "auditor.example"
    } else {
        "hospital.example"
    };
    format!("{person}@{host}")
}

fn founders() -> Founders {
    let people = ["fay", "fred"].map(|name| {
        (
            person_of(name).parse().unwrap(),
            BTreeSet::from([public(name)]),
        )
    });
    Founders::new(BTreeMap::from(people), 2).unwrap()
}

const PEOPLE: [&str; 8] = ["ana", "ben", "sam", "tia", "chen", "eva", "bob", "olu"];

/// The example with keys for everybody, a second data set, and a robot.
fn files() -> Vec<(String, String)> {
    let mut files = example_files();
    let mut people = "version = 1\n[team]\n\
        platform = [\"ana@hospital.example\", \"ben@hospital.example\"]\n\
        security = [\"sam@hospital.example\", \"tia@hospital.example\"]\n\
        medrec-owners = [\"chen@hospital.example\", \"eva@hospital.example\"]\n\
        billing-owners = [\"bob@hospital.example\"]\n\
        audit = [\"olu@auditor.example\"]\n\
        [approve]\ninventory = { platform = 2, security = 1 }\npeople = { security = 2, audit = 1 }\n\
        dataset = { owner = 1 }\n"
        .to_owned();
    for name in PEOPLE {
        let (first, second) = (public(name), public(&format!("{name}/second")));
        people += &format!(
            "[person.\"{}\"]\nkeys = [\"{first}\", \"{second}\"]\n",
            person_of(name)
        );
    }
    people += &format!("[person.ci]\nrobot = true\nkeys = [\"{}\"]\n", public("ci"));
    set(&mut files, "people.toml", people);
    let mut datasets = text(&files, "datasets.toml").to_owned();
    datasets += "[dataset.billing]\nowner = \"billing-owners\"\ntenant = \"hospital\"\n";
    set(&mut files, "datasets.toml", datasets);
    files
}

fn text<'f>(files: &'f [(String, String)], path: &str) -> &'f str {
    files
        .iter()
        .find(|(name, _)| name == path)
        .map_or("", |(_, text)| text)
}

fn set(files: &mut Vec<(String, String)>, path: &str, text: String) {
    files.retain(|(name, _)| name != path);
    files.push((path.to_owned(), text));
}

/// The estate with edits: each a file, what to replace (nothing: append) and by what.
#[track_caller]
fn edited(edits: &[(&str, &str, &str)]) -> Estate {
    let mut files = files();
    for (path, from, to) in edits {
        let old = text(&files, path).to_owned();
        assert!(old.contains(from), "`{from}` is not in {path}");
        let new = if from.is_empty() {
            old + to
        } else {
            old.replacen(from, to, 1)
        };
        set(&mut files, path, new);
    }
    Estate::parse(&files).unwrap()
}

fn in_force() -> Estate {
    edited(&[])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + seconds)
}

fn submit(old: &Estate, new: &Estate, submitter: Option<&str>) -> ChangeRecord {
    let submission = Submission {
        ledger: "hospital.example/ledger".into(),
        number: ChangeId(7),
        base_version: VERSION,
        access: Digest::of("[]"),
        submitter: submitter.map(|one| person_of(one).parse().unwrap()),
        submitted: at(0),
        expires: at(60),
    };
    ChangeRecord::new(old, new, diff(old, new), submission)
}

fn signature(record: &ChangeRecord, name: &str) -> ChangeSignature {
    let text = record.hash().to_string();
    let signature = key(name)
        .sign(ChangeRecord::NAMESPACE, text.as_bytes())
        .unwrap();
    ChangeSignature {
        person: person_of(name).parse().unwrap(),
        signature: signature.armored(),
    }
}

fn signed(mut record: ChangeRecord, by: &[&str]) -> ChangeRecord {
    let signatures: Vec<_> = by.iter().map(|name| signature(&record, name)).collect();
    record.signatures.extend(signatures);
    record
}

fn judge(record: &ChangeRecord, old: &Estate, new: &Estate) -> Result<ApprovedChange, NotApproved> {
    approve(
        record,
        &diff(old, new),
        old,
        VERSION,
        new,
        &founders(),
        at(10),
    )
}

fn teams(requirements: &[Requirement]) -> Vec<(&str, usize)> {
    requirements
        .iter()
        .map(|one| (one.team.as_str(), one.wanted))
        .collect()
}
