//! Boot profiles, and the state files under `events/` that they accept.
//!
//! A state file lists exact values of PCRs in the SHA-256 bank:
//!
//! ```toml
//! version = 1
//! [pcr]
//! 0 = "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::read::{Value, document};
use crate::source::{EstateError, Source};
use crate::{BootProfileName, Digest};

/// The number of a platform configuration register, 0 to 23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PcrIndex(u8);

impl PcrIndex {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A text is no number of a platform configuration register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number of a PCR is 0 to 23")]
pub struct PcrIndexError;

impl FromStr for PcrIndex {
    type Err = PcrIndexError;

    fn from_str(text: &str) -> Result<Self, PcrIndexError> {
        let number: u8 = text.parse().map_err(|_| PcrIndexError)?;
        if number > 23 || number.to_string() != text {
            Err(PcrIndexError)
        } else {
            Ok(Self(number))
        }
    }
}

impl fmt::Display for PcrIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One state that a machine may have booted into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootState {
    /// Required values of the SHA-256 bank.
    pub pcrs: BTreeMap<PcrIndex, Digest>,
}

/// States of which a machine must be in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootProfile {
    /// Its name.
    pub name: BootProfileName,
    /// The accepted states by the file that lists them.
    pub accept: BTreeMap<String, BootState>,
}

impl BootProfile {
    /// The accepted states as plain numbers and bytes, for those who check quotes.
    #[must_use]
    pub fn states(&self) -> Vec<BTreeMap<u8, [u8; 32]>> {
        let plain = |state: &BootState| {
            state
                .pcrs
                .iter()
                .map(|(index, value)| (index.0, *value.as_bytes()))
                .collect()
        };
        self.accept.values().map(plain).collect()
    }

    /// The file of the state that `pcrs`, the quoted values, are in; every required register must have been quoted.
    #[must_use]
    pub fn accepts(&self, pcrs: &BTreeMap<PcrIndex, Digest>) -> Option<&str> {
        let in_state = |state: &BootState| {
            state
                .pcrs
                .iter()
                .all(|(index, wanted)| pcrs.get(index) == Some(wanted))
        };
        self.accept
            .iter()
            .find(|(_, state)| !state.pcrs.is_empty() && in_state(state))
            .map(|(file, _)| file.as_str())
    }
}

pub(crate) fn parse(source: Source<'_>) -> Result<BootState, EstateError> {
    document(source, &["pcr"], |top| {
        let table = top.need("pcr")?.table()?;
        if table.len() == 0 {
            return Err(top
                .need("pcr")?
                .malformed("a state that requires nothing would accept every machine"));
        }
        let mut pcrs = BTreeMap::new();
        for (index, value) in table.named::<PcrIndex>()? {
            pcrs.insert(index, pcr_value(&value)?);
        }
        Ok(BootState { pcrs })
    })
}

fn pcr_value(value: &Value<'_>) -> Result<Digest, EstateError> {
    let digest = Digest::from_hex(value.text()?).map_err(|_| {
        value.malformed("64 lower-case hexadecimal digits of the SHA-256 bank are wanted")
    })?;
    // Zeros or ones are what a register holds that nobody ever extended: the profile of nothing.
    if [[0; 32], [0xff; 32]].contains(digest.as_bytes()) {
        return Err(value.malformed("a register of all zeros or ones was never measured into"));
    }
    Ok(digest)
}
