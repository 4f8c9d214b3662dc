//! The agent's side: who is not root is closed without an answer, and every refusal keeps its kind.

use std::{future::Future, io, sync::Arc};

use agent::{AgentError, Delivered, GateAnswer, GateQuestion};
use base64::{Engine, engine::general_purpose::STANDARD as B64};
use peer::Peer;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use super::{GateReply, GateRequest, PATIENCE, Record, Refusal};
use crate::{
    framing::{self, parse},
    unix,
};

/// What an agent judges for the start gate.
pub trait GateAgent: Send + Sync + 'static {
    /// A process that asks.
    type Caller: Send + Sync + 'static;

    /// Judges what a runtime is about to do. Only what the agent finds itself counts; what the question says besides makes the
    /// answer stricter.
    fn gate(
        &self,
        caller: &Self::Caller,
        question: GateQuestion,
    ) -> impl Future<Output = Result<GateAnswer, AgentError>> + Send;
}

/// Serves start gates until `until` is done. Callers that are not root are closed without an answer; whether a root process is
/// a gate is the agent's to judge.
pub async fn serve<A, M>(
    agent: Arc<A>,
    listener: UnixListener,
    make_caller: M,
    until: impl Future<Output = ()>,
) where
    A: GateAgent,
    M: Fn(Peer) -> A::Caller + Send + Sync + 'static,
{
    let room = Arc::new(Semaphore::new(MOST_CALLERS));
    tokio::pin!(until);
    loop {
        let stream = tokio::select! {
            () = &mut until => return,
            stream = unix::accept(&listener) => stream,
        };
        let Some(peer) = root(&stream) else { continue };
        // A node that starts many pods at once asks in turn; root may not be shut out by being many.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let (agent, caller) = (Arc::clone(&agent), make_caller(peer));
        tokio::spawn(async move {
            let _permit = permit;
            match timeout(PATIENCE, answer_one(agent.as_ref(), &caller, stream)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(%error, "a gate's question was not answered"),
                Err(_) => tracing::info!("a gate's question took too long"),
            }
        });
    }
}

fn root(stream: &UnixStream) -> Option<Peer> {
    match Peer::of(stream) {
        Ok(peer) if peer.uid() == 0 => Some(peer),
        Ok(peer) => {
            tracing::warn!(
                uid = peer.uid(),
                pid = peer.pid(),
                "a process that is not root asked as a start gate"
            );
            None
        }
        Err(error) => {
            tracing::debug!(%error, "a caller was gone before it was seen");
            None
        }
    }
}

async fn answer_one<A: GateAgent>(
    agent: &A,
    caller: &A::Caller,
    mut stream: UnixStream,
) -> io::Result<()> {
    let body = framing::question(&mut stream).await?;
    let reply = match parse_request(&body) {
        Ok(question) => reply(agent.gate(caller, question).await),
        Err(reason) => GateReply::Refused {
            reason: reason.to_owned(),
        },
    };
    framing::answer(&mut stream, &reply).await
}

pub(super) fn parse_request(body: &[u8]) -> Result<GateQuestion, &'static str> {
    let request: GateRequest = parse(body).ok_or("the question is malformed")?;
    request.into_question()
}

pub(super) fn reply(answer: Result<GateAnswer, AgentError>) -> GateReply {
    match answer {
        Ok(GateAnswer {
            probe,
            exposed,
            records,
        }) => GateReply::Passed {
            probe,
            exposed,
            records: records.into_iter().map(record).collect(),
        },
        Err(AgentError::Denied {
            code,
            reason,
            receipt,
        }) => GateReply::Denied {
            code,
            reason,
            record: receipt.map(|(leaf, proof)| Refusal {
                leaf: B64.encode(leaf),
                proof,
            }),
        },
        Err(AgentError::Banned) => GateReply::Denied {
            code: "denied".to_owned(),
            reason: "this node is banned".to_owned(),
            record: None,
        },
        Err(AgentError::Caller(reason)) => GateReply::Refused { reason },
        Err(error) => GateReply::Unavailable {
            reason: error.to_string(),
        },
    }
}

fn record(delivered: Delivered) -> Record {
    let Delivered {
        request,
        leaf,
        proof,
        ledger_key,
        lab,
        outcome: _,
    } = delivered;
    Record {
        request: B64.encode(request),
        leaf: B64.encode(leaf),
        proof,
        ledger_key,
        lab,
    }
}

const MOST_CALLERS: usize = 64;
