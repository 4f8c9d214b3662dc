//! Leases: seen and ended.

use estate::LeaseId;
use ledger::{LeaseOutcome, LeaseRow};
use server::{
    Server,
    ports::{DatabaseAccounts, Store},
};

use super::plain_reading;
use crate::{
    answer::{Failure, Reply},
    ask::Ask,
    wire,
};

pub(super) async fn list<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let all = ask.query::<bool>("all")?.unwrap_or_default();
    let commitment = plain_reading(server, ask).await?;
    let leases: Vec<wire::Lease> = server.leases(!all).await?.into_iter().map(lease).collect();
    Reply::new(leases, commitment)
}

pub(super) async fn revoke<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let id: LeaseId = ask.parameter("id")?;
    ask.no_body()?;
    if server.store().lease(&id).await?.is_none() {
        return Err(Failure::not_found("lease", &id));
    }
    let commitment = server.revoke(&id, ask.actor()?).await?;
    Reply::new(
        serde_json::json!({ "lease": id, "state": "ending" }),
        commitment,
    )
}

fn lease(row: LeaseRow) -> wire::Lease {
    let state = match row.outcome {
        None => "pending",
        Some(LeaseOutcome::Granted) => "granted",
        Some(LeaseOutcome::Ending) => "ending",
        Some(LeaseOutcome::Ended) => "ended",
    };
    wire::Lease {
        id: row.id.to_string(),
        state: state.to_owned(),
        credential: row.credential.to_string(),
        dataset: row.dataset,
        database: row.database.to_string(),
        role: row.role,
        node: row.node,
        image: row.image,
        expires: row.expires,
        leaf: row.leaf,
    }
}
