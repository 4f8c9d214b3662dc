//! What can go wrong with a database, told apart by whose fault it is and whether another try may help.

use crate::role::RoleName;
use crate::tls::AuthorityError;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Fault: whoever configured the database.
    #[error(
        "the address of a database is `postgresql://host:port/database`, without user, password or options"
    )]
    Address,
    /// Fault: whoever configured the database.
    #[error("the database's authority cannot be used")]
    Authority(#[source] AuthorityError),
    /// Fault: the database's, or of whoever poses as it. Not retried.
    #[error("the database does not prove who it is")]
    Untrusted(#[source] tokio_postgres::Error),
    /// Fault: the dependency. Retried with back-off; every operation may be repeated.
    #[error("the database does not answer")]
    Unavailable(#[source] tokio_postgres::Error),
    /// Fault: whoever set up the login.
    #[error("the login of the database is refused")]
    LoginRefused(#[source] tokio_postgres::Error),
    /// Fault: whoever set up the login.
    #[error("the login of the database may not {missing}")]
    LoginWeak {
        /// The right that it lacks.
        missing: &'static str,
    },
    /// Fault: whoever made that role by hand.
    #[error("role `{role}` exists and may more than a role for a lease")]
    Taken {
        /// The role.
        role: RoleName,
    },
    /// Fault: whoever wrote the grants, or the login's, which may not give them.
    #[error("the database refused to {operation} role `{role}`")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// The role.
        role: RoleName,
        /// The database's words.
        source: tokio_postgres::Error,
    },
    /// Fault: the database's; the role can open no new session. Retried.
    #[error("{sessions} sessions of role `{role}` have not ended yet")]
    SessionsRemain {
        /// The role.
        role: RoleName,
        /// How many.
        sessions: i64,
    },
}

/// For an error while connecting.
pub(crate) fn unconnected(error: tokio_postgres::Error) -> AccountError {
    let class = error
        .code()
        .map(|code| code.code().to_owned())
        .unwrap_or_default();
    if class.starts_with("28") {
        AccountError::LoginRefused(error)
    } else if is_untrusted(&error) {
        AccountError::Untrusted(error)
    } else {
        AccountError::Unavailable(error)
    }
}

/// For an error of a statement about a role.
pub(crate) fn refused(
    operation: &'static str,
    role: &RoleName,
    source: tokio_postgres::Error,
) -> AccountError {
    if is_passing(&source) {
        AccountError::Unavailable(source)
    } else {
        AccountError::Refused {
            operation,
            role: role.clone(),
            source,
        }
    }
}

/// For an error of a statement that asks only.
pub(crate) fn unavailable(source: tokio_postgres::Error) -> AccountError {
    AccountError::Unavailable(source)
}

/// Whether another try may help: no answer, lost connection, conflict, shortage, interruption.
fn is_passing(error: &tokio_postgres::Error) -> bool {
    error.code().is_none_or(|code| {
        ["08", "40", "53", "55", "57"]
            .iter()
            .any(|class| code.code().starts_with(class))
    })
}

/// Whether the server failed to prove itself: no TLS, a wrong certificate, or a login that it would not bind to that certificate.
/// The client's errors tell their kind by text alone; a connection that merely broke is none of these.
fn is_untrusted(error: &tokio_postgres::Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    match error.to_string().as_str() {
        "authentication error" => true,
        "error performing TLS handshake" => cause.is_none_or(|cause| {
            cause
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>())
        }),
        _ => false,
    }
}
