//! The lab's first estate: the sentence about medical records, two nodes, and the boot that the lab plays.

use std::fmt::Write;

use anyhow::Context;
use tpm_quote::PcrBank;

use super::{
    folder::{LabFolder, write as write_file},
    node::{KERNEL, NODES},
    people::PEOPLE,
};

/// Writes the estate, unless there is one: people edit it.
pub(super) fn write(lab: &LabFolder) -> anyhow::Result<()> {
    let folder = lab.join("estate");
    if folder.exists() {
        return Ok(());
    }
    for (name, text) in FILES {
        let mut text = (*text).to_owned();
        for node in &NODES {
            text = text.replace(
                &format!("@{}@", node.name),
                &format!("sha256:{}", hex::encode(node.endorsement_key(lab)?)),
            );
        }
        for person in &PEOPLE {
            let file = person.public_key_file(lab);
            let key = std::fs::read_to_string(&file)
                .with_context(|| format!("can't read `{}`", file.display()))?;
            text = text.replace(&person.placeholder(), key.trim());
        }
        write_file(&folder.join(name), text.as_bytes(), 0o644)?;
    }
    write_file(
        &folder.join("events/lab.toml"),
        boot_state()?.as_bytes(),
        0o644,
    )
}

/// The registers as they are after the boot.
fn boot_state() -> anyhow::Result<String> {
    let pcrs = tpm::lab::boot_pcrs(PcrBank::Sha256)?;
    let values = tpm::lab::boot_log(KERNEL).replayed_values(&pcrs)?;
    let mut text =
        format!("# As after a boot of {KERNEL} that `bailiwick lab` plays.\nversion = 1\n[pcr]\n");
    for (pcr, value) in values.iter() {
        writeln!(text, "{pcr} = \"{}\"", hex::encode(value)).context("a text can't be written")?;
    }
    Ok(text)
}

const FILES: &[(&str, &str)] = &[
    ("people.toml", include_str!("estate/people.toml")),
    ("datasets.toml", include_str!("estate/datasets.toml")),
    ("inventory.toml", include_str!("estate/inventory.toml")),
    ("images.toml", include_str!("estate/images.toml")),
    ("identities.toml", include_str!("estate/identities.toml")),
    ("credentials.toml", include_str!("estate/credentials.toml")),
    (
        "policies/medical-records.cedar",
        include_str!("estate/policies/medical-records.cedar"),
    ),
    (
        "tests/medical-records.toml",
        include_str!("estate/tests/medical-records.toml"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<(String, String)> {
        let key = |text: &str, node: &str, fill: &str| {
            text.replace(&format!("@{node}@"), &format!("sha256:{}", fill.repeat(64)))
        };
        let files = FILES.iter().map(|(name, text)| {
            let text = key(&key(text, "dal05-n01", "1"), "fra02-n01", "2");
            let text = PEOPLE.iter().zip(1u8..).fold(text, |text, (person, seed)| {
                let key = sshsig::SigningKey::generate_ed25519([seed; 32], person.0).unwrap();
                text.replace(&person.placeholder(), &key.public_key().to_string())
            });
            ((*name).to_owned(), text)
        });
        files
            .chain([("events/lab.toml".to_owned(), boot_state().unwrap())])
            .collect()
    }

    #[test]
    fn everybody_of_the_lab_can_sign_and_every_rule_of_approval_is_filled() {
        let estate = estate::Estate::parse(&files()).unwrap();
        let approve = &estate.people().approve;
        for rule in [&approve.inventory, &approve.people, &approve.dataset] {
            assert!(!rule.is_empty());
        }
        let members: std::collections::BTreeSet<_> = estate
            .people()
            .teams
            .values()
            .flatten()
            .map(ToString::to_string)
            .collect();
        let with_keys: std::collections::BTreeSet<_> =
            PEOPLE.iter().map(|person| person.0.to_owned()).collect();
        assert_eq!(members, with_keys);
        for person in estate.people().persons.values() {
            assert_eq!(person.keys.len(), 1);
        }
    }

    #[test]
    fn the_estate_of_the_lab_is_read_and_its_tests_pass() {
        let estate = estate::Estate::parse(&files()).unwrap();
        assert_eq!(estate.nodes().count(), NODES.len());
        let policies = policy::Policies::load(&estate, estate::PolicyVersion(1)).unwrap();
        let report = policies.test(estate::Timestamp::from_millis(0));
        assert!(!report.results.is_empty());
        for result in report.results {
            assert!(
                matches!(result.verdict, policy::TestVerdict::Passed { .. }),
                "{result:?}"
            );
        }
    }
}
