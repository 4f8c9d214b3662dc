//! A hand inside a container: an exec, a shared process space, a checkpoint. Nothing is released by it, so it is an act; what
//! the container holds decides whether it is refused, or permitted and counted as seen by a person.

use evidence::{
    Session, Statement,
    request::{Canonical, ExecRequest, Hand},
};
use ledger::{Act, ActKind, Actor, Guard, NotRecorded};

use crate::{
    ports::{DatabaseAccounts, Store},
    release::{Answer, Circumstances, Payload, ReleaseError},
    server::Server,
};

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Decides about a hand inside a container and records it.
    ///
    /// # Errors
    /// [`ReleaseError`]
    pub async fn exec(
        &self,
        on: &Session,
        statement: &Statement,
        canonical: &[u8],
    ) -> Result<Answer, ReleaseError> {
        let body = ExecRequest::from_canonical(canonical)?;
        let at = self.circumstances(on).await?;
        let verified = self
            .verifier
            .verify(statement, canonical, on, &at.node, at.now);
        if let Err(why) = verified {
            return Err(self.refuse_exec(&at, &body, why.to_string()).await);
        }
        if body.hand == Hand::Seen {
            return self.answer(&at, &body, ActKind::Exposure, "exposed").await;
        }
        let reason = "no hand inside a container is permitted";
        Err(self.refuse_exec(&at, &body, reason.to_owned()).await)
    }

    async fn answer(
        &self,
        at: &Circumstances,
        body: &ExecRequest,
        kind: ActKind,
        word: &str,
    ) -> Result<Answer, ReleaseError> {
        let epoch = Guard::NodeEpoch(at.node.facts.name.clone(), at.node.facts.epoch);
        match self.ledger.record(act(kind, at, body).guard(epoch)).await {
            Ok(logged) => Ok(Answer {
                commitment: logged.commitment().clone(),
                payload: Payload::Plain(vec![word.as_bytes().to_vec()]),
            }),
            Err(NotRecorded::Refused(refusal)) => Err(ReleaseError::ExecRefused(
                Box::new(refusal.commitment),
                refusal.guard.failure().to_owned(),
            )),
            Err(NotRecorded::Unavailable(error)) => Err(error.into()),
        }
    }

    /// A refusal counts against the node's budget, like each denial.
    async fn refuse_exec(
        &self,
        at: &Circumstances,
        body: &ExecRequest,
        reason: String,
    ) -> ReleaseError {
        let act = act(ActKind::ExecRefused, at, body).field("reason", reason.clone());
        match self.ledger.record(act).await {
            Ok(logged) => {
                self.spend(&at.node.facts.name);
                ReleaseError::ExecRefused(Box::new(logged.commitment().clone()), reason)
            }
            Err(NotRecorded::Unavailable(error)) => error.into(),
            Err(NotRecorded::Refused(refusal)) => {
                ReleaseError::Undelivered(refusal.guard.failure().to_owned())
            }
        }
    }
}

fn act(kind: ActKind, at: &Circumstances, body: &ExecRequest) -> Act {
    let node = at.node.facts.name.to_string();
    Act::new(kind, Actor::Node(node.clone()))
        .field("node", node)
        .field("argv", body.argv.len())
}
