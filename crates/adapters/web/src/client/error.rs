//! Why there is no answer, or none to be used.

use server::Code;

use super::Address;

/// No answer, or none to be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Fault: the caller.
    #[error("`{address}` is asked over TLS: the trust domain's root certificate is needed")]
    NoRoot {
        /// The server.
        address: Address,
    },
    /// Fault: the caller.
    #[error("the {what} can't be read")]
    Pem {
        /// Which file.
        what: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// Fault: the caller: certificate and key do not fit, or are none that TLS can use.
    #[error("certificate, key or root can't be used")]
    Tls(#[source] rustls::Error),
    /// Fault: the server, or the way to it.
    #[error("the server `{address}` can't be reached")]
    Unreachable {
        /// The server.
        address: Address,
        /// Why.
        source: std::io::Error,
    },
    /// Fault: the server, or the way to it.
    #[error("the server `{0}` did not answer in time")]
    Slow(Address),
    /// Fault: the server, or the way to it.
    #[error("the answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Fault: see the code.
    #[error("{message}")]
    Refused {
        /// Stable code.
        code: Code,
        /// The server's words.
        message: String,
        /// The leaf of the refusal, where there is one.
        leaf: Option<u64>,
    },
    /// Fault: the server: no answer of this API.
    #[error("the answer can't be read (HTTP status {status})")]
    Malformed {
        /// HTTP status.
        status: u16,
    },
    /// Fault: the server: it withholds the proof that the call is on record.
    #[error("the answer has no receipt, so it is not used")]
    NoReceipt,
    /// Fault: the server, or whoever stands between: the receipt proves nothing.
    #[error("the answer's receipt does not verify, so it is not used")]
    BadReceipt(#[source] ReceiptFault),
    /// Fault: ours: the table lacks it.
    #[error("there is no such call")]
    NoCall,
}

/// What is wrong with a receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptFault {
    /// Fault: the server.
    #[error("its leaf is not base64")]
    Leaf,
    /// Fault: the server.
    #[error(transparent)]
    Proof(#[from] tlog::ReceiptError),
    /// Fault: the server.
    #[error("it is for leaf {proved}, not {claimed}")]
    OtherLeaf {
        /// As proved.
        proved: u64,
        /// As claimed.
        claimed: u64,
    },
}
