//! Signs identities: node certificates from a logged enrolment, SVIDs from a logged permit, and the server's own.

mod authority;
mod facts;
mod svid;

pub use authority::{Authority, AuthorityKeys, IssueError, Serial};
pub use facts::{FACTS_OID, MeasuredFacts};
