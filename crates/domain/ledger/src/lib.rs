//! Nothing leaves before its leaf is durable. This room makes leaves, says what a transaction may do, and mints
//! [`LoggedPermit`], [`LoggedDenial`], [`LoggedEnrolment`] and [`LoggedAct`] once the [`Journal`] has answered.

pub mod act;
pub mod commit;
pub mod draft;
pub mod entry;
pub mod journal;
pub mod rows;

pub use act::{Act, ActKind, Actor, LoggedAct, LoggedRefusal, NotRecorded};
pub use commit::{
    EnrolmentTerms, Ledger, LoggedConnection, LoggedDenial, LoggedEnrolment, LoggedPermit,
    NotReleased,
};
pub use draft::{Disclosure, DisclosureError, Draft, Entropy, Leaf, LeafError, SealedLeaf};
pub use entry::{Effect, Entry, EntryId, Guard};
pub use journal::{Commitment, Journal, JournalError, Written};
pub use rows::{
    ChangeRow, ChangeState, EstateRow, LeaseIntent, LeaseOutcome, LeaseRow, NodeRow, SecretRow,
    SerialRow, StoredChange, TokenRow,
};
