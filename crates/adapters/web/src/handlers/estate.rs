//! The estate: what files would change, changes as they are submitted, signed and decided, and promoters' statements.

use ::estate::{ChangeId, ImageSetName};
use ledger::{ActKind, Commitment};
use server::{
    Server,
    govern::{self, Applied, Listed, Pending, Plan, Shown},
    ports::{DatabaseAccounts, Store},
};

use super::{plain_reading, reading};
use crate::{
    answer::{Failure, Reply},
    ask::Ask,
    wire,
};

pub(super) async fn diff<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let wire::Estate { files, prune: _ } = ask.body()?;
    let commitment = reading(server, ask, ActKind::AdminRead, &ask.line).await?;
    let plan = server.plan(files, ask.caller.person().cloned())?;
    Reply::new(diff_of(plan), commitment)
}

pub(super) async fn apply<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let wire::Estate { files, prune } = ask.body()?;
    let submitter = ask.caller.person().cloned();
    submitted(server.submit(files, prune, ask.actor()?, submitter).await?)
}

pub(super) async fn changes<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let commitment = plain_reading(server, ask).await?;
    let listed: Vec<_> = server.changes().await?.into_iter().map(listed).collect();
    Reply::new(listed, commitment)
}

pub(super) async fn change<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let number = number(ask)?;
    let commitment = plain_reading(server, ask).await?;
    let Shown {
        listed: change,
        record,
        access,
        needs,
        promotions,
        leaf,
    } = server.change(number).await?;
    Reply::new(
        wire::ChangeShown {
            listed: listed(change),
            record,
            access,
            needs,
            promotions,
            leaf,
        },
        commitment,
    )
}

pub(super) async fn approve<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let wire::Approval { signature } = ask.body()?;
    let number = number(ask)?;
    submitted(
        server
            .approve_change(number, &signature, ask.actor()?)
            .await?,
    )
}

pub(super) async fn reject<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let wire::Rejection { reason } = ask.body()?;
    let person = ask.caller.person().cloned();
    let rejected = server.reject_change(number(ask)?, &reason, ask.actor()?, person);
    let (change, commitment) = rejected.await?;
    Reply::new(listed(change), commitment)
}

pub(super) async fn promote<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let set: ImageSetName = ask.parameter("name")?;
    let wire::Promotion { envelope } = ask.body()?;
    let person = ask.caller.person().cloned();
    submitted(
        server
            .promote(&set, &envelope, ask.actor()?, person)
            .await?,
    )
}

pub(super) async fn retire<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let set: ImageSetName = ask.parameter("name")?;
    let wire::Retirement { config } = ask.body()?;
    let person = ask.caller.person().cloned();
    submitted(server.retire(&set, config, ask.actor()?, person).await?)
}

fn number(ask: &Ask) -> Result<ChangeId, Failure> {
    ask.parameter("number").map(ChangeId)
}

fn submitted((outcome, commitment): (govern::Submitted, Commitment)) -> Result<Reply, Failure> {
    let answer = match outcome {
        govern::Submitted::Applied(applied) => wire::Submitted {
            state: wire::ChangeState::Applied,
            applied: Some(applied_of(*applied)),
            waiting: None,
        },
        govern::Submitted::Waiting(pending) => wire::Submitted {
            state: wire::ChangeState::Waiting,
            applied: None,
            waiting: Some(pending_of(*pending)),
        },
    };
    Reply::new(answer, commitment)
}

fn applied_of(applied: Applied) -> wire::Applied {
    let Applied {
        version,
        number,
        hash,
        approvers,
        plan,
        ended_leases,
        leaf,
    } = applied;
    wire::Applied {
        version: version.0,
        number: number.0,
        hash,
        approvers: approvers.into_iter().collect(),
        diff: diff_of(plan),
        ended_leases,
        leaf,
    }
}

fn pending_of(pending: Pending) -> wire::PendingChange {
    let Pending { record, hash, plan } = pending;
    wire::PendingChange {
        number: record.number.0,
        hash,
        expires: record.expires,
        signed: record
            .signatures
            .into_iter()
            .map(|signature| signature.person)
            .collect(),
        missing: plan.needs.iter().map(ToString::to_string).collect(),
        diff: diff_of(plan),
    }
}

fn listed(change: Listed) -> wire::ChangeListed {
    let Listed {
        number,
        state,
        version,
        by,
        hash,
        effect,
        submitted,
        expires,
        changes,
        missing,
    } = change;
    wire::ChangeListed {
        number: number.0,
        state,
        version: version.map(|version| version.0),
        submitter: by,
        hash,
        effect,
        submitted,
        expires,
        summary: changes.iter().map(ToString::to_string).collect(),
        missing: missing.iter().map(ToString::to_string).collect(),
    }
}

fn diff_of(plan: Plan) -> wire::Diff {
    let Plan {
        base,
        base_hash,
        result_hash,
        effect,
        changes,
        access,
        needs,
    } = plan;
    wire::Diff {
        base: base.0,
        base_hash,
        result_hash,
        effect,
        changes,
        access,
        needs: needs.iter().map(ToString::to_string).collect(),
    }
}
