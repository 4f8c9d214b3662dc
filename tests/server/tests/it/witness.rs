//! Agents as witnesses: a server whose ledger is not the one that its clients know answers nobody.

use ledger::Actor;
use server::{Distrusted, ReleaseError, nodes::NodeError};
use test_server::{TestNode, TestServer, as_shipped};

use crate::{count, house, put};

async fn tell(house: &TestServer, node: &TestNode, checkpoint: &str) {
    let told = house.server.standings(node.name.clone(), checkpoint).await;
    drop(told.unwrap());
}

async fn warned(house: &TestServer, words: &str) -> bool {
    let status = house.server.status().await.unwrap();
    status.warnings.iter().any(|line| line.contains(words))
}

#[tokio::test]
async fn an_old_database_that_was_put_back_answers_nobody_once_an_agent_says_so() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let restored = house.copied().await;
    put(&house, "records/later", "records", b"1").await;
    put(&house, "records/later-still", "records", b"2").await;
    // The head file was put back, too, so the server itself sees nothing wrong.
    node.lease(&restored, as_shipped()).await.unwrap();
    let (token, _) = restored
        .server
        .token(&"fra02-n1".parse().unwrap(), Actor::LocalRoot)
        .await
        .unwrap();
    while size(&house.checkpoint().await) <= size(&restored.checkpoint().await) {
        put_more(&house).await;
    }
    tell(&restored, &node, &house.checkpoint().await).await;

    let said = "node `dal05-n1` holds a later checkpoint";
    let released = node.lease(&restored, as_shipped()).await;
    let Err(ReleaseError::Distrusted(why)) = released else {
        panic!("released: {released:?}")
    };
    assert!(why.to_string().contains(said));
    let read = node.read(&restored, "records/none", as_shipped()).await;
    assert!(
        matches!(read, Err(ReleaseError::Distrusted(_))),
        "no denial either"
    );
    let joined = TestNode::join_with(&restored, "fra02-n1", &token, evidence::Purpose::Enrol).await;
    assert!(matches!(joined, Err(NodeError::Distrusted(_))));
    for actor in [
        Actor::LocalRoot,
        Actor::Person("ana@hospital.example".into()),
    ] {
        let token = restored.server.token(&node.name, actor).await;
        assert!(server::nodes::chain(&token.unwrap_err()).contains(said));
    }
    assert!(warned(&restored, said).await, "status is still answered");
    assert_eq!(
        count(
            &restored,
            &[("kind", "fork-reported"), ("node", "dal05-n1")]
        )
        .await,
        1
    );
    tell(&restored, &node, &house.checkpoint().await).await;
    assert_eq!(
        count(&restored, &[("kind", "fork-reported")]).await,
        1,
        "said once"
    );

    // The other server is what it was.
    tell(&house, &node, &house.checkpoint().await).await;
    assert_eq!(house.server.trusted(), Ok(()));
    node.lease(&house, as_shipped()).await.unwrap();
}

#[tokio::test]
async fn what_ends_leases_goes_on_without_trust() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let restored = house.copied().await;
    node.lease(&restored, as_shipped()).await.unwrap();
    while size(&house.checkpoint().await) <= size(&restored.checkpoint().await) {
        put_more(&house).await;
    }
    tell(&restored, &node, &house.checkpoint().await).await;
    assert!(restored.server.trusted().is_err());
    restored.clock.shift(3_601_000);
    assert_eq!(restored.server.sweep_once().await.unwrap(), 1);
    assert!(restored.accounts.roles().is_empty());
}

#[tokio::test]
async fn of_two_servers_on_one_database_each_is_distrusted_by_the_others_checkpoint() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let other = house.copied().await;
    put(&other, "records/other", "records", b"1").await;
    while size(&house.checkpoint().await) <= size(&other.checkpoint().await) {
        put_more(&house).await;
    }
    let (long, short) = (house.checkpoint().await, other.checkpoint().await);
    tell(&house, &node, &short).await;
    tell(&other, &node, &long).await;
    let forked = house.server.trusted();
    assert!(
        matches!(forked, Err(Distrusted::Forked { .. })),
        "{forked:?}"
    );
    assert!(matches!(
        other.server.trusted(),
        Err(Distrusted::RolledBack { .. })
    ));
}

#[tokio::test]
async fn two_trees_of_one_size_are_a_fork() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let other = house.copied().await;
    // The copy wrote its start.
    house
        .server
        .token(&node.name, Actor::LocalRoot)
        .await
        .unwrap();
    let theirs = other.checkpoint().await;
    assert_eq!(size(&house.checkpoint().await), size(&theirs));
    tell(&house, &node, &theirs).await;
    assert!(matches!(
        house.server.trusted(),
        Err(Distrusted::Forked { .. })
    ));
}

#[tokio::test]
async fn what_this_log_did_not_sign_stops_nothing() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let honest = house.checkpoint().await;
    let other = tlog::Signer::from_seed("test.lab/hospital", &[9; 32]).unwrap();
    let root = tlog::Hash::from([7; 32]);
    let forged = tlog::Checkpoint::new("test.lab/hospital", 1_000_000, root).unwrap();
    let forged = forged.sign(&other).unwrap().to_string();
    let (head, signature) = honest.split_once("\n\n").unwrap();
    let grown = head.replacen(&format!("\n{}\n", size(&honest)), "\n999999\n", 1);
    let changed = format!("{grown}\n\n{signature}");
    assert_ne!(changed, honest);
    let long = format!("{honest}{}", "x".repeat(1 << 20));
    for rubbish in [
        "", "x", "\0", "\n\n", &forged, &changed, &long, head, signature,
    ] {
        tell(&house, &node, rubbish).await;
        assert_eq!(house.server.trusted(), Ok(()));
    }
    assert!(warned(&house, "0 agents since start").await);
    assert_eq!(count(&house, &[("kind", "fork-reported")]).await, 0);
}

#[tokio::test]
async fn an_agent_that_saw_less_or_as_much_agrees_and_is_counted_once() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let early = house.checkpoint().await;
    assert!(
        warned(
            &house,
            "rollback: checked with head file, 0 agents since start"
        )
        .await
    );
    put(&house, "records/later", "records", b"1").await;
    tell(&house, &node, &early).await;
    tell(&house, &node, &house.checkpoint().await).await;
    assert!(warned(&house, "1 agents since start").await);
    node.lease(&house, as_shipped()).await.unwrap();
}

async fn put_more(house: &TestServer) {
    let node = "dal05-n1".parse().unwrap();
    house.server.token(&node, Actor::LocalRoot).await.unwrap();
}

/// The size that a checkpoint names in its second line.
fn size(checkpoint: &str) -> u64 {
    checkpoint.lines().nth(1).unwrap().parse().unwrap()
}
