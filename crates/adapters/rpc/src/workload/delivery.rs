//! `bailiwick.workload.v1` Delivery: secrets and leases for the measured caller, sealed to a key that was made in it.

use agent::{AgentError, Delivered, ports::Outcome};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use evidence::Confirmation;
use proto::bailiwick::workload::v1::{
    ExplainReply, ExplainRequest, LeaseRequest, ReadRequest, Released, delivery_server::Delivery,
};
use tonic::{Request, Response, Status};

use super::{Desk, WorkloadAgent, access::status};

/// The service over an agent.
pub(super) struct DeliveryService<A> {
    desk: Desk<A>,
}

impl<A> DeliveryService<A> {
    pub(super) fn new(desk: Desk<A>) -> Self {
        Self { desk }
    }
}

#[tonic::async_trait]
impl<A: WorkloadAgent> Delivery for DeliveryService<A> {
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Released>, Status> {
        let caller = self.desk.caller(&request)?;
        let ReadRequest { secret, suite, key } = request.into_inner();
        let secret = secret
            .parse()
            .map_err(|error| Status::invalid_argument(format!("`secret`: {error}")))?;
        let cnf = confirmation(suite, &key)?;
        released(self.desk.agent.read(&caller, secret, cnf).await)
    }

    async fn lease(&self, request: Request<LeaseRequest>) -> Result<Response<Released>, Status> {
        let caller = self.desk.caller(&request)?;
        let LeaseRequest {
            credential,
            scram_verifier,
            suite,
            key,
        } = request.into_inner();
        let credential = credential
            .parse()
            .map_err(|error| Status::invalid_argument(format!("`credential`: {error}")))?;
        // What it looks like inside is the database adapter's to judge; here it only must not be something else at length.
        if scram_verifier.len() > LONGEST_VERIFIER || !scram_verifier.starts_with("SCRAM-SHA-256$")
        {
            return Err(Status::invalid_argument(
                "`scram_verifier` is no SCRAM-SHA-256 verifier",
            ));
        }
        let cnf = confirmation(suite, &key)?;
        released(
            self.desk
                .agent
                .lease(&caller, credential, scram_verifier, cnf)
                .await,
        )
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainReply>, Status> {
        let caller = self.desk.caller(&request)?;
        let facts = self
            .desk
            .agent
            .measure(&caller)
            .await
            .map_err(|error| status(&error))?;
        let facts = serde_json::to_vec(&facts)
            .map_err(|_| Status::internal("the facts can't be written"))?;
        Ok(Response::new(ExplainReply { facts }))
    }
}

fn confirmation(suite: String, key: &[u8]) -> Result<Confirmation, Status> {
    let cnf = Confirmation {
        suite,
        key: URL_SAFE_NO_PAD.encode(key),
    };
    match cnf.public_key() {
        Some(_) => Ok(cnf),
        None => Err(Status::invalid_argument(
            "`suite` and `key` are no HPKE key that is known here",
        )),
    }
}

/// A denial is an answer with a receipt; everything else that is not a release is a status.
fn released(answer: Result<Delivered, AgentError>) -> Result<Response<Released>, Status> {
    let (delivered, suite, enc, ct) = match answer {
        Err(AgentError::Denied {
            code,
            reason,
            receipt,
        }) => {
            let (leaf, proof) = receipt.unwrap_or_default();
            return Ok(Response::new(Released {
                leaf,
                proof,
                denied_code: code,
                denied_reason: reason,
                ..Released::default()
            }));
        }
        Err(error) => return Err(status(&error)),
        Ok(Delivered {
            outcome: Outcome::Sealed { suite, enc, ct },
            request,
            leaf,
            proof,
            ledger_key,
            lab,
        }) => (
            Released {
                request,
                leaf,
                proof,
                ledger_key,
                lab,
                ..Released::default()
            },
            suite,
            enc,
            ct,
        ),
        Ok(_) => {
            return Err(Status::unavailable(
                "the server answered with something that is not sealed",
            ));
        }
    };
    Ok(Response::new(Released {
        suite,
        enc,
        ct,
        ..delivered
    }))
}

const LONGEST_VERIFIER: usize = 256;
