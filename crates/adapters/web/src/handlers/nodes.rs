//! Nodes as people see them: the inventory's word beside what attested.

use std::collections::BTreeMap;

use estate::{Estate, NodeName, Timestamp};
use evidence::Attestor;
use ledger::rows::NodeRow;
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
    let commitment = plain_reading(server, ask).await?;
    Reply::new(all(server).await?, commitment)
}

pub(super) async fn show<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let name: NodeName = ask.parameter("name")?;
    let commitment = plain_reading(server, ask).await?;
    let found = all(server)
        .await?
        .into_iter()
        .find(|node| node.name == name);
    Reply::new(
        found.ok_or_else(|| Failure::not_found("node", &name))?,
        commitment,
    )
}

pub(super) async fn ban<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let name: NodeName = ask.parameter("name")?;
    let wire::Ban { reason } = ask.body()?;
    if reason.is_empty() || reason.len() > MAX_REASON || reason.contains(char::is_control) {
        return Err(Failure::malformed(format!(
            "a reason is one line of 1 to {MAX_REASON} bytes"
        )));
    }
    let commitment = server.ban(&name, ask.actor()?, &reason).await?;
    Reply::new(
        serde_json::json!({ "node": name, "state": wire::NodeState::Banned }),
        commitment,
    )
}

pub(super) async fn token<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let name: NodeName = ask.parameter("name")?;
    ask.no_body()?;
    let (token, commitment) = server.token(&name, ask.actor()?).await?;
    Reply::new(wire::Token { token }, commitment)
}

async fn all<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
) -> Result<Vec<wire::Node>, Failure> {
    let world = server.world();
    let mut rows: BTreeMap<NodeName, Option<NodeRow>> = world
        .estate
        .nodes()
        .map(|node| (node.name.clone(), None))
        .collect();
    rows.extend(
        server
            .store()
            .nodes()
            .await?
            .into_iter()
            .map(|row| (row.name.clone(), Some(row))),
    );
    let now = server.now();
    Ok(rows
        .into_iter()
        .map(|(name, row)| node(&world.estate, name, row, now))
        .collect())
}

fn node(estate: &Estate, name: NodeName, row: Option<NodeRow>, now: Timestamp) -> wire::Node {
    let listed = estate.node(&name);
    let state = match &row {
        Some(row) if row.banned => wire::NodeState::Banned,
        _ if listed.is_none() => wire::NodeState::Removed,
        None => wire::NodeState::Pending,
        Some(row) if row.not_after <= now => wire::NodeState::Lapsed,
        Some(_) => wire::NodeState::Attested,
    };
    let attestor = row.as_ref().map(|row| match row.attestor {
        Attestor::Tpm => "tpm".to_owned(),
        Attestor::JoinToken => "join-token".to_owned(),
    });
    wire::Node {
        state,
        cluster: listed.map(|node| node.cluster.clone()),
        location: listed.map(|node| node.location.clone()),
        attestor,
        boot: row
            .as_ref()
            .and_then(|row| row.boot.as_ref())
            .map(ToString::to_string),
        epoch: row.as_ref().map(|row| row.epoch.0),
        attested_at: row.as_ref().map(|row| row.attested_at),
        quoted_at: row.as_ref().and_then(|row| row.quoted_at),
        not_after: row.as_ref().map(|row| row.not_after),
        name,
    }
}

const MAX_REASON: usize = 500;
