//! What goes back: data with the receipt of its leaf, or a stable code with a short text. The whole chain of an error is
//! for the log alone.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use ledger::{Commitment, JournalError, NotRecorded, NotReleased};
use serde::Serialize;
use server::{
    Code,
    govern::GovernError,
    nodes::{NodeError, chain},
    ports::StoreError,
    trail::TrailError,
};

use crate::wire;

/// A success.
pub(crate) enum Reply {
    /// Data, with the receipt of the leaf that the call wrote.
    Data {
        data: serde_json::Value,
        commitment: Option<Commitment>,
    },
    /// Bytes that are a format of their own.
    Bytes {
        media_type: &'static str,
        bytes: Vec<u8>,
    },
}

/// A failure, in two texts.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
    log: String,
    commitment: Option<Box<Commitment>>,
}

impl Reply {
    /// Data, with the leaf's commitment where the server hands it on.
    pub(crate) fn new(
        data: impl Serialize,
        commitment: impl Into<Option<Commitment>>,
    ) -> Result<Self, Failure> {
        let data = serde_json::to_value(data).map_err(|error| Failure::broken(&error))?;
        Ok(Self::Data {
            data,
            commitment: commitment.into(),
        })
    }
}

impl Failure {
    pub(crate) fn new(code: Code, message: String) -> Self {
        Self {
            code,
            log: message.clone(),
            message,
            commitment: None,
        }
    }

    pub(crate) fn malformed(message: String) -> Self {
        Self::new(Code::Malformed, message)
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(
            Code::Unauthenticated,
            "a client certificate, or root on the local socket, is needed".to_owned(),
        )
    }

    pub(crate) fn not_found(kind: &str, name: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("there is no {kind} `{name}`"))
    }

    pub(crate) fn broken(error: &dyn std::error::Error) -> Self {
        Self {
            log: chain(error),
            ..Self::new(
                Code::Broken,
                "the server failed; its log says how".to_owned(),
            )
        }
    }

    pub(crate) fn on_record(self, commitment: Commitment) -> Self {
        Self {
            commitment: Some(Box::new(commitment)),
            ..self
        }
    }

    /// The caller's words are the error's own; its causes go to the log.
    fn of(code: Code, error: &dyn std::error::Error) -> Self {
        Self {
            log: chain(error),
            ..Self::new(code, error.to_string())
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) => Self {
                log: chain(&error),
                ..Self::new(Code::Unavailable, "the store is not available".to_owned())
            },
            _ => Self::broken(&error),
        }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        match &error {
            JournalError::Unavailable(_) | JournalError::Uncertain => {
                let message = "the ledger could not be written, so nothing is answered".to_owned();
                Self {
                    log: chain(&error),
                    ..Self::new(Code::Unavailable, message)
                }
            }
            JournalError::Distrusted(why) => Self::new(Code::Unavailable, why.clone()),
            _ => Self::broken(&error),
        }
    }
}

impl From<NotRecorded> for Failure {
    fn from(error: NotRecorded) -> Self {
        match error {
            NotRecorded::Refused(refusal) => {
                Self::new(Code::Conflict, refusal.guard.failure().to_owned())
                    .on_record(refusal.commitment)
            }
            NotRecorded::Unavailable(error) => error.into(),
        }
    }
}

impl From<TrailError> for Failure {
    fn from(error: TrailError) -> Self {
        match error {
            TrailError::Store(error) => error.into(),
            TrailError::NotRecorded(error) => error.into(),
            error @ TrailError::NotFound(_) => Self::of(Code::NotFound, &error),
            error => Self::broken(&error),
        }
    }
}

impl From<GovernError> for Failure {
    fn from(error: GovernError) -> Self {
        match error {
            GovernError::Store(error) => error.into(),
            GovernError::NotRecorded(error) => error.into(),
            error @ GovernError::Conflict(_) => Self::of(Code::Conflict, &error),
            error @ GovernError::NotFound { .. } => Self::of(Code::NotFound, &error),
            error @ GovernError::NoSay(_) => Self::of(Code::Forbidden, &error),
            error @ (GovernError::World(_)
            | GovernError::KeptByServer(_)
            | GovernError::NotApproved(_)
            | GovernError::Promotion(_)
            | GovernError::Tests(_)
            | GovernError::WouldRemove(_)
            | GovernError::Secret(_)) => Self::of(Code::Invalid, &error),
            error => Self::broken(&error),
        }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Store(error) => error.into(),
            NodeError::NotRecorded(error) => error.into(),
            NodeError::NotReleased(NotReleased::Unavailable(error)) => error.into(),
            NodeError::Refused { error, commitment } => {
                Self::of(Code::Denied, &error).on_record(*commitment)
            }
            error @ NodeError::Distrusted(_) => Self::of(Code::Unavailable, &error),
            error @ NodeError::NotReleased(_) => Self::of(Code::Denied, &error),
            error @ NodeError::Unknown(_) => Self::of(Code::NotFound, &error),
            error => Self::broken(&error),
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Data { data, commitment } => {
                let answer = wire::Answer {
                    data,
                    receipt: commitment.as_ref().map(Into::into),
                };
                respond(
                    StatusCode::OK,
                    "application/json",
                    serde_json::to_vec(&answer).unwrap_or_default(),
                )
            }
            Self::Bytes { media_type, bytes } => respond(StatusCode::OK, media_type, bytes),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self {
            code,
            message,
            log,
            commitment,
        } = self;
        let row = code.row();
        // Quoted and escaped: a caller's words must not make a line of their own.
        match row.fault {
            server::Fault::Server => {
                tracing::error!(code = row.name, error = ?log, "request failed")
            }
            server::Fault::Caller | server::Fault::Nobody => {
                tracing::info!(code = row.name, error = ?log, "request refused");
            }
        }
        let refusal = wire::Refusal {
            code: row.name.to_owned(),
            message,
            receipt: commitment.as_deref().map(Into::into),
        };
        let status = StatusCode::from_u16(row.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        respond(
            status,
            "application/json",
            serde_json::to_vec(&refusal).unwrap_or_default(),
        )
    }
}

fn respond(status: StatusCode, media_type: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    // What is true of a person's rights now may not be true of the next reader's.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
