//! A ledger that turned out not to be the one that its clients know answers nobody any more.

use super::Ledger;
use crate::JournalError;

impl<J> Ledger<J> {
    /// From now on nothing is released, nobody admitted and nothing changed by people: `why` is answered instead. What the
    /// server does by itself (ending leases, its own records) and what people read goes on.
    pub fn distrust(&self, why: String) {
        // The first reason stays.
        drop(self.distrust.set(why));
    }

    pub(crate) fn trusted(&self) -> Result<(), JournalError> {
        match self.distrust.get() {
            Some(why) => Err(JournalError::Distrusted(why.clone())),
            None => Ok(()),
        }
    }
}
