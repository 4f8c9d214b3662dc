//! A database that somebody edited by hand. Where the edit would bring something into force, the next start refuses; where
//! it would turn a waiting change into another one, no signature counts for it any more.

use estate::{ChangeId, Digest, NotApproved, PolicyVersion};
use ledger::Actor;
use server::{
    StartError,
    govern::{GovernError, Pending, Submitted},
    world::WorldError,
};
use test_server::{TestServer, files, files_with_promoter, promoter};

const ANA: &str = "ana@hospital.example"; // platform
const CHEN: &str = "chen@hospital.example"; // owns `records`

const TABLES: [&str; 3] = ["estate", "change", "disclosure"];

/// Three versions, the last one a promotion, and a change of ana's that waits for chen.
async fn house() -> (TestServer, Pending) {
    let house = TestServer::start().await;
    house.apply(files_with_promoter(), false).await.unwrap();
    let statement = house.promotion(Digest::of("build"), 1, &promoter());
    let set = "medrec".parse().unwrap();
    let promoted = house
        .server
        .promote(&set, &statement, Actor::LocalRoot, None);
    promoted.await.unwrap();
    let pending = wider(&house).await;
    for table in TABLES {
        house
            .edit(&format!(
                "CREATE TABLE kept_{table} AS SELECT * FROM {table}"
            ))
            .await;
    }
    (house, pending)
}

async fn wider(house: &TestServer) -> Pending {
    let mut files = files_with_promoter();
    files[1].1 = files[1]
        .1
        .replace("max_lease = \"1h\"", "max_lease = \"2h\"");
    match house.submit_as(ANA, files, false).await.unwrap() {
        Submitted::Waiting(pending) => *pending,
        Submitted::Applied(_) => panic!("in force at once"),
    }
}

/// Whether a start refuses after the edit, which is undone again.
async fn refuses(house: &TestServer, edit: &str) -> bool {
    house.edit(edit).await;
    let started = house.again().await.map(drop);
    if started.is_ok() {
        // The start is on record: what it disclosed is part of an unedited log.
        let own = "INSERT INTO kept_disclosure SELECT * FROM disclosure
            WHERE leaf > (SELECT MAX(leaf) FROM kept_disclosure)";
        house.edit(own).await;
    }
    for table in TABLES {
        let undo = format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}");
        house.edit(&undo).await;
    }
    match started {
        Err(StartError::World(WorldError::Store(error))) => panic!("{edit}: {error}"),
        Err(StartError::World(_)) => true,
        Err(other) => panic!("{edit}: {other:?}"),
        Ok(()) => false,
    }
}

const COLUMNS: &str = "tenant, version, leaf, hash, files, number, change, record, applied_by, at";
/// The waiting change as a version, with the leaf of the newest one.
const FORGED: &str = "INSERT INTO estate (tenant, version, leaf, hash, files, number, change, record, applied_by, at)
    SELECT tenant, 4, (SELECT MAX(leaf) FROM estate), json_extract(record, '$.result'), files, number, hash, RECORD,
    submitted_by, at FROM change WHERE state = 'waiting'";

#[tokio::test]
async fn a_start_refuses_what_nobody_approved() {
    let (house, pending) = house().await;
    assert!(!refuses(&house, "SELECT 1").await, "nothing was edited");
    let signed = house.sign(ANA, pending.hash).replace('\n', "\\n");
    let by_ana = format!(
        "json_set(record, '$.signatures', json('[{{\"person\":\"{ANA}\",\"signature\":\"{signed}\"}}]'))"
    );
    let edits = [
        ("the files of an older version", "UPDATE estate SET files = '[]' WHERE version = 2".to_owned()),
        ("the hash alone", "UPDATE estate SET hash = (SELECT hash FROM estate WHERE version = 1) WHERE version = 3".into()),
        ("the newest version deleted", "DELETE FROM estate WHERE version = 3".into()),
        ("and all that the log tells since", "DELETE FROM disclosure WHERE leaf >= (SELECT leaf FROM estate WHERE version = 3); DELETE FROM estate WHERE version = 3".into()),
        ("and every version that the log tells", "DELETE FROM disclosure WHERE name = 'policy' AND leaf >= (SELECT leaf FROM estate WHERE version = 3); DELETE FROM disclosure WHERE name = 'kind' AND leaf >= (SELECT leaf FROM estate WHERE version = 3); DELETE FROM estate WHERE version = 3".into()),
        ("all versions deleted", "DELETE FROM estate".into()),
        ("the first version deleted", "DELETE FROM estate WHERE version = 1".into()),
        ("an older version made the newest", "UPDATE estate SET version = 4 WHERE version = 1".into()),
        ("an older version copied on top", format!("INSERT INTO estate ({COLUMNS}) SELECT tenant, 4, leaf, hash, files, number, change, record, applied_by, at FROM estate WHERE version = 1")),
        ("an older version in the place of the newest", "UPDATE estate SET (leaf, hash, files, number, change, record) = (SELECT leaf, hash, files, number, change, record FROM estate WHERE version = 1) WHERE version = 3".into()),
        ("the signatures removed", "UPDATE estate SET record = json_set(record, '$.signatures', json('[]')) WHERE version = 2".into()),
        ("a signature under another name", format!("UPDATE estate SET record = json_set(record, '$.signatures[0].person', '{ANA}') WHERE version = 2")),
        ("a signature of another change", "UPDATE estate SET record = json_set(record, '$.signatures', (SELECT json_extract(record, '$.signatures') FROM estate WHERE version = 1)) WHERE version = 2".into()),
        ("another submitter", format!("UPDATE estate SET record = json_set(record, '$.submitter', '{ANA}') WHERE version = 2")),
        ("another end", "UPDATE estate SET record = json_set(record, '$.expires', '2099-01-01T00:00:00Z') WHERE version = 2".into()),
        ("no changes listed", "UPDATE estate SET record = json_set(record, '$.changes', json('[]')) WHERE version = 2".into()),
        ("no record", "UPDATE estate SET record = '' WHERE version = 1".into()),
        ("a record with an unknown member", "UPDATE estate SET record = json_set(record, '$.note', 'ok') WHERE version = 1".into()),
        ("promotions left out", "UPDATE estate SET files = replace(files, 'promotions/medrec.json', 'promotions/other.json') WHERE version = 3".into()),
        ("a forged version, nobody's signature", FORGED.replace("RECORD", "record")),
        ("a forged version, ana's own signature", FORGED.replace("RECORD", &by_ana)),
        ("the founders erased", "DELETE FROM disclosure WHERE leaf = 0 AND name = 'founders'".into()),
        ("the quorum erased", "DELETE FROM disclosure WHERE leaf = 0 AND name = 'quorum'".into()),
        ("the quorum of another log", "UPDATE disclosure SET encoded = 'WyJBQUFBQUFBQUFBQUFBQUFBQUFBQUFBIiwicXVvcnVtIiwxXQ' WHERE leaf = 0 AND name = 'quorum'".into()),
        ("the founders' place taken", "UPDATE disclosure SET encoded = (SELECT encoded FROM disclosure WHERE leaf = 1 AND position = 0) WHERE leaf = 0 AND name = 'founders'".into()),
        ("what the version's leaf tells erased", "DELETE FROM disclosure WHERE name = 'changeHash' AND leaf = (SELECT leaf FROM estate WHERE version = 2)".into()),
        ("the leaf of another version", "UPDATE estate SET leaf = (SELECT leaf FROM estate WHERE version = 1) WHERE version = 2".into()),
        ("the leaf of the submission", "UPDATE estate SET leaf = (SELECT leaf FROM change WHERE version = 2) WHERE version = 2".into()),
    ];
    let mut started = Vec::new();
    for (what, edit) in edits {
        match refuses(&house, &edit).await {
            true => println!("{what:45} does not start"),
            false => started.push(what),
        }
        assert!(!refuses(&house, "SELECT 1").await, "undone: {what}");
    }
    assert!(started.is_empty(), "a server starts: {started:?}");
    house.again().await.unwrap();
}

#[tokio::test]
async fn a_waiting_change_that_was_edited_takes_no_signature() {
    let (house, pending) = house().await;
    let number = pending.record.number;
    let mut other = pending.record.clone();
    other.submitter = None;
    let (text, hash) = (serde_json::to_string(&other).unwrap(), other.hash());
    let edits = [
        (
            "another submitter",
            format!("UPDATE change SET record = '{text}' WHERE number = {number}"),
            pending.hash,
        ),
        (
            "and the hash of that",
            format!("UPDATE change SET record = '{text}', hash = '{hash}' WHERE number = {number}"),
            hash,
        ),
        (
            "the files of another estate",
            format!(
                "UPDATE change SET files = (SELECT files FROM estate WHERE version = 1) WHERE number = {number}"
            ),
            pending.hash,
        ),
        (
            "no files",
            format!("UPDATE change SET files = '[]' WHERE number = {number}"),
            pending.hash,
        ),
        (
            "a stranger's signature in it",
            format!(
                "UPDATE change SET record = json_set(record, '$.signatures', json('[{{\"person\":\"{CHEN}\",\"signature\":\"yes\"}}]')) WHERE number = {number}"
            ),
            pending.hash,
        ),
        (
            "the leaf of another change",
            format!(
                "UPDATE change SET leaf = (SELECT leaf FROM change WHERE number = 1) WHERE number = {number}"
            ),
            pending.hash,
        ),
    ];
    for (what, edit, hash) in edits {
        house.edit(&edit).await;
        let armored = house.sign(CHEN, hash);
        let signed = house
            .server
            .approve_change(number, &armored, Actor::LocalRoot);
        assert!(signed.await.is_err(), "{what}");
        house
            .edit("DELETE FROM change; INSERT INTO change SELECT * FROM kept_change")
            .await;
    }
    assert_eq!(house.server.world().version(), PolicyVersion(3));
    house.approve(CHEN, &pending).await.unwrap();
    assert_eq!(house.server.world().version(), PolicyVersion(4));
}

/// Its owner keeps data in two places with the same founders and signed there; the administrator brings record and signature here.
#[tokio::test]
async fn what_was_signed_for_another_ledger_counts_here_for_nothing() {
    let (house, pending) = house().await;
    let number = pending.record.number;
    let mut there = pending.record.clone();
    there.ledger = "elsewhere.lab/ledger/hospital".to_owned();
    let (text, hash) = (serde_json::to_string(&there).unwrap(), there.hash());
    assert_ne!(hash, pending.hash);
    let armored = house.sign(CHEN, hash);
    let approve = || {
        house
            .server
            .approve_change(number, &armored, Actor::LocalRoot)
    };
    assert!(matches!(
        approve().await.map(drop),
        Err(GovernError::NotApproved(NotApproved::Signature { .. }))
    ));
    house
        .edit(&format!(
            "UPDATE change SET record = '{text}', hash = '{hash}' WHERE number = {number}"
        ))
        .await;
    let refused = format!("{:?}", approve().await.map(drop).unwrap_err());
    assert!(
        refused.contains("is not the one that the log says was submitted"),
        "{refused}"
    );
    assert_eq!(house.server.world().version(), PolicyVersion(3));
}

#[tokio::test]
async fn the_state_of_a_change_brings_nothing_into_force() {
    let (house, pending) = house().await;
    let number = pending.record.number;
    let applied =
        format!("UPDATE change SET state = 'applied', version = 4 WHERE number = {number}");
    assert!(
        !refuses(&house, &applied).await,
        "it says nothing to a start"
    );
    house.edit(&applied).await;
    assert_eq!(
        house.again().await.unwrap().world().version(),
        PolicyVersion(3)
    );
}

#[tokio::test]
async fn what_was_decided_does_not_wait_again() {
    let (house, pending) = house().await;
    let number = pending.record.number;
    let (actor, person) = (Actor::Person(CHEN.to_owned()), CHEN.parse().unwrap());
    let rejected = house
        .server
        .reject_change(number, "no", actor, Some(person));
    rejected.await.unwrap();
    let wait = |number: ChangeId| {
        format!(
            "UPDATE change SET state = 'waiting', expires = {} WHERE number = {number}",
            i64::MAX
        )
    };
    house.edit(&wait(number)).await;
    let signed = house.approve(CHEN, &pending).await;
    assert!(
        matches!(signed, Err(GovernError::Conflict(_))),
        "{signed:?}"
    );

    let late = wider(&house).await;
    house.clock.shift(8 * 24 * 3_600_000);
    house.edit(&wait(late.record.number)).await;
    assert!(house.approve(CHEN, &late).await.is_err(), "expired");
    house.clock.shift(-8 * 24 * 3_600_000);

    let void = wider(&house).await;
    house.apply(files(), true).await.unwrap();
    house.edit(&wait(void.record.number)).await;
    assert!(house.approve(CHEN, &void).await.is_err(), "void");
    assert_eq!(house.server.world().version(), PolicyVersion(4));
}
