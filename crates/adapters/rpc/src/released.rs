//! An answer of the release path in the hands of its requester: nothing of it is used before its receipt was verified.

use std::str::FromStr;

use custody::{ReleaseInfo, SealError, open_release};
use hpke_xwing::PrivateKey;
use ledger::{Leaf, LeafError};
use tlog::{KeyError, Receipt, ReceiptError, VerifiedReceipt, VerifierKey, leaf_hash};
use zeroize::Zeroizing;

/// Whose receipts count.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    pin: Option<VerifierKey>,
    lab: Lab,
}

/// Whether answers of a lab are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lab {
    /// They are refused.
    #[default]
    Refused,
    /// They are as good as any.
    Accepted,
}

/// Nothing is used: the answer can't be shown to be on record, or is another one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// Fault: the agent, or whoever pinned another ledger.
    #[error("the answer is on record in the ledger `{found}`, pinned is `{pinned}`")]
    OtherLedger {
        /// The ledger's name in the answer.
        found: String,
        /// The pinned one's.
        pinned: String,
    },
    /// Fault: the agent.
    #[error("the answer's ledger key can't be read")]
    LedgerKey(#[source] KeyError),
    /// Fault: whoever uses a lab for something real.
    #[error("the answer comes from a lab")]
    Lab,
    /// Fault: the server, or the agent.
    #[error("the answer's receipt is not accepted")]
    Receipt(#[source] ReceiptError),
    /// Fault: the server.
    #[error("the answer's leaf can't be read")]
    Leaf(#[source] LeafError),
    /// Fault: the agent: it asked for something else than it was told to.
    #[error("the answer is for another request")]
    OtherRequest,
    /// Fault: whoever answered.
    #[error("the answer does not open")]
    Sealed(#[source] SealError),
}

impl Trust {
    /// Trusts the ledger that the agent names: whoever can speak in the agent's name is believed.
    pub fn in_agent(lab: Lab) -> Self {
        Self { pin: None, lab }
    }

    /// Trusts this ledger alone. Pinning a lab's ledger accepts the lab.
    pub fn in_ledger(key: VerifierKey, lab: Lab) -> Self {
        let lab = if is_lab(key.name()) {
            Lab::Accepted
        } else {
            lab
        };
        Self {
            pin: Some(key),
            lab,
        }
    }

    /// Verifies that the leaf is on record in a ledger that is trusted.
    ///
    /// # Errors
    /// [`Untrusted`]
    pub fn verify(&self, answer: &OnRecord) -> Result<VerifiedReceipt, Untrusted> {
        let named = VerifierKey::from_str(&answer.ledger_key).map_err(Untrusted::LedgerKey)?;
        if let Some(pinned) = self.pin.as_ref().filter(|pinned| **pinned != named) {
            let (found, pinned) = (named.name().to_owned(), pinned.name().to_owned());
            return Err(Untrusted::OtherLedger { found, pinned });
        }
        // The agent's word is enough to refuse, never to accept: a lab's ledger shows it in its name.
        if (answer.lab || is_lab(named.name())) && self.lab == Lab::Refused {
            return Err(Untrusted::Lab);
        }
        Leaf::parse(&answer.leaf).map_err(Untrusted::Leaf)?;
        Receipt::parse(&answer.proof)
            .and_then(|receipt| receipt.verify(leaf_hash(&answer.leaf), &named))
            .map_err(Untrusted::Receipt)
    }
}

/// What an answer says about its place in the ledger; nothing of it is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnRecord {
    /// The request in canonical form, as the agent put it.
    pub request: Vec<u8>,
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// tlog-proof.
    pub proof: String,
    /// Checkpoint verifier key.
    pub ledger_key: String,
    /// Whether the agent says that it is a lab's.
    pub lab: bool,
}

/// A sealed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedAnswer {
    /// Request, leaf and receipt.
    pub record: OnRecord,
    /// HPKE encapsulated key.
    pub enc: Vec<u8>,
    /// HPKE ciphertext.
    pub ct: Vec<u8>,
}

impl SealedAnswer {
    /// Verifies the receipt and opens what is bound to exactly this request and leaf. `expected` decides whether the request
    /// is the one that was meant.
    ///
    /// # Errors
    /// [`Untrusted`]
    pub fn open(
        &self,
        trust: &Trust,
        key: &PrivateKey,
        info: ReleaseInfo,
        expected: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Zeroizing<Vec<u8>>, Untrusted> {
        let Self { record, enc, ct } = self;
        trust.verify(record)?;
        if !expected(&record.request) {
            return Err(Untrusted::OtherRequest);
        }
        open_release(key, info, &record.request, &record.leaf, enc, ct).map_err(Untrusted::Sealed)
    }
}

/// A log is named after its trust domain, with or without a path behind it.
fn is_lab(ledger: &str) -> bool {
    ledger
        .split('/')
        .next()
        .is_some_and(|domain| domain.ends_with(".lab"))
}
