//! The estate: what files would change, their application, and the versions that were.

use ::estate::{Estate, PolicyVersion};
use ledger::{ActKind, Commitment, Disclosure};
use policy::Policies;
use server::{
    Server,
    govern::{Applied, Plan},
    ports::{DatabaseAccounts, EstateVersion, Store},
};

use super::{plain_reading, reading};
use crate::{
    answer::{Failure, Reply},
    ask::Ask,
    effect::access_changes,
    wire,
};

pub(super) async fn diff<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let wire::Estate { files, prune: _ } = ask.body()?;
    let commitment = reading(server, ask, ActKind::AdminRead, &ask.line).await?;
    let plan = server.plan(files.clone(), ask.caller.person().cloned())?;
    let access = predicted(server, &files);
    Reply::new(diff_of(plan, access), commitment)
}

pub(super) async fn apply<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let wire::Estate { files, prune } = ask.body()?;
    let access = predicted(server, &files);
    let submitter = ask.caller.person().cloned();
    let applied = server.apply(files, prune, ask.actor()?, submitter).await?;
    let Applied {
        version,
        plan,
        ended_leases,
        leaf,
        receipt,
    } = applied;
    let entry = server.store().entry(leaf).await?;
    let commitment = entry.map(|entry| Commitment {
        index: leaf,
        leaf: entry.leaf.into_bytes(),
        receipt,
    });
    Reply::new(
        wire::Applied {
            version: version.0,
            diff: diff_of(plan, access),
            ended_leases,
        },
        commitment,
    )
}

pub(super) async fn changes<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let commitment = plain_reading(server, ask).await?;
    Reply::new(server.changes().await?, commitment)
}

pub(super) async fn change<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let number: u64 = ask.parameter("version")?;
    let commitment = plain_reading(server, ask).await?;
    let versions = server.changes().await?;
    let found = versions
        .into_iter()
        .find(|version| version.version == PolicyVersion(number));
    let version = found.ok_or_else(|| Failure::not_found("version of the estate", number))?;
    let changes = summary(server, &version).await?;
    Reply::new(wire::ChangeShown { version, changes }, commitment)
}

/// What a version changed stands in its leaf, not in a column that somebody could edit unseen.
async fn summary<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    version: &EstateVersion,
) -> Result<Vec<String>, Failure> {
    let entry = server.store().entry(version.leaf).await?;
    let disclosed = entry.map(|entry| entry.disclosures).unwrap_or_default();
    let changes = disclosed
        .iter()
        .filter_map(|encoded| Disclosure::decode(encoded).ok())
        .find(|disclosure| disclosure.name == "changes");
    Ok(changes
        .and_then(|disclosure| serde_json::from_value(disclosure.value).ok())
        .unwrap_or_default())
}

/// Files that do not load are refused by the server in its own words; here they predict nothing.
fn predicted<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    files: &[(String, String)],
) -> Vec<wire::AccessChange> {
    let world = server.world();
    let next = Estate::parse(files)
        .ok()
        .and_then(|estate| Policies::load(&estate, world.version().next()).ok());
    next.map(|next| access_changes(&world.policies, &next, server.now()))
        .unwrap_or_default()
}

fn diff_of(plan: Plan, access: Vec<wire::AccessChange>) -> wire::Diff {
    let Plan {
        base,
        base_hash,
        result_hash,
        change,
        changes,
    } = plan;
    wire::Diff {
        base: base.0,
        base_hash,
        result_hash,
        change,
        changes,
        access,
    }
}
