//! Small steps that each seem harmless: what they hold up, and what they open together.

use estate::PolicyVersion;
use server::govern::{GovernError, Submitted};
use test_server::{TestNode, as_shipped, files};

use crate::house;

const CHEN: &str = "chen@hospital.example"; // owns `records`

fn version(submitted: Submitted) -> PolicyVersion {
    match submitted {
        Submitted::Applied(applied) => applied.version,
        Submitted::Waiting(pending) => panic!("waits: {:?}", pending.plan.needs),
    }
}

/// The files without tests, and without the credential.
fn without_credential() -> Vec<(String, String)> {
    let mut files = files();
    files.retain(|(path, _)| !path.starts_with("tests/"));
    for (path, text) in &mut files {
        if path == "credentials.toml" {
            let (databases, _) = text.split_once("[credential.").unwrap();
            *text = databases.to_owned();
        }
    }
    files
}

/// Whoever is left without a credential on a database is not asked any more, but the login still goes there to end leases.
#[tokio::test]
async fn a_database_does_not_change_under_leases_whose_owner_is_not_asked() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let mut untested = files();
    untested.retain(|(path, _)| !path.starts_with("tests/"));
    house.apply(untested, true).await.unwrap();
    node.lease(&house, as_shipped()).await.unwrap();
    let gone = house.submit_as(CHEN, without_credential(), true).await;
    let before = version(gone.unwrap());
    let mut evil = without_credential();
    evil.push(("keys/evil.pem".to_owned(), "evil".to_owned()));
    for (path, text) in &mut evil {
        if path == "credentials.toml" {
            text.push_str("ca = \"keys/evil.pem\"\n");
        }
    }
    let applied = house.apply(evil.clone(), false).await;
    assert!(
        matches!(&applied, Err(GovernError::Conflict(why)) if why.contains("`pg`")),
        "{applied:?}"
    );
    assert_eq!(house.server.world().version(), before);
    house.server.sweep_once().await.unwrap();
    house.apply(evil, false).await.unwrap();
}
