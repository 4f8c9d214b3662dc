//! The trail: every reading of it is a leaf, too.

use ::estate::DataSetName;
use ledger::ActKind;
use server::{
    Server,
    ports::{DatabaseAccounts, Search, Store},
};
use tlog::Bundle;

use super::reading;
use crate::{
    answer::{Failure, Reply},
    ask::Ask,
    wire,
};

pub(super) async fn search<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    ask.no_body()?;
    let field = |text: &str| match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::malformed(
            "a field is written `NAME:VALUE`".to_owned(),
        )),
    };
    let filter = Search {
        fields: ask
            .query_all("field")
            .map(field)
            .collect::<Result<_, _>>()?,
        since: ask.query("since")?,
        until: ask.query("until")?,
        limit: ask.query("limit")?.unwrap_or_default(),
    };
    let (entries, reading) = server.search(filter, ask.actor()?).await?;
    Reply::new(wire::Trail { entries }, Some(reading))
}

pub(super) async fn who<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    ask.no_body()?;
    let dataset: DataSetName = ask.parameter("dataset")?;
    let (entries, reading) = server.who(&dataset, ask.actor()?).await?;
    Reply::new(wire::Trail { entries }, Some(reading))
}

pub(super) async fn receipt<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    ask.no_body()?;
    let index: u64 = ask.parameter("index")?;
    let (document, reading) = server.receipt(index, ask.actor()?).await?;
    Reply::new(document, Some(reading))
}

pub(super) async fn verify<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    ask.no_body()?;
    let (discrepancies, reading) = server.audit(ask.actor()?).await?;
    Reply::new(
        wire::Verified {
            intact: discrepancies.is_empty(),
            discrepancies,
        },
        Some(reading),
    )
}

/// Leaves hold salted hashes only, yet how many there are and when is for auditors.
pub(super) async fn entries<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    ask.no_body()?;
    let place: String = ask.parameter("place")?;
    let bundle: Bundle = format!("tile/entries/{place}")
        .parse()
        .map_err(|error: tlog::BundleError| Failure::malformed(error.to_string()))?;
    let _commitment = reading(server, ask, ActKind::AuditRead, &ask.line).await?;
    let found = server
        .store()
        .tile(None, bundle.first_entry() / 256, bundle.width())
        .await?;
    let bytes = found.ok_or_else(|| Failure::not_found("bundle", bundle))?;
    Ok(Reply::Bytes {
        media_type: "application/octet-stream",
        bytes,
    })
}
