//! The people who sign the first estate, and later whatever has no rule of approval: given once, at `server init`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    str::FromStr,
};

use anyhow::Context;
use estate::{Founders, PersonId, SshKey};

use crate::advice::Advice;

/// A person and the file with their keys, written `PERSON=FILE`.
#[derive(Debug, Clone)]
pub(super) struct FounderFile {
    person: PersonId,
    file: PathBuf,
}

impl FromStr for FounderFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (person, file) = text
            .split_once('=')
            .ok_or("`PERSON=FILE` is wanted, such as `chen@hospital.example=chen.pub`")?;
        Ok(Self {
            person: person.parse().map_err(|error| format!("{error}"))?,
            file: file.into(),
        })
    }
}

/// Reads the founders' keys. Without a number all of one or two must sign, and a majority of more.
///
/// # Errors
/// [`Advice`] when nobody is named, a file holds no keys, or the number does not fit.
pub(super) fn read(given: &[FounderFile], quorum: Option<usize>) -> anyhow::Result<Founders> {
    if given.is_empty() {
        return Err(Advice::usage(
            "a trust domain needs founders: the people who sign its first estate",
            HINT,
        )
        .error());
    }
    let mut people: BTreeMap<PersonId, BTreeSet<SshKey>> = BTreeMap::new();
    for FounderFile { person, file } in given {
        let text = fs::read_to_string(file)
            .with_context(|| Advice::usage(format!("can't read `{}`", file.display()), HINT))?;
        let keys = keys_in(&text).with_context(|| {
            Advice::usage(
                format!(
                    "`{}` does not hold SSH public keys, a line each",
                    file.display()
                ),
                HINT,
            )
        })?;
        people.entry(person.clone()).or_default().extend(keys);
    }
    let quorum = quorum.unwrap_or_else(|| usual_quorum(people.len()));
    Founders::new(people, quorum)
        .with_context(|| Advice::usage("these can't be the founders", HINT))
}

/// The lines of an `authorized_keys` file, without options: a key that may only run a command is none for this.
fn keys_in(text: &str) -> anyhow::Result<BTreeSet<SshKey>> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: BTreeSet<SshKey> = lines
        .map(|line| line.parse::<SshKey>())
        .collect::<Result<_, _>>()?;
    anyhow::ensure!(!keys.is_empty(), "there is none");
    Ok(keys)
}

fn usual_quorum(people: usize) -> usize {
    if people <= 2 { people } else { people / 2 + 1 }
}

/// Says what a quorum of one means.
pub(super) fn warn(founders: &Founders) {
    if founders.quorum == 1 {
        eprintln!(
            "warning: one founder alone decides what comes into force until the estate's `people.toml` has rules of approval"
        );
    }
}

const HINT: &str = "bailiwick server init --founder chen@hospital.example=chen.pub --founder eva@hospital.example=eva.pub";

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> String {
        sshsig::SigningKey::generate_ed25519([seed; 32], "comment")
            .unwrap()
            .public_key()
            .to_string()
    }

    fn founders(files: &[(&str, &str)], quorum: Option<usize>) -> anyhow::Result<Founders> {
        let folder = tempfile::tempdir().unwrap();
        let given: Vec<FounderFile> = files
            .iter()
            .enumerate()
            .map(|(number, (person, text))| {
                let file = folder.path().join(number.to_string());
                fs::write(&file, text).unwrap();
                format!("{person}={}", file.display()).parse().unwrap()
            })
            .collect();
        read(&given, quorum)
    }

    #[test]
    fn all_of_one_or_two_sign_and_a_majority_of_more() {
        let usual: Vec<usize> = (1..=6).map(usual_quorum).collect();
        assert_eq!(usual, [1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn a_file_holds_one_or_more_keys_and_a_person_may_come_twice() {
        let (one, two) = (key(1), key(2));
        let made = founders(
            &[
                (
                    "chen@hospital.example",
                    &format!("# work\n{one}\n\n{two}\n"),
                ),
                ("eva@hospital.example", &key(3)),
                ("eva@hospital.example", &key(4)),
            ],
            None,
        )
        .unwrap();
        let counts: Vec<usize> = made.people.values().map(BTreeSet::len).collect();
        assert_eq!((counts, made.quorum), (vec![2, 2], 2));
    }

    #[test]
    fn nobody_nothing_and_numbers_that_do_not_fit_are_usage_errors() {
        let (chen, one) = ("chen@hospital.example", key(1));
        let options = format!("command=\"/bin/sh\" {one}");
        type Given<'a> = (&'a [(&'a str, &'a str)], Option<usize>);
        let cases: [Given<'_>; 8] = [
            (&[], None),
            (&[(chen, "")], None),
            (&[(chen, "# only a note\n")], None),
            (&[(chen, "no key")], None),
            (&[(chen, &options)], None),
            (&[(chen, &one)], Some(0)),
            (&[(chen, &one)], Some(2)),
            // One key is one person's.
            (&[(chen, &one), ("eva@hospital.example", &one)], None),
        ];
        for (files, quorum) in cases {
            let refused = founders(files, quorum).unwrap_err();
            let advice = refused.downcast_ref::<Advice>().unwrap();
            assert_eq!(advice.exit(), crate::output::Exit::Usage, "{refused}");
        }
        assert!("chen@hospital.example".parse::<FounderFile>().is_err());
        assert!("=file".parse::<FounderFile>().is_err());
    }
}
