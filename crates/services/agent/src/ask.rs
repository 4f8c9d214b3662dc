//! What is asked for a caller: measured, signed, sent, and its receipt verified before anything is passed on.

use std::time::Duration;

use estate::{CredentialName, Digest, ImageSetName, LeaseId, SecretName, Timestamp};
use evidence::{
    Action, Confirmation, StatementBuilder, WorkloadFacts,
    request::{
        Canonical, LayerDescriptor, LayerUse, LeaseRequest, OpenRequest, ReadRequest, StartGate,
    },
};
use tlog::{Receipt, VerifierKey};
use tokio::time::timeout;

use crate::{
    agent::{Agent, Delivered},
    error::AgentError,
    ports::{Connector, Gate, Holding, LinkError, Outcome, Probe, Reply, ServerLink},
    session::{Session, SessionError},
};

/// What a statement says beside the request.
pub(crate) struct Measured {
    pub(crate) workload: Option<WorkloadFacts>,
    pub(crate) at: Timestamp,
}

/// Where a request goes.
pub(crate) enum Door {
    /// One of the five releases, with the packet of an `open`.
    Release(Action, Vec<u8>),
    /// The act about a hand inside a container.
    Exec,
}

impl<C: Connector, P: Probe> Agent<C, P> {
    /// Measures a caller.
    ///
    /// # Errors
    /// [`AgentError::Caller`], [`AgentError::Unavailable`]
    pub async fn measure(&self, caller: &P::Caller) -> Result<WorkloadFacts, AgentError> {
        Ok(self.probe.measure(caller).await?)
    }

    /// Reads a secret for a caller; it comes sealed to the caller's key.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn read(
        &self,
        caller: &P::Caller,
        secret: SecretName,
        cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        let measured = self.measured(caller).await?;
        let into = measured.workload.clone();
        let request = ReadRequest {
            v: 1,
            secret: secret.clone(),
        };
        let delivered = self
            .release(Action::Read, &request, cnf, measured, Vec::new())
            .await?;
        let delivered = sealed(delivered)?;
        self.hold(into, |_| Ok(Holding::Secret(secret)), delivered)
            .await
    }

    /// Leases a credential for a caller; where to connect comes sealed to the caller's key. The password was made by the caller:
    /// only its verifier is known here.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn lease(
        &self,
        caller: &P::Caller,
        credential: CredentialName,
        scram_verifier: String,
        cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        if scram_verifier.len() > MAX_VERIFIER {
            return Err(AgentError::Caller(
                "the password's verifier is too long".into(),
            ));
        }
        let measured = self.measured(caller).await?;
        let into = measured.workload.clone();
        let request = LeaseRequest {
            v: 1,
            credential,
            verifier: scram_verifier,
        };
        let delivered = self
            .release(Action::Lease, &request, cnf, measured, Vec::new())
            .await?;
        let delivered = sealed(delivered)?;
        self.hold(
            into,
            |delivered| lease_of(delivered).map(Holding::Lease),
            delivered,
        )
        .await
    }

    /// Opens the key of an encrypted layer for a decoder; it comes sealed to the decoder's key. The node asks for
    /// itself: the statement names no workload.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn open(
        &self,
        caller: &P::Caller,
        packet: Vec<u8>,
        image: ImageSetName,
        layer: LayerDescriptor,
        cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        if packet.len() > MAX_PACKET {
            return Err(AgentError::Caller("the key packet is too long".into()));
        }
        let decoder = self.probe.decoder(caller).await?;
        let uses = self.probe.layer_uses(layer.digest).await?;
        let Some(gate) = self.probe.gate() else {
            let request = OpenRequest {
                v: 1,
                image,
                packet: Digest::of(&packet),
                layer,
                uses,
                caller: decoder,
                start_gate: StartGate::Missing,
            };
            return self.ask_to_open(&request, packet, cnf).await;
        };
        // What is unpacked with the key stays on this node: whoever starts it is asked about from now on, or no key is asked for.
        let claim = gate.claim(&image, &uses).await?;
        let request = OpenRequest {
            v: 1,
            image,
            packet: Digest::of(&packet),
            layer,
            uses,
            caller: decoder,
            start_gate: gate.coverage().await,
        };
        match self.ask_to_open(&request, packet, cnf).await {
            Ok(delivered) => {
                gate.confirm(claim).await;
                Ok(delivered)
            }
            // A stranger's image may list our layer beside layers of others, which must not be gated for it.
            Err(why) => {
                if let Err(error) = gate.withdraw(claim).await {
                    tracing::warn!(%error, "layers whose key was refused stay gated");
                }
                Err(why)
            }
        }
    }

    async fn ask_to_open(
        &self,
        request: &OpenRequest,
        packet: Vec<u8>,
        cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        let measured = Measured {
            workload: None,
            at: self.clock.now(),
        };
        let delivered = self
            .release(Action::Open, request, cnf, measured, packet)
            .await?;
        sealed(delivered)
    }

    /// Every manifest on this node that lists a layer, for a decoder that has the layer's key from elsewhere. Nothing is
    /// released, so nothing is decided and nothing goes on record.
    ///
    /// # Errors
    /// [`AgentError::Caller`], [`AgentError::Unavailable`]
    pub async fn layer_uses(
        &self,
        caller: &P::Caller,
        layer: Digest,
    ) -> Result<Vec<LayerUse>, AgentError> {
        self.probe.decoder(caller).await?;
        Ok(self.probe.layer_uses(layer).await?)
    }

    pub(crate) async fn measured(&self, caller: &P::Caller) -> Result<Measured, AgentError> {
        self.refuse_if_banned()?;
        let workload = self.measure(caller).await?;
        Ok(Measured {
            workload: Some(workload),
            at: self.clock.now(),
        })
    }

    /// One release.
    pub(crate) async fn release(
        &self,
        action: Action,
        request: &impl Canonical,
        cnf: Confirmation,
        measured: Measured,
        packet: Vec<u8>,
    ) -> Result<Delivered, AgentError> {
        let door = Door::Release(action, packet);
        self.ask(door, request, cnf, measured).await
    }

    /// One question: statement, answer, receipt.
    pub(crate) async fn ask(
        &self,
        door: Door,
        request: &impl Canonical,
        cnf: Confirmation,
        measured: Measured,
    ) -> Result<Delivered, AgentError> {
        if cnf.public_key().is_none() {
            return Err(AgentError::Caller(
                "the key to seal to is not a key of a known suite".into(),
            ));
        }
        let request = request
            .to_canonical()
            .map_err(|error| AgentError::Caller(error.to_string()))?;
        let (session, _in_flight) = self.session().await?;
        // Taken before the question: the answer's leaf must be a later one.
        let known = self.witness.known_size();
        let statement = StatementBuilder {
            trust_domain: &self.config.trust_domain,
            node: &self.config.node,
            exporter: &session.exporter,
            seq: session.next_seq(),
            request: &request,
            confirmation: cnf,
            measured_at: measured.at,
            workload: measured.workload,
        };
        let statement = statement
            .sign(&session.identity.statement_key)
            .map_err(|_| AgentError::Unavailable("the statement could not be signed".into()))?;
        let asked = async {
            let (link, body) = (&session.link, request.clone());
            match door {
                Door::Release(action, packet) => {
                    link.release(action, body, statement, packet).await
                }
                Door::Exec => link.exec(body, statement).await,
            }
        };
        let reply = match timeout(RELEASE_LIMIT, asked).await {
            Ok(reply) => reply.map_err(|error| refused(error, &session))?,
            Err(_) => return Err(AgentError::Unavailable("the server took too long".into())),
        };
        self.accept(reply, request, known, &session)
    }

    /// Passes on only what is on record.
    fn accept(
        &self,
        reply: Reply,
        request: Vec<u8>,
        known: u64,
        session: &Session<C::Link>,
    ) -> Result<Delivered, AgentError> {
        let Reply {
            leaf,
            proof,
            outcome,
        } = reply;
        if let Err(error) = self.witness.verify(&leaf, &proof, known) {
            session.end(SessionError::Witness(error.clone()));
            return Err(AgentError::BadReceipt(error.to_string()));
        }
        if let Outcome::Denied { code, reason } = outcome {
            return Err(AgentError::Denied {
                code,
                reason,
                receipt: Some((leaf, proof)),
            });
        }
        let (ledger_key, lab) = (session.identity.ledger_key.clone(), session.identity.lab);
        Ok(Delivered {
            request,
            leaf,
            proof,
            ledger_key,
            lab,
            outcome,
        })
    }
}

/// Public material of an answer.
pub(crate) fn plain(delivered: &Delivered) -> Result<&[Vec<u8>], AgentError> {
    match &delivered.outcome {
        Outcome::Plain(parts) => Ok(parts),
        _ => Err(AgentError::BadReceipt(
            "it is sealed where it should be plain".into(),
        )),
    }
}

/// The lease that an answer grants, as the server names it: after the log's tenant and the leaf.
fn lease_of(delivered: &Delivered) -> Result<LeaseId, AgentError> {
    let unfit = |_| AgentError::BadReceipt("its receipt names no lease".into());
    let index = Receipt::parse(&delivered.proof)
        .map_err(|_| AgentError::BadReceipt("its receipt can't be read".into()))?
        .index();
    let key: VerifierKey = delivered
        .ledger_key
        .parse()
        .map_err(|_| AgentError::BadReceipt("the ledger's key can't be read".into()))?;
    let tenant = key.name().rsplit('/').next().unwrap_or_default();
    format!("{tenant}-{index}").parse().map_err(unfit)
}

fn sealed(delivered: Delivered) -> Result<Delivered, AgentError> {
    match delivered.outcome {
        Outcome::Sealed { .. } => Ok(delivered),
        _ => Err(AgentError::BadReceipt("it is not sealed".into())),
    }
}

fn refused<L>(error: LinkError, session: &Session<L>) -> AgentError {
    match error {
        LinkError::Unavailable(why) => AgentError::Unavailable(why),
        LinkError::Request(why) => AgentError::Caller(why),
        LinkError::Refused(_) => {
            session.end(SessionError::Link(error));
            AgentError::NotAttested
        }
        LinkError::Protocol(why) => AgentError::BadReceipt(why),
    }
}

const MAX_VERIFIER: usize = 1024;
const MAX_PACKET: usize = 256 * 1024;
const RELEASE_LIMIT: Duration = Duration::from_secs(15);
