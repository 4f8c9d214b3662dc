//! The agent's side: who is not root is closed without an answer, and every refusal keeps its kind.

use std::{future::Future, io, sync::Arc};

use agent::{AgentError, Delivered, ports::Outcome};
use base64::{Engine, engine::general_purpose::STANDARD as B64};
use estate::Digest;
use peer::Peer;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use super::{KeyReply, KeyRequest, PATIENCE, UsesRequest};
use crate::{
    framing::{self, parse},
    unix,
    workload::WorkloadAgent,
};

/// Serves decoders until `until` is done. Callers that are not root are closed without an answer; whether a root process is a
/// decoder is the agent's to judge.
pub async fn serve<A, M>(
    agent: Arc<A>,
    listener: UnixListener,
    make_caller: M,
    until: impl Future<Output = ()>,
) where
    A: WorkloadAgent,
    M: Fn(Peer) -> A::Caller + Send + Sync + 'static,
{
    let room = Arc::new(Semaphore::new(MOST_CALLERS));
    tokio::pin!(until);
    loop {
        let stream = tokio::select! {
            () = &mut until => return,
            stream = unix::accept(&listener) => stream,
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let peer = match Peer::of(&stream) {
            Ok(peer) if peer.uid() == 0 => peer,
            Ok(peer) => {
                tracing::warn!(
                    uid = peer.uid(),
                    pid = peer.pid(),
                    "a process that is not root asked for an image key"
                );
                continue;
            }
            Err(error) => {
                tracing::debug!(%error, "a caller was gone before it was seen");
                continue;
            }
        };
        let (agent, caller) = (Arc::clone(&agent), make_caller(peer));
        tokio::spawn(async move {
            let _permit = permit;
            match timeout(PATIENCE, answer_one(agent.as_ref(), &caller, stream)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(%error, "a decoder's question was not answered"),
                Err(_) => tracing::info!("a decoder's question took too long"),
            }
        });
    }
}

async fn answer_one<A: WorkloadAgent>(
    agent: &A,
    caller: &A::Caller,
    mut stream: UnixStream,
) -> io::Result<()> {
    let body = framing::question(&mut stream).await?;
    let reply = match parse_request(&body) {
        Ok(Question::Key(request, packet)) => {
            let KeyRequest {
                image, layer, cnf, ..
            } = request;
            reply(agent.open(caller, packet, image, layer, cnf).await)
        }
        Ok(Question::Uses(layer)) => match agent.layer_uses(caller, layer).await {
            Ok(uses) => KeyReply::Uses { uses },
            Err(error) => failure(error),
        },
        Err(reason) => KeyReply::Refused {
            reason: reason.to_owned(),
        },
    };
    framing::answer(&mut stream, &reply).await
}

/// What is asked: for a key, with the packet's bytes, or where a layer is listed.
pub(super) enum Question {
    Key(KeyRequest, Vec<u8>),
    Uses(Digest),
}

pub(super) fn parse_request(body: &[u8]) -> Result<Question, &'static str> {
    if let Some(UsesRequest { v, uses_of }) = parse(body) {
        return match v {
            1 => Ok(Question::Uses(uses_of)),
            _ => Err(OTHER_VERSION),
        };
    }
    let request: KeyRequest = parse(body).ok_or("the question is malformed")?;
    if request.v != 1 {
        return Err(OTHER_VERSION);
    }
    if request.cnf.public_key().is_none() {
        return Err("the question's key is no HPKE key that is known here");
    }
    let packet = B64
        .decode(&request.packet)
        .map_err(|_| "the question's packet is not base64")?;
    Ok(Question::Key(request, packet))
}

fn reply(answer: Result<Delivered, AgentError>) -> KeyReply {
    match answer {
        Ok(Delivered {
            outcome: Outcome::Sealed { suite: _, enc, ct },
            request,
            leaf,
            proof,
            ledger_key,
            lab,
        }) => KeyReply::Sealed {
            request: B64.encode(request),
            leaf: B64.encode(leaf),
            proof,
            ledger_key,
            lab,
            enc: B64.encode(enc),
            ct: B64.encode(ct),
        },
        Ok(_) => KeyReply::Unavailable {
            reason: "the server answered with something that is not sealed".to_owned(),
        },
        Err(error) => failure(error),
    }
}

fn failure(error: AgentError) -> KeyReply {
    match error {
        AgentError::Denied {
            code,
            reason,
            receipt: _,
        } => KeyReply::Denied { code, reason },
        AgentError::Banned => KeyReply::Denied {
            code: "denied".to_owned(),
            reason: "this node is banned".to_owned(),
        },
        AgentError::Caller(reason) => KeyReply::Refused { reason },
        error => KeyReply::Unavailable {
            reason: error.to_string(),
        },
    }
}

const OTHER_VERSION: &str = "the question has an unknown version";

const MOST_CALLERS: usize = 64;
