//! Why a node is not admitted, or its quote not accepted.

use estate::{BootProfileName, Digest, LocationName, NodeName};

/// Why a node is not admitted. Each is a refusal on record; the fault is the node's unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// Fault: the node, or whoever keeps the inventory.
    #[error("node `{0}` is not in the inventory")]
    NotEnrolled(NodeName),
    /// Fault: the node.
    #[error("node `{node}` must attest by `{expected}`")]
    OtherAttestor {
        /// The node.
        node: NodeName,
        /// What the inventory wants.
        expected: &'static str,
    },
    /// Fault: the node, or whoever keeps the inventory: it is not where it should be.
    #[error("address {remote} is not one of site `{site}`")]
    OtherNetwork {
        /// The site with the prefixes.
        site: LocationName,
        /// Where the connection comes from.
        remote: std::net::IpAddr,
    },
    /// Fault: the node.
    #[error("the `{what}` that the node sent can't be read")]
    Malformed {
        /// What.
        what: &'static str,
    },
    /// Fault: the node, or whoever keeps the inventory: another TPM.
    #[error("the endorsement key `{found}` is not the one enrolled for this node")]
    OtherEndorsementKey {
        /// Hash of the key that the node has.
        found: Digest,
    },
    /// Fault: the node: no TPM of a known manufacturer.
    #[error("the endorsement key has no certificate of a known manufacturer")]
    Certificate(#[source] tpm_quote::EkError),
    /// Fault: whoever configured the server.
    #[error("the server knows no TPM manufacturer")]
    NoManufacturer,
    /// Fault: the node: a key without the properties that it needs.
    #[error("the node's {key} is not fit for its use")]
    UnfitKey {
        /// Which key.
        key: &'static str,
        /// What it lacks.
        #[source]
        source: tpm_quote::UnfitKey,
    },
    /// Fault: the node: the attestation key is not in the TPM of the endorsement key.
    #[error("the node could not open the credential: its attestation key lives elsewhere")]
    NotActivated,
    /// Fault: the node: the node key is not in the TPM.
    #[error("the node key is not certified by the attestation key")]
    NotCertified(#[source] tpm_quote::QuoteError),
    /// Fault: the node.
    #[error("the quote is refused")]
    Quote(#[source] tpm_quote::QuoteError),
    /// Fault: the node: the event log does not lead to the quoted state.
    #[error("the boot state is not proven")]
    Boot(#[source] tpm_quote::BootError),
    /// Fault: the node, or whoever keeps its boot profile.
    #[error(
        "the boot state is not one that profile `{profile}` accepts: {differs} differ from the nearest accepted state"
    )]
    OtherBootState {
        /// The profile.
        profile: BootProfileName,
        /// Which PCRs, such as `PCR 4, PCR 9`.
        differs: String,
    },
    /// Fault: whoever keeps the inventory.
    #[error("node `{0}` has no boot profile")]
    NoBootProfile(NodeName),
    /// Fault: the node: its TPM was reset since, so the old keys are dead and it has to attest in full.
    #[error("the node was restarted meanwhile")]
    Restarted,
    /// Fault: the node: it does not hold the key that it names.
    #[error("the node does not hold the key that it asks a certificate for")]
    NoPossession,
    /// Fault: this machine.
    #[error("no challenge could be made")]
    Challenge(#[source] tpm_quote::CredentialError),
}
