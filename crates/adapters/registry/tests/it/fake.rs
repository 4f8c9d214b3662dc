//! A registry in this process that behaves, or misbehaves as told.

mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use estate::Digest;
use registry::{Options, Reference};

/// What the registry does wrong, or demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    /// Announces the whole blob and hangs up in the middle.
    TruncatesBlobs,
    /// Sends a blob without its length, and too much of it.
    SendsMore,
    /// Sends as many bytes, but others.
    FlipsABit,
    /// Announces another length than the blob has.
    LiesAboutLength,
    /// Answers everything with this status.
    Status(u16),
    /// A manifest that never ends.
    EndlessManifest,
    /// Answers a digest with another manifest.
    OtherManifest,
    /// Wants a token, which costs a name and a password.
    Bearer,
    /// Wants a name and a password.
    Basic,
    /// Wants a token and then refuses it.
    RefusesToken,
    /// Sends for the token to a place without TLS.
    ForeignRealm,
    /// Sends for blobs to a place without TLS.
    RedirectsBlobsAway,
    /// Sends for blobs to another registry on this machine, at this port.
    RedirectsBlobsTo(u16),
    /// Sends uploads to a place without TLS.
    UploadsAway,
    /// Ends uploads in their middle.
    RefusesUploads,
    /// Says it stored something else.
    StoresOther,
    /// Hangs up after 200,000 bytes of a blob, and goes on where it is asked to.
    BreaksBlobs,
    /// The same, but goes on somewhere else.
    WrongRange,
    /// Hangs up after 200,000 bytes once, and then begins anew.
    BeginsAnew,
    /// Takes blobs over from another repository.
    Mounts,
    /// Keeps a list of what names a subject.
    ListsReferrers,
    /// Wants a token, and takes its time to give it.
    SlowToken,
}

#[derive(Default)]
pub(crate) struct Inside {
    pub(crate) blobs: HashMap<String, Vec<u8>>,
    pub(crate) manifests: HashMap<String, (String, Vec<u8>)>,
    pub(crate) uploads: HashMap<String, Vec<u8>>,
    pub(crate) cancelled: usize,
    pub(crate) requests: Vec<String>,
    /// Blobs of another repository.
    pub(crate) elsewhere: HashMap<String, Vec<u8>>,
    /// The next answers: a status, and how long to wait.
    pub(crate) busy: Vec<(u16, &'static str)>,
    /// How many of the next uploads break after a megabyte.
    pub(crate) breaks: usize,
    /// A broken upload is forgotten.
    pub(crate) forgets: bool,
    /// What somebody else writes under a name, right after it is written for the first time.
    pub(crate) overwritten: Option<(String, String)>,
    /// After this many requests it hangs up on whoever asks, without an answer and without doing anything.
    pub(crate) cut_after: Option<usize>,
    answered: usize,
    next: usize,
}

type Shared = Arc<(Mood, Mutex<Inside>)>;

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    shared: Shared,
    runtime: tokio::runtime::Runtime,
}

impl Fake {
    pub(crate) fn start(mood: Mood) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Shared = Arc::new((mood, Mutex::default()));
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            address,
            shared,
            runtime,
        }
    }

    /// The same behind TLS, with a certificate for `localhost`; gives the certificate's authority too.
    pub(crate) fn start_with_tls(mood: Mood) -> (Self, String) {
        let plain = Self::start(mood);
        let (authority, config) = tls::certified("localhost");
        let listener = plain
            .runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&plain.shared));
        let listener = tls::Listener::new(listener, config);
        plain
            .runtime
            .spawn(async move { axum::serve(listener, app).await });
        (Self { address, ..plain }, authority)
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        format!("docker://{}/{rest}", self.address).parse().unwrap()
    }

    pub(crate) fn inside<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.shared.1.lock().unwrap())
    }

    pub(crate) fn put_blob(&self, bytes: &[u8]) -> images::BlobId {
        let id = images::BlobId::of(bytes);
        self.inside(|inside| inside.blobs.insert(id.digest.to_string(), bytes.to_vec()));
        id
    }

    pub(crate) fn put_manifest(&self, tag: &str, media_type: &str, bytes: &[u8]) -> images::BlobId {
        let id = images::BlobId::of(bytes);
        let entry = (media_type.to_owned(), bytes.to_vec());
        self.inside(|inside| {
            inside
                .manifests
                .insert(id.digest.to_string(), entry.clone());
            inside.manifests.insert(tag.to_owned(), entry);
        });
        id
    }

    /// Waits until `done` is true of the inside.
    pub(crate) fn wait_for(&self, done: impl Fn(&Inside) -> bool) {
        for _ in 0..500 {
            if self.inside(|inside| done(inside)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not happen");
    }

    /// Options with a file of credentials for this registry.
    pub(crate) fn with_login(&self, directory: &std::path::Path) -> Options {
        let path = directory.join("auth.json");
        // name:word
        let text = format!(
            r#"{{"auths":{{"{}":{{"auth":"bmFtZTp3b3Jk"}}}}}}"#,
            self.address
        );
        std::fs::write(&path, text).unwrap();
        Options {
            auth_files: vec![directory.join("missing.json"), path],
            ..quick()
        }
    }
}

/// Options without long waits.
pub(crate) fn quick() -> Options {
    Options {
        patience: registry::Patience {
            retries: 2,
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_secs(1),
            ..registry::Patience::default()
        },
        ..Options::default()
    }
}

const LOGIN: &str = "Basic bmFtZTp3b3Jk";
const TOKEN: &str = "Bearer t0ken";

async fn answer(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let (mood, inside) = &*shared;
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let is_cut = {
        let mut inside = inside.lock().unwrap();
        inside.requests.push(format!("{} {path}", parts.method));
        let made = inside.requests.len();
        inside.cut_after.is_some_and(|most| made > most)
    };
    if is_cut {
        // The connection's task ends, and the connection with it; no hook writes about it.
        std::panic::resume_unwind(Box::new("cut"));
    }
    if path == "/token" {
        if *mood == Mood::SlowToken {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let body = axum::body::to_bytes(body, 10_000).await.unwrap();
        return token(&parts.headers, &query, &body);
    }
    if let Some((code, wait)) = inside.lock().unwrap().busy.pop() {
        let mut answer = refuse(StatusCode::from_u16(code).unwrap(), "busy");
        answer
            .headers_mut()
            .insert("retry-after", wait.parse().unwrap());
        return answer;
    }
    if let Some(refusal) = gate(*mood, &parts.headers) {
        return refusal;
    }
    if *mood == Mood::RefusesUploads && parts.method == Method::PATCH {
        let mut body = body.into_data_stream();
        let _ = tokio_stream::StreamExt::next(&mut body).await;
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "too much");
    }
    let breaks = parts.method == Method::PATCH && {
        let mut inside = inside.lock().unwrap();
        let breaks = inside.breaks > 0;
        inside.breaks = inside.breaks.saturating_sub(1);
        breaks
    };
    if breaks {
        return break_upload(inside, &path, body).await;
    }
    // A stream that breaks leaves nothing behind.
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return status(StatusCode::BAD_REQUEST);
    };
    let mut inside = inside.lock().unwrap();
    let Some(rest) = path.strip_prefix("/v2/team/app/") else {
        return status(StatusCode::NOT_FOUND);
    };
    match rest.split_once('/') {
        Some(("manifests", name)) => manifest(
            *mood,
            &mut inside,
            &parts.method,
            name,
            &parts.headers,
            bytes,
        ),
        Some(("referrers", name)) if *mood == Mood::ListsReferrers => referrers(&inside, name),
        Some(("blobs", name)) if name.starts_with("sha256:") => {
            blob(*mood, &mut inside, &parts.method, name, &parts.headers)
        }
        Some(("blobs", name)) => upload(*mood, &mut inside, &parts.method, name, &query, &bytes),
        _ => status(StatusCode::NOT_FOUND),
    }
}

/// Stores a megabyte and no more.
async fn break_upload(inside: &Mutex<Inside>, path: &str, body: Body) -> Response<Body> {
    let mut body = body.into_data_stream();
    let mut stored = Vec::new();
    while stored.len() < 1_000_000 {
        match tokio_stream::StreamExt::next(&mut body).await {
            Some(Ok(piece)) => stored.extend_from_slice(&piece),
            _ => break,
        }
    }
    let session = path.rsplit('/').next().unwrap().to_owned();
    let mut inside = inside.lock().unwrap();
    if inside.forgets {
        inside.uploads.remove(&session);
    } else {
        inside.uploads.get_mut(&session).unwrap().extend(stored);
    }
    refuse(StatusCode::SERVICE_UNAVAILABLE, "broken")
}

fn token(headers: &HeaderMap, query: &str, body: &[u8]) -> Response<Body> {
    let wanted = "grant_type=refresh_token&client_id=bailiwick&service=fake&scope=repository%3Ateam%2Fapp%3Apull%2Cpush&refresh_token=1d";
    if body == wanted.as_bytes() && query.is_empty() {
        return Response::new(Body::from(r#"{"access_token":"t0ken"}"#));
    }
    let known = headers
        .get("authorization")
        .is_some_and(|value| value == LOGIN);
    if !known
        || !query.contains("service=fake")
        || !query.contains("scope=repository%3Ateam%2Fapp%3Apull%2Cpush")
    {
        return refuse(StatusCode::UNAUTHORIZED, "who are you");
    }
    Response::new(Body::from(r#"{"access_token":"t0ken","expires_in":60}"#))
}

fn gate(mood: Mood, headers: &HeaderMap) -> Option<Response<Body>> {
    let sent = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap());
    let host = headers.get("host").unwrap().to_str().unwrap();
    let challenge = |realm: &str| {
        format!(r#"Bearer realm="{realm}",service="fake",scope="repository:team/app:pull,push""#)
    };
    let (wanted, challenge) = match mood {
        Mood::Status(code) => return Some(refuse(StatusCode::from_u16(code).unwrap(), "no\u{7}")),
        Mood::Bearer | Mood::SlowToken => (TOKEN, challenge(&format!("http://{host}/token"))),
        Mood::RefusesToken => ("nothing", challenge(&format!("http://{host}/token"))),
        Mood::ForeignRealm => (TOKEN, challenge("http://auth.example/token")),
        Mood::Basic => (LOGIN, "Basic realm=\"fake\"".to_owned()),
        _ => return None,
    };
    if sent == Some(wanted) {
        return None;
    }
    let mut answer = refuse(StatusCode::UNAUTHORIZED, "authentication required");
    answer
        .headers_mut()
        .insert("www-authenticate", challenge.parse().unwrap());
    Some(answer)
}

fn manifest(
    mood: Mood,
    inside: &mut Inside,
    method: &Method,
    name: &str,
    headers: &HeaderMap,
    bytes: Bytes,
) -> Response<Body> {
    if method == Method::PUT {
        let media_type = headers
            .get("content-type")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let digest = Digest::of(&bytes).to_string();
        inside
            .manifests
            .insert(digest.clone(), (media_type.clone(), bytes.to_vec()));
        inside
            .manifests
            .insert(name.to_owned(), (media_type, bytes.to_vec()));
        if let Some((_, other)) = inside.overwritten.take_if(|(tag, _)| tag == name) {
            let entry = (images::media::OCI_INDEX.to_owned(), other.into_bytes());
            inside.manifests.insert(name.to_owned(), entry);
        }
        let told = if mood == Mood::StoresOther {
            Digest::of("other").to_string()
        } else {
            digest
        };
        return Response::builder()
            .status(201)
            .header("docker-content-digest", told)
            .header(
                if mood == Mood::ListsReferrers {
                    "oci-subject"
                } else {
                    "x-nothing"
                },
                subject(&bytes).unwrap_or_default(),
            )
            .body(Body::empty())
            .unwrap();
    }
    if mood == Mood::EndlessManifest {
        let chunks =
            std::iter::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 65536])));
        return Response::new(Body::from_stream(tokio_stream::iter(chunks)));
    }
    let found = if mood == Mood::OtherManifest {
        inside.manifests.values().next()
    } else {
        inside.manifests.get(name)
    };
    match found {
        Some((media_type, bytes)) => Response::builder()
            .header("content-type", format!("{media_type}; charset=utf-8"))
            .body(Body::from(bytes.clone()))
            .unwrap(),
        None => refuse(StatusCode::NOT_FOUND, "unknown"),
    }
}

fn subject(manifest: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(manifest).ok()?;
    Some(json["subject"]["digest"].as_str()?.to_owned())
}

fn referrers(inside: &Inside, digest: &str) -> Response<Body> {
    let named = inside.manifests.iter().filter(|(name, (_, bytes))| {
        name.starts_with("sha256:") && subject(bytes).as_deref() == Some(digest)
    });
    let entries: Vec<serde_json::Value> = named
        .map(|(name, (media_type, bytes))| {
            let json: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            serde_json::json!({"mediaType": media_type, "digest": name, "size": bytes.len(), "artifactType": json["artifactType"]})
        })
        .collect();
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": images::media::OCI_INDEX, "manifests": entries});
    Response::builder()
        .header("content-type", images::media::OCI_INDEX)
        .body(Body::from(list.to_string()))
        .unwrap()
}

fn blob(
    mood: Mood,
    inside: &mut Inside,
    method: &Method,
    name: &str,
    headers: &HeaderMap,
) -> Response<Body> {
    inside.answered += 1;
    let first = inside.answered == 1;
    let Some(bytes) = inside.blobs.get(name) else {
        return refuse(StatusCode::NOT_FOUND, "unknown");
    };
    if method == Method::HEAD {
        return Response::builder()
            .header("content-length", bytes.len())
            .body(Body::empty())
            .unwrap();
    }
    let mut bytes = bytes.clone();
    let parts =
        |parts: Vec<Result<Vec<u8>, std::io::Error>>| Body::from_stream(tokio_stream::iter(parts));
    match mood {
        Mood::TruncatesBlobs => {
            let length = bytes.len();
            bytes.truncate(length / 2);
            let body = parts(vec![Ok(bytes), Err(std::io::ErrorKind::BrokenPipe.into())]);
            Response::builder()
                .header("content-length", length)
                .body(body)
                .unwrap()
        }
        Mood::BreaksBlobs | Mood::WrongRange | Mood::BeginsAnew => {
            let length = bytes.len();
            let range = headers.get("range").filter(|_| mood != Mood::BeginsAnew);
            let from = range.map_or(0, |range| {
                let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
                range.strip_suffix('-').unwrap().parse::<usize>().unwrap()
            });
            let rest = bytes.split_off(from);
            let whole = mood == Mood::BeginsAnew && !first || rest.len() <= 200_000;
            let sent = if whole { rest.len() } else { 200_000 };
            let mut pieces = vec![Ok(rest[..sent].to_vec())];
            if !whole {
                pieces.push(Err(std::io::ErrorKind::BrokenPipe.into()));
            }
            let answer = Response::builder().header("content-length", rest.len());
            let told = if mood == Mood::WrongRange {
                from + 1
            } else {
                from
            };
            let answer = match range {
                Some(_) => answer.status(206).header(
                    "content-range",
                    format!("bytes {told}-{}/{length}", length - 1),
                ),
                None => answer,
            };
            // What was written before the end has to leave before it comes.
            let pieces = tokio_stream::StreamExt::then(
                tokio_stream::iter(pieces),
                |piece: Result<Vec<u8>, std::io::Error>| async move {
                    if piece.is_err() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    piece
                },
            );
            answer.body(Body::from_stream(pieces)).unwrap()
        }
        Mood::SendsMore => Response::new(parts(vec![Ok(bytes), Ok(b"more".to_vec())])),
        Mood::LiesAboutLength => {
            bytes.push(0);
            Response::new(Body::from(bytes))
        }
        Mood::FlipsABit => {
            bytes[0] ^= 1;
            Response::new(Body::from(bytes))
        }
        Mood::RedirectsBlobsAway => redirect("http://cdn.example/blob"),
        Mood::RedirectsBlobsTo(port) => {
            redirect(&format!("http://127.0.0.1:{port}/v2/team/app/blobs/{name}"))
        }
        _ => Response::new(Body::from(bytes)),
    }
}

fn upload(
    mood: Mood,
    inside: &mut Inside,
    method: &Method,
    name: &str,
    query: &str,
    bytes: &Bytes,
) -> Response<Body> {
    let at = |location: String| {
        Response::builder()
            .status(202)
            .header("location", location)
            .body(Body::empty())
            .unwrap()
    };
    let session = name.trim_start_matches("uploads/").to_owned();
    match *method {
        Method::POST if mood == Mood::UploadsAway => at("http://cdn.example/upload".to_owned()),
        Method::POST if mood == Mood::Mounts && query.starts_with("mount=") => {
            let digest = query["mount=".len()..].replace("%3A", ":");
            let digest = digest.strip_suffix("&from=team%2Fbase").unwrap().to_owned();
            match inside.elsewhere.get(&digest).cloned() {
                Some(bytes) => {
                    inside.blobs.insert(digest, bytes);
                    status(StatusCode::CREATED)
                }
                None => at("/v2/team/app/blobs/uploads/0".to_owned()),
            }
        }
        Method::GET => match inside.uploads.get(&session) {
            Some(stored) => Response::builder()
                .status(204)
                .header("location", format!("{session}?state=1"))
                .header("range", format!("0-{}", stored.len().saturating_sub(1)))
                .body(Body::empty())
                .unwrap(),
            None => refuse(StatusCode::NOT_FOUND, "no such upload"),
        },
        Method::POST => {
            inside.next += 1;
            let session = inside.next.to_string();
            inside.uploads.insert(session.clone(), Vec::new());
            at(format!("/v2/team/app/blobs/uploads/{session}?state=1"))
        }
        Method::PATCH => {
            inside
                .uploads
                .get_mut(&session)
                .unwrap()
                .extend_from_slice(bytes);
            at(format!("{session}?state=2"))
        }
        Method::PUT => {
            let stored = inside.uploads.remove(&session).unwrap();
            let digest = Digest::of(&stored).to_string();
            if query != format!("state=2&digest={}", digest.replace(':', "%3A")) {
                return refuse(StatusCode::BAD_REQUEST, "digest invalid");
            }
            inside.blobs.insert(digest, stored);
            let mut answer = status(StatusCode::CREATED);
            if mood == Mood::StoresOther {
                answer.headers_mut().insert(
                    "docker-content-digest",
                    Digest::of("other").to_string().parse().unwrap(),
                );
            }
            answer
        }
        Method::DELETE => {
            inside.uploads.remove(&session);
            inside.cancelled += 1;
            status(StatusCode::NO_CONTENT)
        }
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    }
}

fn status(status: StatusCode) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(Body::empty())
        .unwrap()
}

fn redirect(location: &str) -> Response<Body> {
    Response::builder()
        .status(307)
        .header("location", location)
        .body(Body::empty())
        .unwrap()
}

fn refuse(code: StatusCode, message: &str) -> Response<Body> {
    let text = format!(
        r#"{{"errors":[{{"code":"X","message":"{}"}}]}}"#,
        message
            .escape_default()
            .to_string()
            .replace("\\u{7}", "\\u0007")
    );
    Response::builder()
        .status(code)
        .body(Body::from(text))
        .unwrap()
}
