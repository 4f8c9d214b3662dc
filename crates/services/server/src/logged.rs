//! Leaves of our own log as they can be believed although they lie in a database: with a proof under the log's key.

use estate::Timestamp;
use ledger::{Disclosure, Leaf};
use serde_json::Value;
use tlog::{Receipt, VerifierKey, leaf_hash};

use crate::ports::{Store, StoreError};

/// A leaf that is in the signed log, with those of its values that are still disclosed.
pub(crate) struct VerifiedLeaf {
    time: i64,
    values: Vec<Disclosure>,
}

impl VerifiedLeaf {
    /// The leaf at `index`; `None` where it, its proof or a disclosure does not hold.
    pub(crate) async fn read<S: Store>(
        store: &S,
        index: u64,
        key: &VerifierKey,
    ) -> Result<Option<Self>, StoreError> {
        let (Some(entry), Some(proof)) = (store.entry(index).await?, store.receipt(index).await?)
        else {
            return Ok(None);
        };
        let leaf = entry.leaf.as_bytes();
        let proven = Receipt::parse(&proof).ok().is_some_and(|receipt| {
            let verified = receipt.verify(leaf_hash(leaf), key);
            verified.is_ok_and(|verified| verified.index() == index)
        });
        if !proven {
            return Ok(None);
        }
        let Ok(parsed) = Leaf::parse(leaf) else {
            return Ok(None);
        };
        Ok(parsed.disclose(&entry.disclosures).ok().map(|values| Self {
            time: parsed.time,
            values,
        }))
    }

    /// A disclosed value.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        let found = self.values.iter().find(|value| value.name == name);
        found.map(|disclosure| &disclosure.value)
    }

    /// Whether it discloses exactly this.
    pub(crate) fn says(&self, name: &str, value: impl Into<Value>) -> bool {
        self.value(name) == Some(&value.into())
    }

    /// When it was written, to the second.
    pub(crate) fn time(&self) -> Timestamp {
        Timestamp::from_seconds(self.time)
    }
}
