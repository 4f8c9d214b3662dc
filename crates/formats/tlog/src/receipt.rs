//! Receipts (c2sp.org/tlog-proof@v1): all that is needed to verify offline that an entry was logged.

use crate::text::{decimal, from_base64, to_base64};
use crate::{
    Checkpoint, CheckpointError, Hash, HashError, MAX_NOTE_BYTES, Note, NoteError, VerifierKey,
    VerifyError, verify_inclusion,
};

/// An entry's index, its inclusion proof and the checkpoint that the proof leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    extra: Option<Vec<u8>>,
    index: u64,
    proof: Vec<Hash>,
    checkpoint: Note,
}

/// What a verified receipt shows: the entry is leaf `index` of the log's tree of this size and root.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedReceipt {
    index: u64,
    size: u64,
    root: Hash,
}

/// Why a receipt is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Fault: whoever sent it.
    #[error("the receipt is longer than any receipt")]
    TooLong,
    /// Fault: whoever wrote it.
    #[error("the receipt does not begin with `{HEADER}`")]
    Header,
    /// Fault: whoever wrote it.
    #[error("the receipt's extra data is not canonical base64")]
    Extra,
    /// Fault: whoever wrote it.
    #[error("the receipt names no index")]
    Index,
    /// Fault: whoever wrote it.
    #[error("the receipt's proof holds something that is no hash")]
    ProofHash(#[source] HashError),
    /// Fault: whoever wrote it.
    #[error("the receipt's proof is longer than any proof")]
    ProofTooLong,
    /// Fault: whoever wrote it.
    #[error("the receipt has no checkpoint behind a blank line")]
    NoCheckpoint,
    /// Fault: whoever wrote it.
    #[error("the receipt's checkpoint is not a signed note")]
    Note(#[source] NoteError),
    /// Fault: see the source.
    #[error("the receipt's checkpoint is not accepted")]
    Checkpoint(#[source] CheckpointError),
    /// Fault: whoever made the receipt, or the receipt is for another entry.
    #[error("the receipt does not show that the entry is in the log")]
    Inclusion(#[source] VerifyError),
}

impl Receipt {
    /// A receipt without extra data.
    #[must_use]
    pub const fn new(index: u64, proof: Vec<Hash>, checkpoint: Note) -> Self {
        Self {
            extra: None,
            index,
            proof,
            checkpoint,
        }
    }

    /// Adds opaque data, which nothing in the receipt vouches for.
    #[must_use]
    pub fn with_extra(self, extra: Vec<u8>) -> Self {
        Self {
            extra: Some(extra),
            ..self
        }
    }

    /// Reads a receipt without verifying anything but its form.
    ///
    /// # Errors
    /// When it is malformed or too long.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        if text.len() > 2 * MAX_NOTE_BYTES {
            return Err(ReceiptError::TooLong);
        }
        let rest = text
            .strip_prefix(HEADER)
            .and_then(|rest| rest.strip_prefix('\n'));
        let (head, checkpoint) = rest
            .ok_or(ReceiptError::Header)?
            .split_once("\n\n")
            .ok_or(ReceiptError::NoCheckpoint)?;
        let mut lines = head.split('\n').peekable();
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) => Some(
                line.strip_prefix("extra ")
                    .and_then(from_base64)
                    .ok_or(ReceiptError::Extra)?,
            ),
            None => None,
        };
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(decimal);
        let index = index.ok_or(ReceiptError::Index)?;
        let proof: Vec<&str> = lines.collect();
        if proof.len() > MAX_PROOF {
            return Err(ReceiptError::ProofTooLong);
        }
        let proof = proof
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(ReceiptError::ProofHash)?;
        let checkpoint = Note::parse(checkpoint).map_err(ReceiptError::Note)?;
        Checkpoint::parse(checkpoint.unverified_text()).map_err(ReceiptError::Checkpoint)?;
        Ok(Self {
            extra,
            index,
            proof,
            checkpoint,
        })
    }

    /// The receipt as it is stored and sent; `.tlog-proof` is the extension of its file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self {
            extra,
            index,
            proof,
            checkpoint,
        } = self;
        let extra = extra
            .as_ref()
            .map(|bytes| format!("extra {}\n", to_base64(bytes)))
            .unwrap_or_default();
        let proof: String = proof.iter().map(|hash| format!("{hash}\n")).collect();
        format!("{HEADER}\n{extra}index {index}\n{proof}\n{checkpoint}")
    }

    /// Verifies that the entry with this leaf hash is in the log with this key.
    ///
    /// # Errors
    /// When the checkpoint is not the log's or the proof does not show it.
    pub fn verify(&self, leaf: Hash, log: &VerifierKey) -> Result<VerifiedReceipt, ReceiptError> {
        let checkpoint =
            Checkpoint::open(&self.checkpoint, log).map_err(ReceiptError::Checkpoint)?;
        let (index, size, root) = (self.index, checkpoint.size(), checkpoint.root());
        verify_inclusion(&self.proof, index, size, leaf, root).map_err(ReceiptError::Inclusion)?;
        Ok(VerifiedReceipt { index, size, root })
    }

    /// The index that the receipt claims.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The inclusion proof, from the leaf's sibling upwards.
    #[must_use]
    pub fn proof(&self) -> &[Hash] {
        &self.proof
    }

    /// The signed checkpoint, not verified.
    #[must_use]
    pub const fn checkpoint(&self) -> &Note {
        &self.checkpoint
    }

    /// Opaque data that nothing vouches for.
    #[must_use]
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }
}

impl VerifiedReceipt {
    /// The entry's index in the log.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The size of the tree that was signed.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree that was signed.
    #[must_use]
    pub const fn root(&self) -> Hash {
        self.root
    }
}

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// The longest inclusion proof of a tree of 2^62 leaves.
const MAX_PROOF: usize = 62;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Signer, leaf_hash, node_hash};

    fn signer() -> Signer {
        Signer::from_seed("log.example", &[5; 32]).unwrap()
    }

    fn receipt() -> Receipt {
        let (first, second) = (leaf_hash(b"first"), leaf_hash(b"second"));
        let checkpoint = Checkpoint::new("log.example", 2, node_hash(first, second)).unwrap();
        Receipt::new(1, vec![first], checkpoint.sign(&signer()).unwrap())
    }

    #[test]
    fn a_receipt_is_for_one_entry_of_one_log() {
        let (receipt, key) = (receipt(), signer().verifier_key());
        assert!(receipt.verify(leaf_hash(b"second"), &key).is_ok());
        let other = receipt.verify(leaf_hash(b"first"), &key);
        assert_eq!(other, Err(ReceiptError::Inclusion(VerifyError::WrongRoot)));
        let stranger = Signer::from_seed("log.example", &[6; 32])
            .unwrap()
            .verifier_key();
        assert!(matches!(
            receipt.verify(leaf_hash(b"second"), &stranger),
            Err(ReceiptError::Checkpoint(_))
        ));
    }

    #[test]
    fn text_survives_the_round_trip() {
        for receipt in [
            receipt(),
            receipt().with_extra(b"more".to_vec()),
            receipt().with_extra(Vec::new()),
        ] {
            assert_eq!(Receipt::parse(&receipt.to_text()).unwrap(), receipt);
        }
    }

    #[test]
    fn malformed_receipts_are_refused() {
        let good = receipt().to_text();
        let hash = leaf_hash(b"first");
        for bad in [
            String::new(),
            good.replace("@v1", "@v2"),
            good.replace("index 1", "index 01"),
            good.replace("index 1\n", ""),
            good.replace("index 1", "extra AAAA"),
            good.replace("index 1", "extra ?\nindex 1"),
            good.replace("index 1", "index 1\nextra AAAA"),
            good.replace("index 1", "index 1\nindex 1"),
            good.replace("index 1", "index 1 "),
            good.replace(&hash.to_string(), "AAAA"),
            good.replace("\n\nlog", "\nlog"),
            good.replace("\n\nlog", "\n\n\nlog"),
            good.replace('\n', "\r\n"),
            format!("{good}x"),
            format!(" {good}"),
            good.replace(
                "index 1",
                &format!("index 1{}", format!("\n{hash}").repeat(62)),
            ),
        ] {
            assert!(Receipt::parse(&bad).is_err(), "`{}`", bad.escape_debug());
        }
    }
}
