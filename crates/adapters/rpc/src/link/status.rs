//! What a gRPC status means for a node, and deadlines.

use std::{future::Future, time::Duration};

use agent::ports::LinkError;
use tokio::time::timeout;
use tonic::{Code, Request, Status};

use super::dial::chain;

/// Waits for an answer as long as any call may take.
pub(super) async fn answered<T>(
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, LinkError> {
    match timeout(CALL_LIMIT, call).await {
        Ok(answer) => answer.map_err(link_error),
        Err(_) => Err(LinkError::Unavailable("no answer within the time".into())),
    }
}

/// A request that says how long its answer is waited for.
pub(super) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_LIMIT);
    request
}

/// Sorts a status by whose fault it is.
pub(super) fn link_error(status: Status) -> LinkError {
    let text = printable(status.message());
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition => {
            LinkError::Refused(text)
        }
        Code::InvalidArgument | Code::NotFound | Code::AlreadyExists => LinkError::Request(text),
        // `OutOfRange` is our own side's: a message that is too large.
        Code::Unimplemented | Code::DataLoss | Code::OutOfRange | Code::Ok => {
            LinkError::Protocol(text)
        }
        _ if text.is_empty() => LinkError::Unavailable(printable(&chain(&status))),
        _ => LinkError::Unavailable(text),
    }
}

pub(super) fn protocol(what: &str) -> LinkError {
    LinkError::Protocol(what.to_owned())
}

/// A server's words, fit for one line of a log.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_TEXT)
        .collect()
}

const CALL_LIMIT: Duration = Duration::from_secs(10);
const MAX_TEXT: usize = 500;
