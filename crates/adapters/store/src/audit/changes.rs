//! Changes and versions compared with the log: who submitted what, who signed, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use estate::ChangeRecord;
use ledger::{ActKind, ChangeState, Disclosure, StoredChange, rows::EstateRow};
use serde_json::Value;

/// What the leaves tell of changes, by number.
#[derive(Debug, Default)]
pub(super) struct Told {
    changes: BTreeMap<u64, Change>,
    /// Leaves that brought a version, with what they tell.
    versions: BTreeMap<u64, Version>,
}

#[derive(Debug, Default)]
struct Change {
    /// The leaf that announced it, and the hash in it.
    announced: Option<(u64, Option<Value>)>,
    signed: usize,
    signers: BTreeSet<String>,
    rejected: bool,
}

#[derive(Debug)]
struct Version {
    leaf: u64,
    estate: Option<Value>,
    change: Option<u64>,
    hash: Option<Value>,
}

impl Told {
    /// Reads one leaf's values; a refused act did nothing.
    pub(super) fn leaf(&mut self, index: u64, values: &[Disclosure]) {
        let value = |name: &str| {
            let found = values.iter().find(|value| value.name == name);
            found.map(|disclosure| &disclosure.value)
        };
        if value("refused").is_some() {
            return;
        }
        let kind = value("kind").and_then(Value::as_str).unwrap_or_default();
        let number = |name| value(name).and_then(Value::as_u64);
        if kind == ActKind::EstateApply.as_str() {
            if let Some(version) = number("policy") {
                let told = Version {
                    leaf: index,
                    estate: value("estate").cloned(),
                    change: number("change"),
                    hash: value("changeHash").cloned(),
                };
                self.versions.insert(version, told);
            }
            return;
        }
        let Some(number) = number("number") else {
            return;
        };
        let change = self.changes.entry(number).or_default();
        if ANNOUNCING.iter().any(|known| known.as_str() == kind) {
            change.announced = Some((index, value("changeHash").cloned()));
        } else if kind == ActKind::ChangeApprove.as_str() && value("again").is_none() {
            change.signed += 1;
            let signer = value("person").and_then(Value::as_str);
            change.signers.extend(signer.map(ToOwned::to_owned));
        } else if kind == ActKind::ChangeReject.as_str() {
            change.rejected = true;
        }
    }

    /// What a stored change says that the log does not.
    pub(super) fn change(&self, stored: &StoredChange) -> Vec<String> {
        let number = stored.row.number.0;
        let say = |what: &str| format!("change {number} {what}");
        let Some(told) = self.changes.get(&number) else {
            return vec![say("was submitted by no leaf")];
        };
        let mut found = Vec::new();
        let announced = told.announced.as_ref();
        let hash = Value::from(stored.row.hash.to_string());
        let same = |(leaf, told): &(u64, Option<Value>)| {
            *leaf == stored.leaf && told.as_ref().is_none_or(|told| *told == hash)
        };
        if !announced.is_some_and(same) {
            found.push(say("is not the one that its leaf announced"));
        }
        let record: Option<ChangeRecord> = serde_json::from_str(&stored.row.record).ok();
        match record.filter(|record| record.hash() == stored.row.hash) {
            None => found.push(say("has a record that is not of its hash")),
            Some(record) => {
                let signers = record.signatures.iter().map(|one| one.person.as_str());
                let signers: BTreeSet<&str> = signers.collect();
                let known = told
                    .signers
                    .iter()
                    .all(|told| signers.contains(told.as_str()));
                if record.signatures.len() != told.signed || !known {
                    found.push(say("has other signatures than the log tells of"));
                }
            }
        }
        let expected = self.expected(number, stored.leaf, told);
        if (stored.state, stored.version.map(|version| version.0)) != expected {
            found.push(say("stands otherwise than the log tells"));
        }
        found
    }

    /// What a stored version says that the log does not.
    pub(super) fn version(&self, row: &EstateRow, leaf: u64) -> Option<String> {
        let version = row.version.0;
        let same = |told: &Option<Value>, kept: String| {
            told.as_ref().is_none_or(|told| told == kept.as_str())
        };
        let told = self.versions.get(&version).is_some_and(|told| {
            told.leaf == leaf
                && told.change.is_none_or(|change| change == row.number.0)
                && same(&told.estate, row.hash.0.to_string())
                && same(&told.hash, row.change.to_string())
        });
        (!told)
            .then(|| format!("version {version} of the estate is not the one that a leaf tells of"))
    }

    /// What the log tells of and the store has not.
    pub(super) fn missing(&self, changes: &BTreeSet<u64>, versions: &BTreeSet<u64>) -> Vec<String> {
        let announced = self.changes.iter();
        let announced = announced.filter(|(_, change)| change.announced.is_some());
        let lost = announced
            .filter(|(number, _)| !changes.contains(number))
            .map(|(number, _)| format!("change {number} is missing"));
        let gone = self.versions.keys();
        let gone = gone
            .filter(|version| !versions.contains(version))
            .map(|version| format!("version {version} of the estate is missing"));
        lost.chain(gone).collect()
    }

    fn expected(&self, number: u64, leaf: u64, told: &Change) -> (ChangeState, Option<u64>) {
        let mut versions = self.versions.iter();
        let own = versions.find(|(_, version)| version.change == Some(number));
        let later = || self.versions.values().any(|version| version.leaf > leaf);
        match own {
            Some((version, _)) => (ChangeState::Applied, Some(*version)),
            None if told.rejected => (ChangeState::Rejected, None),
            None if later() => (ChangeState::Void, None),
            None => (ChangeState::Waiting, None),
        }
    }
}

const ANNOUNCING: [ActKind; 3] = [
    ActKind::ChangeSubmit,
    ActKind::ImagePromote,
    ActKind::ImageRetire,
];
