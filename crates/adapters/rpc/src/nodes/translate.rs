//! Between the wire and the server: messages into its types, its answers into messages and statuses.

use super::*;

pub(super) fn parse_hello(
    hello: wire::AttestHello,
    connection: &Connection,
) -> Result<Hello, Status> {
    let bad = |what: &str| Status::invalid_argument(format!("`{what}` can't be read"));
    let wire::AttestHello {
        node,
        purpose,
        statement_key,
        hpke_suite,
        hpke_key,
        attestor,
    } = hello;
    let suite = hpke_suite.parse().map_err(|_| bad("hpke_suite"))?;
    let hpke_key = agent_key(suite, &hpke_key).ok_or_else(|| bad("hpke_key"))?;
    let means = match attestor.ok_or_else(|| bad("attestor"))? {
        attest_hello::Attestor::Token(token) => Means::Token {
            token: token.token,
            node_key_spki: token.node_key_spki,
        },
        attest_hello::Attestor::Tpm(tpm) => Means::Tpm(Box::new(TpmHello {
            ek: tpm_quote::PublicArea::parse(&tpm.ek_public).map_err(|_| bad("ek_public"))?,
            ak: tpm_quote::PublicArea::parse(&tpm.ak_public).map_err(|_| bad("ak_public"))?,
            node_key: tpm_quote::PublicArea::parse(&tpm.node_key_public)
                .map_err(|_| bad("node_key_public"))?,
            ek_chain: tpm.ek_chain,
        })),
    };
    Ok(Hello {
        node: node.parse().map_err(|_| bad("node"))?,
        purpose: match purpose.as_str() {
            "enrol" => Purpose::Enrol,
            "renew" => Purpose::Renew,
            _ => return Err(bad("purpose")),
        },
        statement_key: jose::strict_json::from_slice(&statement_key)
            .map_err(|_| bad("statement_key"))?,
        hpke_key,
        exporter: connection.exporter,
        remote: connection.remote.ip(),
        means,
    })
}

pub(super) fn agent_key(suite: hpke_xwing::Suite, key: &[u8]) -> Option<Confirmation> {
    hpke_xwing::PublicKey::from_bytes(suite, key)
        .ok()
        .map(|key| Confirmation::of(&key))
}

pub(super) fn parse_proof(proof: wire::AttestProof) -> Proof {
    let wire::AttestProof {
        activated_secret,
        certify_attest,
        certify_signature,
        quote_attest,
        quote_signature,
        event_log,
        possession: _,
    } = proof;
    Proof {
        activated_secret,
        certify: (certify_attest, certify_signature),
        quote: (quote_attest, quote_signature),
        event_log,
    }
}

pub(super) fn admission<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    admitted: Admitted,
) -> Result<wire::Admission, Status> {
    let bundle = server.bundle().map_err(|error| unavailable(&error))?;
    let bundle = bundle
        .to_json()
        .map_err(|_| Status::internal("the bundle can't be written"))?;
    Ok(wire::Admission {
        certificate_chain: admitted.chain,
        bundle: bundle.into_bytes(),
        trust_domain: server.trust_domain().to_string(),
        epoch: admitted.epoch.0,
        lab: server.is_lab(),
        ledger_key: server.ledger_key().to_owned(),
        receipt: Some(receipt(admitted.commitment)),
        server_time: server.now().as_millis(),
    })
}

pub(super) fn down(step: attest_down::Step) -> wire::AttestDown {
    wire::AttestDown { step: Some(step) }
}

pub(super) fn receipt(commitment: Commitment) -> wire::Receipt {
    wire::Receipt {
        leaf: commitment.leaf,
        proof: commitment.receipt,
    }
}

pub(super) fn reply(
    answer: Result<Answer, ReleaseError>,
) -> Result<Response<wire::ReleaseReply>, Status> {
    let (commitment, outcome) = match answer {
        Ok(Answer {
            commitment,
            payload: Payload::Sealed { suite, enc, ct },
        }) => (
            commitment,
            release_reply::Outcome::Sealed(wire::Sealed { suite, enc, ct }),
        ),
        Ok(Answer {
            commitment,
            payload: Payload::Plain(parts),
        }) => (
            commitment,
            release_reply::Outcome::Plain(wire::Plain { parts }),
        ),
        Err(ReleaseError::Denied(denied)) => {
            let reason = denied.denial.reason.to_string();
            let code = Code::Denied.row().name.to_owned();
            (
                denied.commitment,
                release_reply::Outcome::Denied(wire::Denied { code, reason }),
            )
        }
        Err(ReleaseError::ExecRefused(commitment, reason)) => {
            let code = Code::Denied.row().name.to_owned();
            (
                *commitment,
                release_reply::Outcome::Denied(wire::Denied { code, reason }),
            )
        }
        Err(error) => return Err(release_status(&error)),
    };
    Ok(Response::new(wire::ReleaseReply {
        receipt: Some(receipt(commitment)),
        outcome: Some(outcome),
    }))
}

pub(super) fn directive(standing: Standing) -> wire::Directive {
    let Standing {
        node_epoch,
        policy,
        bundle,
        quote,
        reattest,
        banned,
        ended_leases,
    } = standing;
    let (nonce, pcrs) = quote
        .map(|(nonce, pcrs)| (nonce.to_vec(), pcrs))
        .unwrap_or_default();
    wire::Directive {
        node_epoch,
        policy,
        bundle,
        quote_nonce: nonce,
        quote_pcrs: pcrs.into_iter().map(u32::from).collect(),
        reattest,
        banned,
        ended_leases,
    }
}

/// The caller reads a short sentence; the log has the whole chain. *Denied* and *broken* share no status.
pub(super) fn release_status(error: &ReleaseError) -> Status {
    let code = match error {
        ReleaseError::Request(_) => Code::Malformed,
        ReleaseError::NotAttested => Code::Unauthenticated,
        ReleaseError::Busy => Code::Busy,
        ReleaseError::Journal(_)
        | ReleaseError::Store(_)
        | ReleaseError::Account(_)
        | ReleaseError::Distrusted(_) => Code::Unavailable,
        _ => Code::Broken,
    };
    coded(code, error)
}

pub(super) fn node_status(error: NodeError) -> Status {
    let code = match &error {
        NodeError::Refused { .. }
        | NodeError::NotReleased(ledger::NotReleased::Denied(_))
        | NodeError::Banned => Code::Denied,
        NodeError::TwoSessions | NodeError::NotAsked => Code::Conflict,
        NodeError::Busy => Code::Busy,
        NodeError::Unknown(_) => Code::NotFound,
        NodeError::Certificate(_) => Code::Broken,
        _ => Code::Unavailable,
    };
    coded(code, &error)
}

pub(super) fn coded(code: Code, error: &dyn std::error::Error) -> Status {
    let row = code.row();
    if row.fault == server::Fault::Server {
        tracing::error!(code = row.name, error = %chain(error), "request failed");
        return Status::new(tonic::Code::from_i32(row.grpc), error.to_string());
    }
    Status::new(tonic::Code::from_i32(row.grpc), chain(error))
}

pub(super) fn unavailable(error: &dyn std::error::Error) -> Status {
    coded(Code::Unavailable, error)
}

pub(super) fn gone() -> Status {
    Status::cancelled("the node went away")
}
