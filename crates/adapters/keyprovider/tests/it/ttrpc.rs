//! Providers behind ttrpc: a fake that speaks bytes, so that it can lie in each of them.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use images::{KeyService, Kind};
use prost::Message;

use crate::{PATIENT, fails, provider, wrap};

/// A message with one member of bytes.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(bytes = "vec", tag = "1")]
    json: Vec<u8>,
}

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

/// Listens, and gives each connection to `answer`.
struct Fake(tempfile::TempDir);

impl Fake {
    fn start(answer: impl Fn(&mut UnixStream) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("kms.sock")).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&mut stream.unwrap());
            }
        });
        Self(folder)
    }

    fn provider(&self, patience: Duration) -> std::sync::Arc<dyn KeyService> {
        let socket = self.0.path().join("kms.sock");
        provider(
            &format!(r#"{{"ttrpc":"unix://{}"}}"#, socket.display()),
            patience,
        )
    }
}

fn read_request(stream: &mut UnixStream) -> Request {
    let mut head = [0; 10];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[4..], [0, 0, 0, 1, 1, 0]);
    let length = u32::from_be_bytes(head[..4].try_into().unwrap());
    let mut body = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut body).unwrap();
    Request::decode(body.as_slice()).unwrap()
}

fn write(stream: &mut UnixStream, head: [u8; 6], body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let _ = stream.write_all(&[&length, &head[..], body].concat());
}

/// Stream 1, a response, no flags.
const RESPONSE: [u8; 6] = [0, 0, 0, 1, 2, 0];

fn response(json: &str) -> Vec<u8> {
    let payload = Envelope {
        json: json.as_bytes().to_vec(),
    };
    Response {
        status: None,
        payload: payload.encode_to_vec(),
    }
    .encode_to_vec()
}

#[test]
fn it_wraps_and_opens_in_arrays_as_the_rust_side_writes_them() {
    let fake = Fake::start(|stream| {
        let request = read_request(stream);
        assert_eq!(request.service, "keyprovider.KeyProviderService");
        assert!(request.timeout_nano > 0);
        let asked = Envelope::decode(request.payload.as_slice()).unwrap().json;
        let asked = String::from_utf8(asked).unwrap();
        let answer = match request.method.as_str() {
            "WrapKey" if asked.contains(r#""op":"keywrap""#) => {
                r#"{"keywrapresults":{"annotation":[1,2,3]},"keyunwrapresults":null}"#
            }
            "UnWrapKey" if asked.contains(r#""annotation":"AQID""#) => {
                r#"{"keywrapresults":{"annotation":[]},"keyunwrapresults":{"optsdata":[123,125]}}"#
            }
            other => panic!("{other} with {asked}"),
        };
        write(stream, RESPONSE, &response(answer));
    });
    let kms = fake.provider(PATIENT);
    assert_eq!(wrap(&*kms).unwrap(), [1, 2, 3]);
    assert_eq!(*kms.unwrap(&[], &[1, 2, 3]).unwrap(), *b"{}");
}

#[test]
fn a_status_is_a_refusal_with_its_own_exit_code() {
    for (code, kind) in [
        (7, Kind::Denied),
        (14, Kind::Unavailable),
        (2, Kind::Failed),
        (99, Kind::Failed),
    ] {
        let fake = Fake::start(move |stream| {
            let asked = read_request(stream);
            let message = String::from_utf8_lossy(&asked.payload).into_owned();
            let message = if code == 2 {
                message
            } else {
                "not you".to_owned()
            };
            let status = Some(Status { code, message });
            let payload = Vec::new();
            write(
                stream,
                RESPONSE,
                &Response { status, payload }.encode_to_vec(),
            );
        });
        let says = if code == 2 { "withheld" } else { "not you" };
        fails(wrap(&*fake.provider(PATIENT)), kind, says);
    }
}

#[test]
fn other_streams_types_and_bodies_are_refused() {
    let good = response(r#"{"keywrapresults":{"annotation":[1]}}"#);
    let cases: [([u8; 6], Vec<u8>, &str); 5] = [
        ([0, 0, 0, 3, 2, 0], good.clone(), "speak ttrpc"),
        ([0, 0, 0, 1, 3, 0], good, "speak ttrpc"),
        (RESPONSE, vec![0xff; 9], "speak ttrpc"),
        (RESPONSE, Vec::new(), "answer is"),
        (RESPONSE, response("{\"keywrapresults\":7}"), "answer is"),
    ];
    for (head, body, says) in cases {
        let fake = Fake::start(move |stream| {
            let _ = read_request(stream);
            write(stream, head, &body);
        });
        fails(wrap(&*fake.provider(PATIENT)), Kind::Failed, says);
    }
}

#[test]
fn endless_cut_and_absent_answers_end() {
    let fake = Fake::start(|stream| {
        let _ = read_request(stream);
        let _ = stream.write_all(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 2, 0]);
    });
    fails(wrap(&*fake.provider(PATIENT)), Kind::Failed, "longer than");
    let fake = Fake::start(|stream| {
        let _ = read_request(stream);
        let _ = stream.write_all(&[0, 0, 0, 9, 0, 0, 0, 1, 2, 0, 1]);
    });
    fails(
        wrap(&*fake.provider(PATIENT)),
        Kind::Unavailable,
        "can't be spoken to",
    );
    let fake = Fake::start(|_| thread::sleep(PATIENT));
    let hasty = Duration::from_millis(300);
    fails(
        wrap(&*fake.provider(hasty)),
        Kind::Unavailable,
        "did not answer",
    );
    let nobody = provider(r#"{"ttrpc":"unix:///nonexistent/kms.sock"}"#, PATIENT);
    fails(wrap(&*nobody), Kind::Unavailable, "/nonexistent/kms.sock");
}
