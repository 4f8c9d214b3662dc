//! Object attributes (`TPMA_OBJECT`) as a typed bit set.

use std::fmt;
use std::ops::BitOr;

use crate::wire::ParseError;

/// A set of object attributes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes(u32);

impl Attributes {
    /// The key can't leave its TPM.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// The key dies at the next start.
    pub const ST_CLEAR: Self = Self(1 << 2);
    /// The key can't get another parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM itself made the private part.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// The authorisation value, or an HMAC with it, authorises use.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// Administration needs the policy.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// Bound to this firmware.
    pub const FIRMWARE_LIMITED: Self = Self(1 << 8);
    /// Bound to this security version of the firmware.
    pub const SVN_LIMITED: Self = Self(1 << 9);
    /// Not under dictionary-attack protection.
    pub const NO_DA: Self = Self(1 << 10);
    /// Duplicates are always encrypted.
    pub const ENCRYPTED_DUPLICATION: Self = Self(1 << 11);
    /// Works only on what the TPM itself made.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// Decrypts.
    pub const DECRYPT: Self = Self(1 << 17);
    /// Signs.
    pub const SIGN: Self = Self(1 << 18);
    /// Signs only through `TPM2_CertifyX509`.
    pub const X509_SIGN: Self = Self(1 << 19);

    /// Fixed to its TPM and parent, and made there: the private part is nowhere else.
    pub const RESIDENT: Self =
        Self(Self::FIXED_TPM.0 | Self::FIXED_PARENT.0 | Self::SENSITIVE_DATA_ORIGIN.0);

    /// Whether all of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing of `other` is set.
    #[must_use]
    pub const fn lacks(self, other: Self) -> bool {
        self.0 & other.0 == 0
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Of the low-range endorsement keys: use needs the policy.
    pub(super) const LOW_RANGE_EK: Self =
        Self(Self::RESIDENT.0 | Self::ADMIN_WITH_POLICY.0 | Self::RESTRICTED.0 | Self::DECRYPT.0);

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn from_bits(bits: u32) -> Result<Self, ParseError> {
        let known = NAMES.iter().fold(0, |known, (bit, _)| known | bit.0);
        match bits & !known {
            0 => Ok(Self(bits)),
            unknown => Err(ParseError::Unsupported {
                what: "object attributes",
                value: unknown.into(),
            }),
        }
    }
}

impl BitOr for Attributes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (_, name) in NAMES.iter().filter(|(bit, _)| self.contains(*bit)) {
            write!(out, "{separator}{name}")?;
            separator = "|";
        }
        Ok(())
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Attributes({self})")
    }
}

const NAMES: [(Attributes, &str); 14] = [
    (Attributes::FIXED_TPM, "fixedtpm"),
    (Attributes::ST_CLEAR, "stclear"),
    (Attributes::FIXED_PARENT, "fixedparent"),
    (Attributes::SENSITIVE_DATA_ORIGIN, "sensitivedataorigin"),
    (Attributes::USER_WITH_AUTH, "userwithauth"),
    (Attributes::ADMIN_WITH_POLICY, "adminwithpolicy"),
    (Attributes::FIRMWARE_LIMITED, "firmwarelimited"),
    (Attributes::SVN_LIMITED, "svnlimited"),
    (Attributes::NO_DA, "noda"),
    (Attributes::ENCRYPTED_DUPLICATION, "encryptedduplication"),
    (Attributes::RESTRICTED, "restricted"),
    (Attributes::DECRYPT, "decrypt"),
    (Attributes::SIGN, "sign"),
    (Attributes::X509_SIGN, "x509sign"),
];
