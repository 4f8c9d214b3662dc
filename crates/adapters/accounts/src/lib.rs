//! Database users that live as long as a lease: made with a verifier, ended with their sessions.
//!
//! PostgreSQL for now. The client that will use a password makes it and sends only its [`scram::Verifier`], so nobody here ever
//! knows the password. Grants are the fixed kinds of [`estate::Grant`]; no SQL comes from outside.

pub mod scram;

mod error;
mod port;
mod postgres;
mod role;
mod sql;
mod tls;

pub use error::AccountError;
pub use port::EstateAccounts;
pub use postgres::{Ended, Login, PostgresAccounts};
pub use role::{RoleName, RoleNameError};
pub use tls::AuthorityError;
