//! The SPIFFE Workload API, X.509 and JWT profiles. The WIT profile is answered `Unimplemented`.

use proto::spiffe::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse,
    ValidateJwtsvidRequest, ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse,
    X509svidRequest, X509svidResponse, spiffe_workload_api_server::SpiffeWorkloadApi,
};
use spiffe_id::{Bundle, SpiffeId, UnixTime, validate_jwt_svid};
use tonic::{Request, Response, Status};

use super::{
    Desk, Sent, WorkloadAgent,
    access::status,
    streams::{bundles, x509_svids},
};

/// The service over an agent.
pub(super) struct SpiffeService<A> {
    desk: Desk<A>,
}

impl<A> SpiffeService<A> {
    pub(super) fn new(desk: Desk<A>) -> Self {
        Self { desk }
    }
}

#[tonic::async_trait]
impl<A: WorkloadAgent> SpiffeWorkloadApi for SpiffeService<A> {
    type FetchX509SVIDStream = Sent<X509svidResponse>;
    type FetchX509BundlesStream = Sent<X509BundlesResponse>;
    type FetchJWTBundlesStream = Sent<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let caller = self.desk.caller(&request)?;
        Ok(Response::new(x509_svids(self.desk.clone(), caller)))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let caller = self.desk.caller(&request)?;
        Ok(Response::new(bundles(
            self.desk.clone(),
            caller,
            |bundle| {
                let bundles = [(domain(bundle), bundle.x509().to_der_chain())].into();
                Ok(X509BundlesResponse {
                    crl: Vec::new(),
                    bundles,
                })
            },
        )))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        let caller = self.desk.caller(&request)?;
        let JwtsvidRequest {
            audience,
            spiffe_id,
        } = request.into_inner();
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            return Err(Status::invalid_argument(
                "`audience` is needed, and none of its values is empty",
            ));
        }
        let wanted = match spiffe_id.as_str() {
            "" => None,
            id => Some(
                id.parse::<SpiffeId>()
                    .map_err(|_| Status::invalid_argument("`spiffe_id` is no SPIFFE ID"))?,
            ),
        };
        let svid = self
            .desk
            .agent
            .jwt_svid(&caller, audience)
            .await
            .map_err(|error| status(&error))?;
        if wanted.is_some_and(|wanted| wanted != svid.id) {
            return Err(Status::permission_denied("the caller has no such identity"));
        }
        let svid = Jwtsvid {
            spiffe_id: svid.id.to_string(),
            svid: svid.token,
            hint: String::new(),
        };
        Ok(Response::new(JwtsvidResponse { svids: vec![svid] }))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let caller = self.desk.caller(&request)?;
        Ok(Response::new(bundles(
            self.desk.clone(),
            caller,
            |bundle| {
                let keys = bundle
                    .jwt_json()
                    .map_err(|_| Status::internal("the bundle can't be written"))?;
                Ok(JwtBundlesResponse {
                    bundles: [(domain(bundle), keys.into_bytes())].into(),
                })
            },
        )))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let caller = self.desk.caller(&request)?;
        let ValidateJwtsvidRequest { audience, svid } = request.into_inner();
        if audience.is_empty() || svid.is_empty() {
            return Err(Status::invalid_argument("`audience` and `svid` are needed"));
        }
        self.desk
            .agent
            .measure(&caller)
            .await
            .map_err(|error| status(&error))?;
        let bundle = self.desk.agent.bundle().borrow().clone();
        if bundle.jwt_authorities().is_empty() {
            return Err(Status::unavailable("this node has no bundle yet"));
        }
        let now = UnixTime::from_secs(
            (self.desk.settings.now)()
                .as_seconds()
                .try_into()
                .unwrap_or_default(),
        );
        let valid = validate_jwt_svid(&svid, &audience, &[&bundle], now)
            .map_err(|error| Status::invalid_argument(chain(&error)))?;
        let claims = valid
            .claims()
            .iter()
            .map(|(name, value)| (name.clone(), claim(value)))
            .collect();
        Ok(Response::new(ValidateJwtsvidResponse {
            spiffe_id: valid.id().to_string(),
            claims: Some(prost_types::Struct { fields: claims }),
        }))
    }
}

/// The SPIFFE ID of the bundle's trust domain.
fn domain(bundle: &Bundle) -> String {
    bundle.trust_domain().id().to_string()
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}

/// JSON as protobuf's well-known types write it: every number is a double there.
fn claim(value: &serde_json::Value) -> prost_types::Value {
    use prost_types::{ListValue, Struct, value::Kind};
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(value) => Kind::StringValue(value.clone()),
        serde_json::Value::Array(values) => Kind::ListValue(ListValue {
            values: values.iter().map(claim).collect(),
        }),
        serde_json::Value::Object(members) => Kind::StructValue(Struct {
            fields: members
                .iter()
                .map(|(name, value)| (name.clone(), claim(value)))
                .collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}
