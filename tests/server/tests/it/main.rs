//! The server as one: releases, leases, bans and estates over the real store, with statements of a real node.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod attack_names;
mod attack_narrowing;
mod attacks;
mod changes;
mod edited;
mod exec;
mod leases;
mod nodes;
mod secrets;
mod time;
mod ways;
mod witness;

use ledger::Actor;
use server::{
    ReleaseError,
    govern::SealedSecret,
    ports::{Search, Store},
};
use test_server::TestServer;

/// Seals a secret as the command line does, and puts it.
async fn put(house: &TestServer, name: &str, dataset: &str, value: &[u8]) {
    put_version(house, name, dataset, 1, value).await;
}

async fn put_version(house: &TestServer, name: &str, dataset: &str, version: u64, value: &[u8]) {
    use custody::{KeyDocument, KeyUse, seal_secret};
    use server::ports::Clock;
    let signed = house
        .server
        .dataset_key_document(&dataset.parse().unwrap(), Actor::LocalRoot)
        .await
        .unwrap()
        .0;
    let pin = house.pin().parse().unwrap();
    let document = KeyDocument::verify(&signed, KeyUse::Dataset, pin, house.clock.now()).unwrap();
    let row = seal_secret(&document, &name.parse().unwrap(), version, value, "test").unwrap();
    let sealed = SealedSecret {
        version,
        dataset: row.dataset,
        suite: row.suite,
        key_id: row.key_id.to_string(),
        enc: base64(&row.enc),
        ct: base64(&row.ct),
    };
    house
        .server
        .put_secret(&name.parse().unwrap(), sealed, Actor::LocalRoot)
        .await
        .unwrap();
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

/// A house with the database's login in place.
async fn house() -> TestServer {
    let house = TestServer::start().await;
    put(
        &house,
        "db/pg/admin",
        "records",
        br#"{"user":"u","password":"p"}"#,
    )
    .await;
    house
}

/// Why a release was denied; whatever else came is no denial.
fn denial<T: std::fmt::Debug>(answer: Result<T, ReleaseError>) -> String {
    match answer {
        Err(ReleaseError::Denied(denied)) => denied.denial.reason.to_string(),
        other => panic!("not a denial: {other:?}"),
    }
}

/// How many leaves say so.
async fn count(house: &TestServer, fields: &[(&str, &str)]) -> usize {
    let fields = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    house
        .server
        .store()
        .search(Search {
            fields,
            limit: 1000,
            ..Search::default()
        })
        .await
        .unwrap()
        .len()
}
