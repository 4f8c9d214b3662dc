//! What a public area must say before a key may play a role. A TPM enforces these words; nothing else does.

use std::fmt;

use super::{Attributes, Curve, Key, PublicArea, Scheme, Symmetric};
use crate::hash::HashAlgorithm;

/// Why a key can't play the role it was offered for. Fault, in each case: whoever made or chose the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnfitKey {
    /// Fault: whoever made the key; the TPM does not enforce what the role needs.
    #[error("{role} lacks the attributes `{missing}`")]
    Lacks {
        /// The role that was asked for.
        role: KeyRole,
        /// The attributes that must be set.
        missing: Attributes,
    },
    /// Fault: whoever made the key; it could be used for something that the role excludes.
    #[error("{role} must not have the attributes `{surplus}`")]
    Surplus {
        /// The role that was asked for.
        role: KeyRole,
        /// The attributes that must not be set.
        surplus: Attributes,
    },
    /// Fault: whoever made the key.
    #[error("{role} has an algorithm, size or scheme that is not accepted")]
    Algorithm {
        /// The role that was asked for.
        role: KeyRole,
    },
    /// Fault: whoever made the key; it is not made from a standard template.
    #[error("{role} has a policy that is not the standard one")]
    Policy {
        /// The role that was asked for.
        role: KeyRole,
    },
}

/// The roles that keys play in attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRole {
    /// Signs what the TPM says.
    Attestation,
    /// Signs for the node, on TLS connections.
    Node,
    /// The TPM's own decryption key, certified by its manufacturer.
    Endorsement,
}

impl fmt::Display for KeyRole {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Attestation => "attestation key",
            Self::Node => "node key",
            Self::Endorsement => "endorsement key",
        })
    }
}

impl PublicArea {
    /// Demands an attestation key: made in and fixed to its TPM, signing, restricted to what the TPM itself says.
    ///
    /// # Errors
    /// When the TPM does not enforce that for this key, or its scheme is not accepted.
    pub fn require_ak(&self) -> Result<(), UnfitKey> {
        let role = KeyRole::Attestation;
        self.require_attributes(
            role,
            Attributes::RESIDENT | Attributes::SIGN | Attributes::RESTRICTED,
            Attributes::DECRYPT | Attributes::X509_SIGN,
        )?;
        match &self.key {
            Key::Ecc {
                curve: Curve::P256,
                scheme: Scheme::Ecdsa(HashAlgorithm::Sha256),
                ..
            }
            | Key::Ecc {
                curve: Curve::P384,
                scheme: Scheme::Ecdsa(HashAlgorithm::Sha384),
                ..
            }
            | Key::Rsa {
                scheme: Scheme::RsaSsa(HashAlgorithm::Sha256 | HashAlgorithm::Sha384),
                exponent: 65537,
                ..
            } => Ok(()),
            _ => Err(UnfitKey::Algorithm { role }),
        }
    }

    /// Demands a node key: P-256, made in and fixed to its TPM, signing, and not restricted (TLS needs that).
    ///
    /// # Errors
    /// When the TPM does not enforce that for this key, or its algorithm is another.
    pub fn require_node_key(&self) -> Result<(), UnfitKey> {
        let role = KeyRole::Node;
        self.require_attributes(
            role,
            Attributes::RESIDENT | Attributes::SIGN,
            Attributes::DECRYPT | Attributes::RESTRICTED | Attributes::X509_SIGN,
        )?;
        match &self.key {
            Key::Ecc {
                curve: Curve::P256,
                scheme: Scheme::Ecdsa(HashAlgorithm::Sha256) | Scheme::Unspecified,
                symmetric: Symmetric::None,
                ..
            } => Ok(()),
            _ => Err(UnfitKey::Algorithm { role }),
        }
    }

    /// Demands an endorsement key made from one of the TCG's templates (EK credential profile 2.6, annex B).
    ///
    /// # Errors
    /// When attributes, algorithm or policy are not a template's.
    pub fn require_ek(&self) -> Result<(), UnfitKey> {
        let role = KeyRole::Endorsement;
        self.require_attributes(
            role,
            Attributes::RESIDENT
                | Attributes::DECRYPT
                | Attributes::RESTRICTED
                | Attributes::ADMIN_WITH_POLICY,
            Attributes::SIGN | Attributes::X509_SIGN | Attributes::ENCRYPTED_DUPLICATION,
        )?;
        match &self.key {
            Key::Rsa {
                symmetric: Symmetric::Aes { .. },
                scheme: Scheme::Unspecified,
                exponent: 65537,
                ..
            }
            | Key::Ecc {
                symmetric: Symmetric::Aes { .. },
                scheme: Scheme::Unspecified,
                ..
            } => {}
            _ => return Err(UnfitKey::Algorithm { role }),
        }
        match EK_POLICIES.iter().any(|policy| self.policy() == *policy) {
            true => Ok(()),
            false => Err(UnfitKey::Policy { role }),
        }
    }

    fn require_attributes(
        &self,
        role: KeyRole,
        set: Attributes,
        clear: Attributes,
    ) -> Result<(), UnfitKey> {
        let have = self.attributes();
        if !have.contains(set) {
            return Err(UnfitKey::Lacks {
                role,
                missing: set.without(have),
            });
        }
        if !have.lacks(clear) {
            return Err(UnfitKey::Surplus {
                role,
                surplus: clear.within(have),
            });
        }
        Ok(())
    }
}

/// `PolicySecret(TPM_RH_ENDORSEMENT)` with SHA-256: "PolicyA", of the low-range templates.
pub(super) const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// "PolicyB" with SHA-256, of the high-range templates.
const POLICY_B_SHA256: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3,
    0xa3, 0x85, 0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
];

/// "PolicyB" with SHA-384, of the high-range templates.
pub(super) const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a,
    0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca,
    0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

const EK_POLICIES: [&[u8]; 3] = [&POLICY_A_SHA256, &POLICY_B_SHA256, &POLICY_B_SHA384];
