//! The four messages of an attestation.

use agent::ports::{Admission, AttestingLink, Hello, Identification, LinkError};
use evidence::{Challenge, Proof};
use proto::bailiwick::node::v1::{
    self as wire, attest_down, attest_hello, attest_up, nodes_client::NodesClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{
    dial::Dialled,
    status::{answered, protocol},
};

/// A connection that only the server authenticated.
pub struct RpcAttesting {
    exporter: [u8; 32],
    client: NodesClient<Channel>,
    flow: Option<Flow>,
}

struct Flow {
    up: mpsc::Sender<wire::AttestUp>,
    down: Streaming<wire::AttestDown>,
}

impl RpcAttesting {
    pub(super) fn new(Dialled { exporter, client }: Dialled) -> Self {
        Self {
            exporter,
            client,
            flow: None,
        }
    }
}

impl AttestingLink for RpcAttesting {
    fn exporter(&self) -> [u8; 32] {
        self.exporter
    }

    async fn hello(&mut self, hello: Hello) -> Result<Challenge, LinkError> {
        let hello = wire_hello(hello)?;
        let (up, messages) = mpsc::channel(2);
        // Sent before the call: a server may read it before it answers anything.
        send(&up, attest_up::Step::Hello(hello)).await?;
        let call = self.client.attest(ReceiverStream::new(messages));
        let down = answered(call).await?.into_inner();
        let flow = self.flow.insert(Flow { up, down });
        match flow.next().await? {
            attest_down::Step::Challenge(challenge) => parse_challenge(challenge),
            attest_down::Step::Admission(_) => Err(protocol("an admission without a challenge")),
        }
    }

    async fn prove(&mut self, proof: Proof, possession: Vec<u8>) -> Result<Admission, LinkError> {
        let flow = self
            .flow
            .as_mut()
            .ok_or_else(|| protocol("a proof without a challenge"))?;
        send(
            &flow.up,
            attest_up::Step::Proof(wire_proof(proof, possession)),
        )
        .await?;
        match flow.next().await? {
            attest_down::Step::Admission(admission) => parse_admission(admission),
            attest_down::Step::Challenge(_) => Err(protocol("a second challenge")),
        }
    }
}

impl Flow {
    async fn next(&mut self) -> Result<attest_down::Step, LinkError> {
        let message = answered(self.down.message()).await?;
        let message =
            message.ok_or_else(|| LinkError::Unavailable("the attestation broke off".into()))?;
        message.step.ok_or_else(|| protocol("an empty step"))
    }
}

async fn send(up: &mpsc::Sender<wire::AttestUp>, step: attest_up::Step) -> Result<(), LinkError> {
    let gone = |_| LinkError::Unavailable("the attestation broke off".into());
    up.send(wire::AttestUp { step: Some(step) })
        .await
        .map_err(gone)
}

fn wire_hello(hello: Hello) -> Result<wire::AttestHello, LinkError> {
    let Hello {
        node,
        purpose,
        statement_key,
        hpke,
        identification,
        node_key_spki,
    } = hello;
    let key = hpke
        .public_key()
        .ok_or_else(|| LinkError::Request("the node's HPKE key can't be read".into()))?;
    let attestor = match identification {
        Identification::Tpm {
            ek_chain,
            ek_public,
            ak_public,
            node_key_public,
        } => attest_hello::Attestor::Tpm(wire::TpmHello {
            ek_chain,
            ek_public,
            ak_public,
            node_key_public,
        }),
        Identification::Token(token) => attest_hello::Attestor::Token(wire::TokenHello {
            token,
            node_key_spki,
        }),
    };
    Ok(wire::AttestHello {
        node,
        purpose: purpose.to_owned(),
        statement_key,
        hpke_suite: hpke.suite,
        hpke_key: key.to_bytes().to_vec(),
        attestor: Some(attestor),
    })
}

fn wire_proof(proof: Proof, possession: Vec<u8>) -> wire::AttestProof {
    let Proof {
        activated_secret,
        certify,
        quote,
        event_log,
    } = proof;
    wire::AttestProof {
        activated_secret,
        certify_attest: certify.0,
        certify_signature: certify.1,
        quote_attest: quote.0,
        quote_signature: quote.1,
        event_log,
        possession,
    }
}

fn parse_challenge(challenge: wire::AttestChallenge) -> Result<Challenge, LinkError> {
    let wire::AttestChallenge {
        nonce,
        id_object,
        encrypted_secret,
        pcrs,
    } = challenge;
    let nonce = nonce
        .try_into()
        .map_err(|_| protocol("a nonce of another length"))?;
    Ok(Challenge {
        nonce,
        id_object,
        encrypted_secret,
        pcrs: parse_pcrs(pcrs)?,
    })
}

/// Indices of platform registers.
pub(super) fn parse_pcrs(pcrs: Vec<u32>) -> Result<Vec<u8>, LinkError> {
    let index = |pcr: u32| u8::try_from(pcr).ok().filter(|pcr| *pcr < 24);
    let pcrs: Option<Vec<u8>> = pcrs.into_iter().map(index).collect();
    pcrs.filter(|pcrs| pcrs.len() <= 24)
        .ok_or_else(|| protocol("a register that no TPM has"))
}

fn parse_admission(admission: wire::Admission) -> Result<Admission, LinkError> {
    let wire::Admission {
        certificate_chain,
        bundle,
        trust_domain,
        epoch,
        lab,
        ledger_key,
        receipt,
        server_time: _,
    } = admission;
    let receipt = receipt.ok_or_else(|| protocol("an admission without a receipt"))?;
    Ok(Admission {
        chain: certificate_chain,
        bundle,
        trust_domain,
        epoch,
        lab,
        ledger_key,
        receipt: (receipt.leaf, receipt.proof),
    })
}
