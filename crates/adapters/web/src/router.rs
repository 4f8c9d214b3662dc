//! Routes made from the table: whoever calls is known, within limits and let in before a handler sees anything.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Query, RawPathParams, Request, State},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use ledger::{Act, ActKind};
use server::{
    Code, Server,
    ports::{DatabaseAccounts, Store},
};
use tokio::time::{Duration, timeout};

use crate::{
    access::{Caller, is_allowed},
    answer::{Failure, Reply},
    ask::Ask,
    endpoints::{Authentication, ENDPOINTS, Endpoint, Method},
    handlers::handle,
};

/// What both doors serve.
pub struct Api<S, A> {
    pub(crate) server: Arc<Server<S, A>>,
    /// What is counted, not recorded.
    pub counters: Counters,
}

/// Failures of callers that nobody knows: numbers only, or anybody could fill the ledger.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests without a credential where one is needed.
    pub unauthenticated: AtomicU64,
    /// Connections that failed before any request.
    pub handshakes: AtomicU64,
}

impl<S: Store, A: DatabaseAccounts + 'static> Api<S, A> {
    /// The API of a server.
    pub fn new(server: Arc<Server<S, A>>) -> Arc<Self> {
        Arc::new(Self {
            server,
            counters: Counters::default(),
        })
    }

    /// A route for each row of the table, and nothing else.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        let mut router = Router::new();
        for endpoint in &ENDPOINTS {
            let route = move |State(api): State<Arc<Self>>,
                              parameters: RawPathParams,
                              request: Request| async move {
                match api.enter(endpoint, &parameters, request).await {
                    Ok(reply) => reply.into_response(),
                    Err(failure) => failure.into_response(),
                }
            };
            router = router.route(endpoint.path, on(filter(endpoint.method), route));
        }
        router
            .fallback(|| async { refuse(Code::NotFound, "there is no such endpoint") })
            .method_not_allowed_fallback(|| async {
                refuse(Code::NotFound, "the endpoint has no such method")
            })
            .with_state(Arc::clone(self))
    }

    async fn enter(
        self: &Arc<Self>,
        endpoint: &'static Endpoint,
        parameters: &RawPathParams,
        request: Request,
    ) -> Result<Reply, Failure> {
        let caller = request
            .extensions()
            .get::<Caller>()
            .cloned()
            .unwrap_or(Caller::Unknown);
        self.authenticate(endpoint, &caller)?;
        let parameters = parameters
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let (path, query) = (request.uri().path().to_owned(), query_of(&request)?);
        let body = body_of(request.into_body()).await?;
        let ask = Ask::new(endpoint, caller, &path, parameters, query, body)?;
        self.authorise(endpoint, &ask).await?;
        // A task of its own: a caller that hangs up must not leave an act recorded and half done.
        let api = Arc::clone(self);
        let task = tokio::spawn(async move { handle(&api.server, endpoint.call, &ask).await });
        task.await.map_err(|error| Failure::broken(&error))?
    }

    fn authenticate(&self, endpoint: &Endpoint, caller: &Caller) -> Result<(), Failure> {
        let known = match caller {
            Caller::Unknown => false,
            Caller::LocalRoot => true,
            Caller::Person { not_after, .. } => self.server.now() < *not_after,
        };
        if known || endpoint.authentication == Authentication::Public {
            return Ok(());
        }
        self.counters
            .unauthenticated
            .fetch_add(1, Ordering::Relaxed);
        Err(Failure::unauthenticated())
    }

    /// A known caller without the right is on record before being told.
    async fn authorise(&self, endpoint: &Endpoint, ask: &Ask) -> Result<(), Failure> {
        if endpoint.authentication == Authentication::Public
            || is_allowed(&self.server, endpoint, ask).await?
        {
            return Ok(());
        }
        let act = Act::new(ActKind::AdminRefused, ask.actor()?)
            .field(
                "endpoint",
                format!("{} {}", endpoint.method.as_str(), endpoint.path),
            )
            .field("what", ask.line.clone());
        let logged = self.server.ledger().record(act).await?;
        let failure = Failure::new(
            Code::Forbidden,
            "your teams do not permit this; the attempt is on record".to_owned(),
        );
        Err(failure.on_record(logged.commitment().clone()))
    }
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Put => MethodFilter::PUT,
        Method::Post => MethodFilter::POST,
    }
}

fn query_of(request: &Request) -> Result<Vec<(String, String)>, Failure> {
    Query::<Vec<(String, String)>>::try_from_uri(request.uri())
        .map(|Query(query)| query)
        .map_err(|_| Failure::malformed("the query can't be read".to_owned()))
}

async fn body_of(body: Body) -> Result<Vec<u8>, Failure> {
    let too_long = || {
        Failure::malformed(format!(
            "a body of at most {} MiB is wanted",
            MAX_BODY >> 20
        ))
    };
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > MAX_BODY) {
        return Err(too_long());
    }
    let read = timeout(BODY_TIME, axum::body::to_bytes(body, MAX_BODY)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes.to_vec()),
        Ok(Err(_)) => Err(too_long()),
        Err(_) => Err(Failure::malformed("the body took too long".to_owned())),
    }
}

fn refuse(code: Code, message: &str) -> Response {
    Failure::new(code, message.to_owned()).into_response()
}

/// The longest body: the largest estate.
pub(crate) const MAX_BODY: usize = 8 << 20;
const BODY_TIME: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use estate::Timestamp;
    use test_server::TestServer;

    use super::*;
    use crate::endpoints::Call;

    #[tokio::test]
    async fn a_connection_does_not_outlive_its_certificate() {
        let kit = TestServer::start().await;
        let api = Api::new(Arc::clone(&kit.server));
        let endpoint = Call::Status.endpoint().unwrap();
        let until = |seconds| Caller::Person {
            id: "ana@hospital.example".parse().unwrap(),
            not_after: Timestamp::from_seconds(seconds),
        };
        let now = kit.server.now().as_seconds();
        assert!(api.authenticate(endpoint, &until(now + 60)).is_ok());
        assert!(api.authenticate(endpoint, &until(now)).is_err());
    }
}
