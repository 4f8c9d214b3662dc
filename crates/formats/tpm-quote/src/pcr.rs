//! Platform configuration registers: banks that are trusted, exact selections, and values.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::hash::HashAlgorithm;
use crate::wire::{ParseError, Reader};

/// A bank of PCRs. There is no SHA-1 bank: it can't be asked for, so it can't be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PcrBank {
    /// The SHA-256 bank.
    Sha256,
    /// The SHA-384 bank.
    Sha384,
}

impl PcrBank {
    /// The hash function of the bank.
    #[must_use]
    pub const fn algorithm(self) -> HashAlgorithm {
        match self {
            Self::Sha256 => HashAlgorithm::Sha256,
            Self::Sha384 => HashAlgorithm::Sha384,
        }
    }

    fn from_id(id: u16) -> Result<Self, ParseError> {
        Ok(match HashAlgorithm::from_id(id, "PCR bank")? {
            HashAlgorithm::Sha256 => Self::Sha256,
            HashAlgorithm::Sha384 => Self::Sha384,
        })
    }
}

impl fmt::Display for PcrBank {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
        })
    }
}

impl FromStr for PcrBank {
    type Err = PcrError;

    fn from_str(text: &str) -> Result<Self, PcrError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha384" => Ok(Self::Sha384),
            other => Err(PcrError::Bank {
                bank: other.chars().take(32).collect(),
            }),
        }
    }
}

/// Why a selection or a set of PCR values is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PcrError {
    /// Fault: whoever wrote the selection; only `sha256` and `sha384` are trusted.
    #[error("PCR bank `{bank}` is not accepted")]
    Bank {
        /// What was written.
        bank: String,
    },
    /// Fault: whoever wrote the selection.
    #[error("PCR `{index}` does not exist or is named twice")]
    Index {
        /// What was written.
        index: String,
    },
    /// Fault: whoever wrote the selection.
    #[error("no PCR is selected")]
    Empty,
    /// Fault: whoever collected the values.
    #[error("the value of PCR {index} has the wrong length for its bank")]
    Length {
        /// The register.
        index: u8,
    },
    /// Fault: the platform; nothing was measured there, so the value says nothing about the boot.
    #[error("PCR {index} is still in its initial state, nothing was measured into it")]
    NeverMeasured {
        /// The register.
        index: u8,
    },
    /// Fault: whoever sent the values; they are of other registers than those that were quoted.
    #[error("the values are not those of exactly `{selection}`")]
    OtherSelection {
        /// What was quoted.
        selection: PcrSelection,
    },
    /// Fault: whoever sent the values or the event log: they are not what the TPM signed.
    #[error("the values of `{selection}` are not those that the TPM signed")]
    Mismatch {
        /// What was quoted.
        selection: PcrSelection,
    },
}

/// Which registers of which bank. Written `sha256:0,1,2,3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PcrSelection {
    bank: PcrBank,
    mask: u32,
}

impl PcrSelection {
    /// Selects `indices` of `bank`.
    ///
    /// # Errors
    /// When none is named, one is named twice, or one is above 23.
    pub fn new(bank: PcrBank, indices: impl IntoIterator<Item = u8>) -> Result<Self, PcrError> {
        let mut mask = 0_u32;
        for index in indices {
            let bit = 1_u32.checked_shl(index.into()).unwrap_or(0);
            if index >= PCR_COUNT || mask & bit != 0 {
                return Err(PcrError::Index {
                    index: index.to_string(),
                });
            }
            mask |= bit;
        }
        match mask {
            0 => Err(PcrError::Empty),
            mask => Ok(Self { bank, mask }),
        }
    }

    /// The bank.
    #[must_use]
    pub const fn bank(&self) -> PcrBank {
        self.bank
    }

    /// The registers, in ascending order.
    pub fn indices(&self) -> impl Iterator<Item = u8> + use<> {
        let mask = self.mask;
        (0..PCR_COUNT).filter(move |index| mask & (1 << index) != 0)
    }

    /// Whether `index` is selected.
    #[must_use]
    pub const fn contains(&self, index: u8) -> bool {
        index < PCR_COUNT && self.mask & (1 << index) != 0
    }

    /// The `TPML_PCR_SELECTION` with this one selection.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = 1_u32.to_be_bytes().to_vec();
        out.extend_from_slice(&self.bank.algorithm().id().to_be_bytes());
        out.push(SELECT_BYTES);
        out.extend(
            self.mask
                .to_le_bytes()
                .into_iter()
                .take(SELECT_BYTES.into()),
        );
        out
    }

    /// Reads a `TPML_PCR_SELECTION`; several banks at once are refused.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let count = reader.u32("PCR selection")?;
        if count != 1 {
            return Err(ParseError::Unsupported {
                what: "number of PCR banks",
                value: count.into(),
            });
        }
        let bank = PcrBank::from_id(reader.u16("PCR selection")?)?;
        let size = reader.u8("PCR selection")?;
        if size != SELECT_BYTES {
            return Err(ParseError::Unsupported {
                what: "size of the PCR selection",
                value: size.into(),
            });
        }
        let [low, middle, high] = reader.array("PCR selection")?;
        match u32::from_le_bytes([low, middle, high, 0]) {
            0 => Err(ParseError::Malformed {
                what: "PCR selection",
            }),
            mask => Ok(Self { bank, mask }),
        }
    }
}

impl fmt::Display for PcrSelection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.bank)?;
        let mut separator = ':';
        for index in self.indices() {
            write!(out, "{separator}{index}")?;
            separator = ',';
        }
        Ok(())
    }
}

impl FromStr for PcrSelection {
    type Err = PcrError;

    fn from_str(text: &str) -> Result<Self, PcrError> {
        let (bank, indices) = text.split_once(':').ok_or(PcrError::Empty)?;
        let indices = indices
            .split(',')
            .map(|index| match index.parse::<u8>() {
                // One spelling for each number: no sign, no leading zero.
                Ok(number) if number.to_string() == index => Ok(number),
                _ => Err(PcrError::Index {
                    index: index.chars().take(32).collect(),
                }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(bank.parse()?, indices)
    }
}

/// Values of registers of one bank.
#[derive(Clone, PartialEq, Eq)]
pub struct PcrValues {
    bank: PcrBank,
    values: BTreeMap<u8, Vec<u8>>,
}

impl PcrValues {
    /// Values of `bank`.
    ///
    /// # Errors
    /// When a value has another length than the bank's digests, or a register is above 23 or named twice.
    pub fn new(
        bank: PcrBank,
        values: impl IntoIterator<Item = (u8, Vec<u8>)>,
    ) -> Result<Self, PcrError> {
        let mut map = BTreeMap::new();
        for (index, value) in values {
            if value.len() != bank.algorithm().size() {
                return Err(PcrError::Length { index });
            }
            if index >= PCR_COUNT || map.insert(index, value).is_some() {
                return Err(PcrError::Index {
                    index: index.to_string(),
                });
            }
        }
        Ok(Self { bank, values: map })
    }

    /// The bank.
    #[must_use]
    pub const fn bank(&self) -> PcrBank {
        self.bank
    }

    /// The value of one register.
    #[must_use]
    pub fn value(&self, index: u8) -> Option<&[u8]> {
        self.values.get(&index).map(Vec::as_slice)
    }

    /// All values, in ascending order of registers.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.values
            .iter()
            .map(|(index, value)| (*index, value.as_slice()))
    }

    /// Refuses values that no measurement made: all bits zero, or all bits one.
    ///
    /// # Errors
    /// When a register is in that state.
    pub fn require_measured(&self) -> Result<(), PcrError> {
        let initial = |value: &[u8]| {
            value.iter().all(|byte| *byte == 0) || value.iter().all(|byte| *byte == 0xff)
        };
        match self.iter().find(|(_, value)| initial(value)) {
            Some((index, _)) => Err(PcrError::NeverMeasured { index }),
            None => Ok(()),
        }
    }

    /// The digest that a quote carries: the values in ascending order of registers, hashed.
    #[must_use]
    pub fn digest(&self, algorithm: HashAlgorithm) -> Vec<u8> {
        let values: Vec<&[u8]> = self.values.values().map(Vec::as_slice).collect();
        algorithm.digest(&values)
    }

    pub(crate) fn are_of(&self, selection: &PcrSelection) -> bool {
        self.bank == selection.bank && selection.indices().eq(self.values.keys().copied())
    }
}

impl fmt::Debug for PcrValues {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = out.debug_map();
        for (index, value) in self.iter() {
            map.entry(&index, &hex::encode(value));
        }
        map.finish()
    }
}

/// A PC client TPM has 24 registers.
pub(crate) const PCR_COUNT: u8 = 24;
const SELECT_BYTES: u8 = 3;
