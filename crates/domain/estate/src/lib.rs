//! What people wrote down: names, places, people, data sets, images, credentials and rules.
//!
//! The bottom room of the domain. Files come in as text, a validated [`Estate`] comes out; nothing here reads a disk,
//! a clock or a network. Names, digests and times are parsed once, here, and trusted afterwards.

mod approval;
mod boot;
mod cases;
mod change;
mod credentials;
mod datasets;
mod digest;
mod effect;
mod estate;
mod files;
mod grants;
mod identities;
mod images;
mod inventory;
mod names;
mod numbers;
mod people;
mod places;
mod promotions;
mod read;
mod record;
mod run;
mod signers;
mod source;
mod span;
mod time;

pub use approval::{
    ApprovedChange, Belongings, Grantor, Missing, NotApproved, OutOfReach, Requirement, approve,
    check_signature, grantors, requirements, signer_of, stand_for,
};
pub use boot::{BootProfile, BootState, PcrIndex, PcrIndexError};
pub use cases::{Ask, AskError, AskObject, Case, Given, Never, TestFile, Want};
pub use change::{Change, Effect, ObjectKind, Verb, diff};
pub use credentials::{Credential, Database, DatabaseKind, DatabaseUrl, DatabaseUrlError, Grants};
pub use datasets::{DataSet, ExecRule, ExecRuleError, Register};
pub use digest::{Digest, DigestError, EstateHash};
pub use estate::{Estate, PolicyScope, PolicyText};
pub use grants::{Grant, GrantError, Privilege, SqlIdent};
pub use identities::{Identity, IdentityFacts, PathTemplate, PathTemplateError, Variable};
pub use images::{ImageSet, Promoter, Quality, QualityError};
pub use inventory::{Attest, Cluster, Kubernetes, Node};
pub use names::{
    BootProfileName, ClusterName, CredentialName, DataSetName, DatabaseName, ImageSetName, LeaseId,
    LocationName, NameError, NodeName, PersonId, RuleId, SecretName, TeamName, TenantName,
};
pub use numbers::{Assurance, AssuranceError, Epoch, PolicyVersion};
pub use people::{Approvals, OidcSubject, People, Person};
pub use places::{IpPrefix, IpPrefixError, Location, LocationKind, LocationKindError};
pub use promotions::{
    Promoted, PromotionError, PromotionPredicate, PromotionStatement, Promotions,
};
pub use record::{ChangeId, ChangeRecord, ChangeSignature, Submission};
pub use run::{MountGroup, RunRules};
pub use signers::{Founder, Founders, FoundersError, SshKey, SshKeyError};
pub use source::{Conflict, EstateError, Problem};
pub use span::{Span, SpanError};
pub use time::{Timestamp, TimestampError};
