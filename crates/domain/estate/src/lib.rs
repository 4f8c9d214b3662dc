//! What people wrote down: names, places, people, data sets, images, credentials and rules.
//!
//! The bottom room of the domain. Files come in as text, a validated [`Estate`] comes out; nothing here reads a disk,
//! a clock or a network. Names, digests and times are parsed once, here, and trusted afterwards.

mod digest;
mod names;
mod numbers;
mod time;

pub use digest::{Digest, DigestError, EstateHash};
pub use names::{
    BootProfileName, ClusterName, CredentialName, DataSetName, DatabaseName, ImageSetName, LeaseId,
    LocationName, NameError, NodeName, PersonId, RuleId, SecretName, TeamName, TenantName,
};
pub use numbers::{Assurance, AssuranceError, Epoch, PolicyVersion};
pub use time::{Timestamp, TimestampError};
