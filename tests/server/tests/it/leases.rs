//! Leases: in order, and ended by whatever has to end them.

use ledger::Actor;
use server::{Payload, ReleaseError, leases::Pace, ports::Store};
use test_server::{TestNode, as_shipped, files};

use crate::{count, denial, house};

#[tokio::test]
async fn a_lease_is_intent_then_role_then_granted_then_answer() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let answer = node.lease(&house, as_shipped()).await.unwrap();
    let leases = house.server.leases(true).await.unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(house.accounts.roles(), [leases[0].role.clone()]);
    assert_eq!(
        leases[0].leaf, answer.commitment.index,
        "the role is named after the leaf of its intent"
    );
    assert!(
        leases[0]
            .role
            .starts_with(&format!("bw_{}_", answer.commitment.index))
    );
    let granted = house.leaves("lease-granted").await;
    assert!(
        granted[0].index > answer.commitment.index,
        "granted comes after intent"
    );
    let used = house.leaves("connection-use").await;
    assert!(used[0].index > answer.commitment.index && used[0].index < granted[0].index);
    assert!(matches!(answer.payload, Payload::Sealed { .. }));
}

#[tokio::test]
async fn a_database_that_does_not_answer_leaves_no_lease_and_no_answer() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    house.accounts.set_away(true);
    assert!(matches!(
        node.lease(&house, as_shipped()).await,
        Err(ReleaseError::Account(_))
    ));
    assert_eq!(count(&house, &[("kind", "undelivered")]).await, 1);
    // It may have been made before the connection broke: it stays due until the database says that it is gone.
    assert!(house.server.sweep_once().await.is_err());
    house.accounts.set_away(false);
    assert_eq!(house.server.sweep_once().await.unwrap(), 1);
    assert!(house.server.leases(true).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_database_that_stays_away_is_asked_less_and_less_often() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    let lease = house.server.leases(true).await.unwrap()[0].id.clone();
    house.server.revoke(&lease, Actor::LocalRoot).await.unwrap();
    house.accounts.set_away(true);
    let tries = count(&house, &[("kind", "connection-use")]).await;
    for _ in 0..600 {
        house.clock.shift(1_000);
        drop(house.server.sweep_at(Pace::Patient).await);
    }
    let tries = count(&house, &[("kind", "connection-use")]).await - tries;
    assert!((5..20).contains(&tries), "{tries} leaves in ten minutes");
    house.accounts.set_away(false);
    // Whoever ends something is not made to wait for the pause.
    assert_eq!(house.server.sweep_at(Pace::AtOnce).await.unwrap(), 1);
}

#[tokio::test]
async fn a_credential_on_a_database_that_nobody_here_can_speak_to_is_denied_before_any_lease() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let mut estate = files();
    edit(
        &mut estate,
        "credentials.toml",
        "kind = \"postgresql\"",
        "kind = \"couchdb\"",
    );
    edit(
        &mut estate,
        "credentials.toml",
        "postgresql://pg.hospital.example:5432/records",
        "https://pg.hospital.example",
    );
    edit(
        &mut estate,
        "credentials.toml",
        "grants = [\"CONNECT ON DATABASE records\"]",
        "grants = { records = [\"_reader\"] }",
    );
    house.apply(estate, false).await.unwrap();
    assert!(denial(node.lease(&house, as_shipped()).await).contains("kind of database"));
    assert!(house.server.leases(false).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_ban_ends_the_leases_of_the_node_and_of_no_other() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    house.accounts.plant("bw_1_somebody_elses");
    house
        .server
        .ban(&node.name, Actor::LocalRoot, "test")
        .await
        .unwrap();
    assert_eq!(house.server.sweep_once().await.unwrap(), 1);
    assert_eq!(house.accounts.roles(), ["bw_1_somebody_elses"]);
    assert_eq!(
        denial(node.lease(&house, as_shipped()).await),
        "the node is banned"
    );
    assert!(house.server.leases(true).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lease_ends_at_its_time() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    house.clock.shift(3_599_000);
    assert_eq!(house.server.sweep_once().await.unwrap(), 0);
    house.clock.shift(2_000);
    assert_eq!(house.server.sweep_once().await.unwrap(), 1);
    assert!(house.accounts.roles().is_empty());
}

#[tokio::test]
async fn a_narrower_estate_ends_the_leases_that_it_no_longer_permits() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    let mut harmless = files();
    edit(
        &mut harmless,
        "people.toml",
        "audit = [",
        "visitors = []\naudit = [",
    );
    let applied = house.apply(harmless, false).await.unwrap();
    assert!(
        applied.ended_leases.is_empty(),
        "a change that permits it still ends nothing"
    );
    let mut narrower = files();
    edit(
        &mut narrower,
        "policies/records.cedar",
        "Location::\"DAL05\"",
        "Location::\"FRA02\"",
    );
    narrower.retain(|(path, _)| path != "tests/records.toml");
    let applied = house.apply(narrower, true).await.unwrap();
    assert_eq!(applied.ended_leases.len(), 1);
    assert_eq!(house.server.sweep_once().await.unwrap(), 1);
    assert!(house.accounts.roles().is_empty());
}

#[tokio::test]
async fn a_moved_node_loses_its_leases() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    let mut moved = files();
    edit(
        &mut moved,
        "inventory.toml",
        "[node.dal05-n1]\ncluster = \"hipaaCluster\"\nlocation = \"DAL05\"",
        "[node.dal05-n1]\ncluster = \"euCluster\"\nlocation = \"FRA02\"",
    );
    let applied = house.apply(moved, false).await.unwrap();
    assert_eq!(applied.ended_leases.len(), 1);
    assert!(denial(node.lease(&house, as_shipped()).await).contains("DAL05"));
}

#[tokio::test]
async fn a_crash_between_intent_and_grant_leaves_no_role() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    // As a crash leaves it: the intent's leaf and row are there, the role was made, nothing else happened.
    let lease = house.lease(node.name.as_str()).await;
    let row = house
        .server
        .store()
        .lease(&lease.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    house.accounts.plant(&row.role);
    assert_eq!(
        house.server.sweep_once().await.unwrap(),
        0,
        "a lease in the making has its time"
    );
    house.clock.shift(31_000);
    assert_eq!(house.server.sweep_once().await.unwrap(), 1);
    assert!(house.accounts.roles().is_empty());
}

#[tokio::test]
async fn roles_without_a_lease_are_orphans() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    house.accounts.plant("bw_9_orphan");
    assert_eq!(house.server.sweep_orphans().await.unwrap(), 1);
    assert_eq!(house.accounts.roles().len(), 1);
}

#[tokio::test]
async fn a_revoked_lease_is_gone_and_can_not_be_revoked_again() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    let lease = house.server.leases(true).await.unwrap()[0].id.clone();
    house.server.revoke(&lease, Actor::LocalRoot).await.unwrap();
    assert_eq!(house.server.sweep_once().await.unwrap(), 1);
    assert!(house.server.revoke(&lease, Actor::LocalRoot).await.is_err());
}

fn edit(files: &mut [(String, String)], path: &str, from: &str, to: &str) {
    let (_, text) = files.iter_mut().find(|(name, _)| name == path).unwrap();
    assert!(text.contains(from), "{path}");
    *text = text.replace(from, to);
}

/// An estate in which the owner of `bills` names the login of `records`: on their own server, and on ours.
fn with_a_stranger() -> Vec<(String, String)> {
    let mut estate = files();
    edit(
        &mut estate,
        "credentials.toml",
        "[credential.\"postgresql/records\"]",
        concat!(
            "[database.theirs]\nkind = \"postgresql\"\nurl = \"postgresql://evil.example:5432/bills\"\n",
            "login = \"secret:db/pg/admin\"\n",
            "[credential.\"postgresql/bills\"]\ndataset = \"bills\"\ndatabase = \"theirs\"\n",
            "grants = [\"CONNECT ON DATABASE bills\"]\nttl = \"1h\"\n",
            "[credential.\"postgresql/bills-here\"]\ndataset = \"bills\"\ndatabase = \"pg\"\n",
            "grants = [\"CONNECT ON DATABASE records\"]\nttl = \"1h\"\n",
            "[credential.\"postgresql/records\"]"
        ),
    );
    estate.push((
        "policies/bills.cedar".to_owned(),
        concat!(
            "@id(\"bills-lease\")\npermit (principal in ImageSet::\"medrec\", action == Action::\"lease\", ",
            "resource in DataSet::\"bills\");\n"
        )
        .to_owned(),
    ));
    estate
}

#[tokio::test]
async fn a_login_of_another_data_set_is_never_opened_for_a_lease() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    house.apply(with_a_stranger(), false).await.unwrap();
    for credential in ["postgresql/bills", "postgresql/bills-here"] {
        let leased = node.lease_of(&house, credential, as_shipped()).await;
        assert!(denial(leased).contains("login"), "{credential}");
    }
    assert_eq!(count(&house, &[("kind", "connection-use")]).await, 0);
    assert!(house.server.leases(false).await.unwrap().is_empty());
    node.lease(&house, as_shipped()).await.unwrap();
}

#[tokio::test]
async fn a_login_is_not_sent_to_a_database_that_its_owner_never_agreed_to() {
    let house = house().await;
    house.apply(with_a_stranger(), false).await.unwrap();
    house.server.sweep_orphans().await.unwrap();
    let used = |database| [("kind", "connection-use"), ("database", database)];
    assert_eq!(count(&house, &used("theirs")).await, 0);
    assert_eq!(count(&house, &used("pg")).await, 1);
}

#[tokio::test]
async fn a_lease_of_another_data_set_ends_by_no_login_but_its_own() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    // As if the database's login had been another one when the lease was made.
    house
        .edit("UPDATE lease SET dataset = 'bills', outcome = 'ending'")
        .await;
    let before = count(&house, &[("kind", "connection-use")]).await;
    assert!(house.server.sweep_once().await.is_err());
    assert_eq!(count(&house, &[("kind", "connection-use")]).await, before);
    assert_eq!(house.accounts.roles().len(), 1, "said, and tried again");
}
