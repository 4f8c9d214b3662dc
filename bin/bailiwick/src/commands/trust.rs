//! Whose answers the commands beside an agent use: options that they share.

use std::{fs, str::FromStr};

use clap::Args;
use rpc::released::{Lab, Trust};
use tlog::VerifierKey;

/// Whose answers are used.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TrustArgs {
    /// Uses answers that are on record in this ledger only: a file with its key, or the key itself. Without it the ledger that
    /// the agent names counts.
    #[arg(long, value_name = "FILE|KEY")]
    ledger_key: Option<String>,
    /// Uses answers of a lab, too.
    #[arg(long)]
    lab: bool,
}

impl TrustArgs {
    /// The trust that the options ask for.
    ///
    /// # Errors
    /// A sentence, when `--ledger-key` is neither a key nor a file with one.
    pub(crate) fn trust(&self) -> Result<Trust, String> {
        trust_in(self.ledger_key.as_deref(), self.lab)
    }
}

/// Trust in a ledger, given as a key or a file with one, or in the agent.
///
/// # Errors
/// A sentence, when `ledger_key` is neither a key nor a file with one.
pub(crate) fn trust_in(ledger_key: Option<&str>, allow_lab: bool) -> Result<Trust, String> {
    let lab = if allow_lab {
        Lab::Accepted
    } else {
        Lab::Refused
    };
    match ledger_key {
        None => Ok(Trust::in_agent(lab)),
        Some(text) => parse_ledger_key(text).map(|key| Trust::in_ledger(key, lab)),
    }
}

/// The key itself, which has two plus signs, or a file with it on its first line.
fn parse_ledger_key(text: &str) -> Result<VerifierKey, String> {
    if let Ok(key) = VerifierKey::from_str(text) {
        return Ok(key);
    }
    let file = fs::read_to_string(text).map_err(|error| {
        format!("`--ledger-key`: `{text}` is no key, and no file that can be read: {error}")
    })?;
    let first = file.lines().next().unwrap_or_default().trim();
    VerifierKey::from_str(first)
        .map_err(|error| format!("`--ledger-key`: `{text}` holds no key: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_key_is_given_as_text_or_file() {
        let key = tlog::Signer::from_seed("td.lab/log", &[7; 32])
            .unwrap()
            .verifier_key();
        assert_eq!(parse_ledger_key(&key.to_string()).unwrap(), key);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.pub");
        fs::write(&file, format!("{key}\n")).unwrap();
        assert_eq!(parse_ledger_key(file.to_str().unwrap()).unwrap(), key);
        fs::write(&file, "something").unwrap();
        assert!(parse_ledger_key(file.to_str().unwrap()).is_err());
        assert!(parse_ledger_key("/does/not/exist").is_err());
    }
}
