//! A provider behind ttrpc on a Unix socket: one request, one response, each behind ten bytes of header.
//!
//! Framing as in ttrpc's PROTOCOL.md: length and stream in four bytes each, high byte first, then type and flags.

use std::path::Path;
use std::time::Duration;

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use crate::error::ProviderError;
use crate::grpc::{Envelope, SERVICE, kind, method};
use crate::protocol::Operation;
use crate::provider::LONGEST_ANSWER;
use crate::said::said;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
    #[prost(int64, tag = "4")]
    timeout_nano: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Asks, on a connection of its own.
pub(crate) async fn ask(
    socket: &Path,
    operation: Operation,
    question: &[u8],
    patience: Duration,
    secrets: &[&[u8]],
) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let broken = |source| ProviderError::Unreachable {
        address: format!("unix://{}", socket.display()),
        source,
    };
    let mut stream = UnixStream::connect(socket).await.map_err(broken)?;
    let frame = request(operation, question, patience);
    stream.write_all(&frame).await.map_err(broken)?;
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).await.map_err(broken)?;
    let mut body = Zeroizing::new(vec![0; length_of_response(head)?]);
    stream.read_exact(&mut body).await.map_err(broken)?;
    response(&body, secrets)
}

fn request(operation: Operation, question: &[u8], patience: Duration) -> Zeroizing<Vec<u8>> {
    let payload = Zeroizing::new(
        Envelope {
            json: question.to_vec(),
        }
        .encode_to_vec(),
    );
    let request = Request {
        service: SERVICE.to_owned(),
        method: method(operation).to_owned(),
        payload: payload.to_vec(),
        timeout_nano: i64::try_from(patience.as_nanos()).unwrap_or(i64::MAX),
    };
    let body = Zeroizing::new(request.encode_to_vec());
    // A body of more than 4 GiB can't come together: packets and options are bounded before.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = Zeroizing::new(Vec::with_capacity(HEADER + body.len()));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&STREAM.to_be_bytes());
    frame.extend_from_slice(&[REQUEST, 0]);
    frame.extend_from_slice(&body);
    frame
}

/// The length behind a header, bounded before room is made.
fn length_of_response(head: [u8; HEADER]) -> Result<usize, ProviderError> {
    let [a, b, c, d, e, f, g, h, kind, _flags] = head;
    let stream = u32::from_be_bytes([e, f, g, h]);
    if stream != STREAM || kind != RESPONSE {
        return Err(ProviderError::Framing);
    }
    match usize::try_from(u32::from_be_bytes([a, b, c, d])) {
        Ok(length) if length <= LONGEST_ANSWER => Ok(length),
        _ => Err(ProviderError::TooLong {
            limit: LONGEST_ANSWER,
        }),
    }
}

fn response(body: &[u8], secrets: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let Response { status, payload } =
        Response::decode(body).map_err(|_| ProviderError::Framing)?;
    let payload = Zeroizing::new(payload);
    if let Some(Status { code, message }) = status.filter(|status| status.code != 0) {
        let code = tonic::Code::from_i32(code);
        return Err(ProviderError::Refused {
            code: format!("{code:?}"),
            kind: kind(code),
            said: said(message.as_bytes(), secrets),
        });
    }
    let Envelope { json } =
        Envelope::decode(payload.as_slice()).map_err(|_| ProviderError::Framing)?;
    Ok(Zeroizing::new(json))
}

const HEADER: usize = 10;
/// Streams that a client opens are odd.
const STREAM: u32 = 1;
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

#[cfg(test)]
mod tests {
    use images::Kind;

    use super::*;

    #[test]
    fn a_request_is_framed_as_the_specification_says() {
        let frame = request(Operation::Unwrap, b"json", Duration::from_secs(1));
        let (head, body) = frame.split_at(HEADER);
        let length = u8::try_from(body.len()).unwrap();
        assert_eq!(head, [0, 0, 0, length, 0, 0, 0, 1, 1, 0]);
        let request = Request::decode(body).unwrap();
        assert_eq!(request.service, "keyprovider.KeyProviderService");
        assert_eq!(request.method, "UnWrapKey");
        assert_eq!(request.payload, b"\x0a\x04json");
        assert_eq!(request.timeout_nano, 1_000_000_000);
    }

    #[test]
    fn headers_of_others_and_endless_bodies_are_refused() {
        assert_eq!(
            length_of_response([0, 0, 1, 0, 0, 0, 0, 1, 2, 0]).unwrap(),
            256
        );
        for other in [
            [0, 0, 0, 9, 0, 0, 0, 3, 2, 0],
            [0, 0, 0, 9, 0, 0, 0, 1, 3, 0],
            *b"HTTP/1.1 4",
        ] {
            assert!(matches!(
                length_of_response(other),
                Err(ProviderError::Framing)
            ));
        }
        let endless = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 2, 0];
        assert!(matches!(
            length_of_response(endless),
            Err(ProviderError::TooLong { .. })
        ));
    }

    #[test]
    fn a_status_is_a_refusal_even_beside_a_payload() {
        let body = Response {
            status: Some(Status {
                code: 7,
                message: "no\u{1b}".to_owned(),
            }),
            payload: Envelope {
                json: b"{}".to_vec(),
            }
            .encode_to_vec(),
        };
        let error = response(&body.encode_to_vec(), &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert_eq!(
            error.to_string(),
            "it answered with `PermissionDenied` and said: no\u{fffd}"
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_bodies_are_errors_or_bytes(body: Vec<u8>, head: [u8; HEADER]) {
            let _ = response(&body, &[]);
            let _ = length_of_response(head);
        }
    }
}
