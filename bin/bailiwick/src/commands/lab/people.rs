//! The people of the lab: each has an SSH key to sign changes with, and a certificate to ask the server as themselves. Outside
//! a lab nobody holds the keys of two people.

use std::path::PathBuf;

use anyhow::Context;
use sshsig::SigningKey;
use zeroize::Zeroizing;

use super::folder::{LabFolder, table, write};

/// Who stands in the lab's `people.toml`.
pub(super) const PEOPLE: [LabPerson; 7] = [
    LabPerson("ana@hospital.example"),
    LabPerson("ben@hospital.example"),
    LabPerson("sam@hospital.example"),
    LabPerson("tia@hospital.example"),
    CHEN,
    EVA,
    LabPerson("olu@auditor.example"),
];

/// Who signs the first estate: the data owner and the deputy.
pub(super) const FOUNDERS: [LabPerson; 2] = [CHEN, EVA];

const CHEN: LabPerson = LabPerson("chen@hospital.example");
const EVA: LabPerson = LabPerson("eva@hospital.example");

/// A person of the lab, by id.
#[derive(Debug, Clone, Copy)]
pub(super) struct LabPerson(pub(super) &'static str);

impl LabPerson {
    /// What their files are called: no two of them share it.
    pub(super) fn name(self) -> &'static str {
        self.0.split('@').next().unwrap_or(self.0)
    }

    /// Their SSH key.
    pub(super) fn key_file(self, lab: &LabFolder) -> PathBuf {
        lab.join("keys").join(self.name())
    }

    /// Their public key, a line of `authorized_keys`.
    pub(super) fn public_key_file(self, lab: &LabFolder) -> PathBuf {
        self.key_file(lab).with_extension("pub")
    }

    /// Acts as them over TLS: `--config` takes it.
    pub(super) fn client_config(self, lab: &LabFolder) -> PathBuf {
        lab.join(&format!("client-{}.toml", self.name()))
    }

    /// What stands for their public key in the lab's files of an estate.
    pub(super) fn placeholder(self) -> String {
        format!("@{}@", self.name())
    }

    /// Makes the key, unless there is one: whoever is in force in a ledger keeps it.
    fn make_key(self, lab: &LabFolder) -> anyhow::Result<()> {
        if self.key_file(lab).exists() {
            return Ok(());
        }
        let mut seed = Zeroizing::new([0; 32]);
        ledger::Entropy::fill(&crate::system::SystemEntropy, seed.as_mut_slice());
        let key = SigningKey::generate_ed25519(*seed, self.0)
            .with_context(|| format!("no key could be made for {}", self.0))?;
        let public = format!("{}\n", key.public_key());
        write(&self.public_key_file(lab), public.as_bytes(), 0o644)?;
        write(&self.key_file(lab), key.to_openssh().as_bytes(), 0o600)
    }

    /// Has the server certify a TLS key, and writes which server is asked with it.
    fn make_certificate(
        self,
        lab: &LabFolder,
        server: &str,
        pins: &toml::Table,
    ) -> anyhow::Result<()> {
        let config_file = self.client_config(lab);
        if config_file.exists() {
            return Ok(());
        }
        let out = lab.join("people").join(self.name());
        let parts = ["key", "pem"].map(|ending| out.with_extension(ending));
        for part in &parts {
            // Of an `up` that was interrupted.
            let _ = std::fs::remove_file(part);
        }
        let folder = lab.join("people");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("can't make `{}`", folder.display()))?;
        lab.ask_server(&[
            "person",
            "certificate",
            self.0,
            "--out",
            &out.display().to_string(),
        ])?;
        let text = |path: PathBuf| toml::Value::from(path.display().to_string());
        let [key, certificate] = parts;
        let mut config = table([
            ("server", server.into()),
            ("client_cert", text(certificate)),
            ("client_key", text(key)),
            ("root", text(lab.join("server/root.pem"))),
        ]);
        for pin in ["root_pin", "ledger_key"] {
            let value = pins
                .get(pin)
                .with_context(|| format!("the lab's `client.toml` has no `{pin}`"))?;
            config.insert(pin.to_owned(), value.clone());
        }
        let config =
            toml::to_string(&config).context("the configuration of a client can't be written")?;
        write(&config_file, config.as_bytes(), 0o600)
    }
}

/// Makes the keys that are missing.
pub(super) fn make_keys(lab: &LabFolder) -> anyhow::Result<()> {
    PEOPLE.iter().try_for_each(|person| person.make_key(lab))
}

/// Makes the certificates that are missing; a lab of before that had no door for people gets none.
pub(super) fn make_certificates(lab: &LabFolder) -> anyhow::Result<()> {
    let Some(address) = lab.people_address()? else {
        return Ok(());
    };
    let file = lab.client_config();
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("can't read `{}`", file.display()))?;
    let pins: toml::Table =
        toml::from_str(&text).with_context(|| format!("`{}` is damaged", file.display()))?;
    let server = format!("https://{address}");
    PEOPLE
        .iter()
        .try_for_each(|person| person.make_certificate(lab, &server, &pins))
}

/// What the founders are to `server init`.
pub(super) fn founder_options(lab: &LabFolder) -> Vec<String> {
    let option = |person: &LabPerson| {
        let file = person.public_key_file(lab);
        [
            "--founder".to_owned(),
            format!("{}={}", person.0, file.display()),
        ]
    };
    let quorum = ["--quorum".to_owned(), FOUNDERS.len().to_string()];
    FOUNDERS.iter().flat_map(option).chain(quorum).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_person_has_files_of_their_own() {
        let names: BTreeSet<_> = PEOPLE.iter().map(|person| person.name()).collect();
        assert_eq!(names.len(), PEOPLE.len());
        assert!(
            names
                .iter()
                .all(|name| name.chars().all(|letter| letter.is_ascii_lowercase()))
        );
    }
}
