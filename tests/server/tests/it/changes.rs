//! The life of a change: submitted, signed, in force, or rejected, void, expired; and whose signature counts.

use estate::{ChangeId, Digest, PolicyVersion};
use ledger::{Actor, ChangeState};
use server::govern::{GovernError, Pending, Submitted};
use test_server::{TestNode, TestServer, as_shipped, files, files_with_promoter, key_of, promoter};

use crate::{count, denial, house};

const ANA: &str = "ana@hospital.example"; // platform
const SAM: &str = "sam@hospital.example"; // security
const CHEN: &str = "chen@hospital.example"; // owns `records`
const BEA: &str = "bea@hospital.example"; // owns `bills`
const OLU: &str = "olu@auditor.example"; // audit
const CI: &str = "ci@hospital.example"; // a robot

/// The estate with one text replaced.
fn with(path: &str, from: &str, to: &str) -> Vec<(String, String)> {
    let mut files = files();
    let (_, text) = files.iter_mut().find(|(name, _)| name == path).unwrap();
    assert!(text.contains(from), "{path}: {from}");
    *text = text.replace(from, to);
    files
}

/// Wider for `records`: chen must sign.
fn wider() -> Vec<(String, String)> {
    with("datasets.toml", "max_lease = \"1h\"", "max_lease = \"2h\"")
}

/// Wider for `bills`: bea must sign.
fn billing() -> Vec<(String, String)> {
    with(
        "datasets.toml",
        "[dataset.bills]",
        "[dataset.bills]\nmax_lease = \"48h\"",
    )
}

/// Narrower for `bills`.
fn surer() -> Vec<(String, String)> {
    with(
        "datasets.toml",
        "owner = \"billing-owners\"\ntenant = \"hospital\"\nmin_assurance = 0",
        "owner = \"billing-owners\"\ntenant = \"hospital\"\nmin_assurance = 2",
    )
}

fn waiting(submitted: Submitted) -> Pending {
    match submitted {
        Submitted::Waiting(pending) => *pending,
        Submitted::Applied(applied) => panic!("in force as version {}", applied.version),
    }
}

fn version(submitted: Submitted) -> PolicyVersion {
    match submitted {
        Submitted::Applied(applied) => applied.version,
        Submitted::Waiting(pending) => panic!("it waits: {:?}", pending.plan.needs),
    }
}

async fn state(house: &TestServer, number: ChangeId) -> ChangeState {
    house.server.change(number).await.unwrap().listed.state
}

#[tokio::test]
async fn nothing_of_a_waiting_change_is_in_force() {
    let house = TestServer::start().await;
    let before = house.server.world().hash();
    let pending = waiting(house.submit_as(ANA, wider(), false).await.unwrap());
    assert_eq!(house.server.world().hash(), before);
    let shown = house.server.change(pending.record.number).await.unwrap();
    assert_eq!(shown.listed.state, ChangeState::Waiting);
    let need = &shown.needs[0];
    assert_eq!(need.requirement.team, "records-owners");
    assert!(need.signed.is_empty());
    let again = house.again().await.unwrap();
    assert_eq!(again.world().hash(), before);
    let listed = again.changes().await.unwrap();
    assert_eq!(listed[0].missing.len(), 2, "chen, and not ana alone");
}

#[tokio::test]
async fn the_owners_signature_brings_it_into_force_and_every_leaf_says_so() {
    let house = house().await;
    let pending = waiting(house.submit_as(ANA, wider(), false).await.unwrap());
    assert_eq!(
        version(house.approve(CHEN, &pending).await.unwrap()),
        PolicyVersion(2)
    );
    let number = pending.record.number;
    assert_eq!(state(&house, number).await, ChangeState::Applied);
    let (text, hash) = (number.to_string(), pending.hash.to_string());
    for fields in [
        vec![
            ("kind", "change-submit"),
            ("number", &text),
            ("changeHash", &hash),
        ],
        vec![
            ("kind", "change-approve"),
            ("number", &text),
            ("person", CHEN),
        ],
        vec![
            ("kind", "estate-apply"),
            ("change", &text),
            ("changeHash", &hash),
            ("policy", "2"),
        ],
    ] {
        assert_eq!(count(&house, &fields).await, 1, "{fields:?}");
    }
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    let approvers = format!("[\"{CHEN}\"]");
    for kind in ["lease", "node-token", "connection-use"] {
        let fields = [
            ("kind", kind),
            ("change", text.as_str()),
            ("approvers", approvers.as_str()),
        ];
        assert!(count(&house, &fields).await > 0, "{kind}");
    }
    house.again().await.unwrap();
}

#[tokio::test]
async fn a_signature_counts_with_and_without_the_end_of_a_line() {
    let house = TestServer::start().await;
    let pending = waiting(house.submit(wider(), false).await.unwrap());
    let line = format!("{}\n", pending.hash);
    let signature = key_of(CHEN)
        .sign("bailiwick-change", line.as_bytes())
        .unwrap();
    let armored = signature.armored();
    let approved = house.server.approve_change(
        pending.record.number,
        &armored,
        Actor::Person(ANA.to_owned()),
    );
    assert_eq!(version(approved.await.unwrap().0), PolicyVersion(2));
}

#[tokio::test]
async fn signatures_that_do_not_count_change_nothing_and_are_on_record() {
    let house = TestServer::start().await;
    let pending = waiting(house.submit_as(ANA, wider(), false).await.unwrap());
    let number = pending.record.number;
    let sign = |person: &str, namespace: &str, text: String| {
        key_of(person)
            .sign(namespace, text.as_bytes())
            .unwrap()
            .armored()
    };
    let hash = pending.hash.to_string();
    let other = Digest::of("another change").to_string();
    let refused = [
        (
            "a stranger's",
            sign("eve@evil.example", "bailiwick-change", hash.clone()),
        ),
        ("a robot's", sign(CI, "bailiwick-change", hash.clone())),
        (
            "a founder's, who has no say in it",
            sign("fay@hospital.example", "bailiwick-change", hash.clone()),
        ),
        (
            "an owner's of other data",
            sign(BEA, "bailiwick-change", hash.clone()),
        ),
        (
            "the submitter's, who is no owner",
            sign(ANA, "bailiwick-change", hash.clone()),
        ),
        ("for another change", sign(CHEN, "bailiwick-change", other)),
        ("in another namespace", sign(CHEN, "git", hash.clone())),
        (
            "two line ends",
            sign(CHEN, "bailiwick-change", format!("{hash}\n\n")),
        ),
        ("no signature", "yes".to_owned()),
    ];
    for (what, armored) in refused {
        let before = count(&house, &[("kind", "admin-refused")]).await;
        let actor = Actor::Person(OLU.to_owned());
        let answer = house.server.approve_change(number, &armored, actor).await;
        assert!(answer.is_err(), "{what}: {answer:?}");
        let after = count(&house, &[("kind", "admin-refused")]).await;
        assert_eq!(after, before + 1, "{what}");
    }
    let shown = house.server.change(number).await.unwrap();
    assert!(shown.record.signatures.is_empty());
    assert_eq!(house.server.world().version(), PolicyVersion(1));
}

#[tokio::test]
async fn an_approval_is_for_one_change_of_one_version() {
    let house = TestServer::start().await;
    let first = waiting(house.submit(wider(), false).await.unwrap());
    let armored = house.sign(CHEN, first.hash);
    version(house.approve(CHEN, &first).await.unwrap());
    house.apply(files(), false).await.unwrap();
    // The very same estates again: another number and another version make another hash.
    let second = waiting(house.submit(wider(), false).await.unwrap());
    assert_eq!(first.record.result, second.record.result);
    assert_eq!(first.record.base, second.record.base);
    assert_ne!(first.hash, second.hash);
    for number in [first.record.number, second.record.number] {
        let replayed = house
            .server
            .approve_change(number, &armored, Actor::LocalRoot);
        assert!(replayed.await.is_err(), "{number}");
    }
    assert_eq!(
        state(&house, second.record.number).await,
        ChangeState::Waiting
    );
}

#[tokio::test]
async fn who_was_removed_signs_no_more() {
    let house = TestServer::start().await;
    let key = key_of(CHEN).public_key().to_string();
    let key = key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let fresh = key_of("chen's new key").public_key().to_string();
    let fresh = fresh
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    house
        .apply(with("people.toml", &key, &fresh), false)
        .await
        .unwrap();
    let mut files = with("people.toml", &key, &fresh);
    files[1].1 = files[1]
        .1
        .replace("max_lease = \"1h\"", "max_lease = \"2h\"");
    let pending = waiting(house.submit(files, false).await.unwrap());
    let old = house.approve(CHEN, &pending).await;
    assert!(matches!(old, Err(GovernError::NotApproved(_))), "{old:?}");
    version(house.approve("chen's new key", &pending).await.unwrap());
    house.again().await.unwrap();
}

#[tokio::test]
async fn decided_changes_take_no_signature() {
    let house = TestServer::start().await;
    let rejected = waiting(house.submit(wider(), false).await.unwrap());
    let number = rejected.record.number;
    let why = house.server.reject_change(
        number,
        "no",
        Actor::Person(CHEN.into()),
        Some(CHEN.parse().unwrap()),
    );
    assert_eq!(why.await.unwrap().0.state, ChangeState::Rejected);
    assert!(matches!(
        house.approve(CHEN, &rejected).await,
        Err(GovernError::Conflict(_))
    ));

    let void = waiting(house.submit(wider(), false).await.unwrap());
    house.apply(billing(), false).await.unwrap();
    assert_eq!(state(&house, void.record.number).await, ChangeState::Void);
    assert!(matches!(
        house.approve(CHEN, &void).await,
        Err(GovernError::Conflict(_))
    ));

    house.apply(files(), false).await.unwrap();
    let late = waiting(house.submit(wider(), false).await.unwrap());
    house.clock.shift(7 * 24 * 3_600_000 + 1_000);
    assert_eq!(
        state(&house, late.record.number).await,
        ChangeState::Expired
    );
    assert!(matches!(
        house.approve(CHEN, &late).await,
        Err(GovernError::Conflict(_))
    ));
    assert_eq!(house.server.world().version(), PolicyVersion(3));
}

#[tokio::test]
async fn who_has_no_say_rejects_nothing() {
    let house = TestServer::start().await;
    let pending = waiting(house.submit_as(ANA, wider(), false).await.unwrap());
    let reject = async |person: &str| {
        let (actor, person) = (Actor::Person(person.to_owned()), person.parse().unwrap());
        let number = pending.record.number;
        let rejected = house
            .server
            .reject_change(number, "no", actor, Some(person));
        rejected.await.map(drop)
    };
    for person in [BEA, OLU, CI] {
        assert!(
            matches!(reject(person).await, Err(GovernError::NoSay(_))),
            "{person}"
        );
    }
    reject(ANA).await.unwrap();
}

#[tokio::test]
async fn two_approvals_at_one_moment_both_count() {
    let house = TestServer::start().await;
    let people = with("people.toml", "audit = [", "visitors = []\naudit = [");
    let pending = waiting(house.submit(people, false).await.unwrap());
    let (one, other) = tokio::join!(house.approve(SAM, &pending), house.approve(OLU, &pending));
    let applied = [one.unwrap(), other.unwrap()]
        .into_iter()
        .filter(|outcome| matches!(outcome, Submitted::Applied(_)));
    assert_eq!(applied.count(), 1);
    let shown = house.server.change(pending.record.number).await.unwrap();
    assert_eq!(shown.record.signatures.len(), 2);
    house.again().await.unwrap();
}

#[tokio::test]
async fn one_person_counts_once() {
    let house = TestServer::start().await;
    let people = with("people.toml", "audit = [", "visitors = []\naudit = [");
    let pending = waiting(house.submit(people, false).await.unwrap());
    let once = waiting(house.approve(SAM, &pending).await.unwrap());
    let twice = waiting(house.approve(SAM, &pending).await.unwrap());
    assert_eq!(once.plan.needs, twice.plan.needs);
    assert_eq!(twice.record.signatures.len(), 1);
}

#[tokio::test]
async fn whoever_submits_does_not_agree_with_himself_alone() {
    let house = TestServer::start().await;
    let pending = waiting(house.submit_as(CHEN, wider(), false).await.unwrap());
    let own = waiting(house.approve(CHEN, &pending).await.unwrap());
    assert_eq!(own.plan.needs[0].requirement.rule, "nobody alone");
    version(house.approve(OLU, &pending).await.unwrap());
    house.again().await.unwrap();
}

#[tokio::test]
async fn a_crash_between_signature_and_version_is_made_good_by_the_same_call() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    // A lease keeps the version from coming into force after the signature was counted, as a crash would.
    node.lease(&house, as_shipped()).await.unwrap();
    let moved = with(
        "credentials.toml",
        "pg.hospital.example:5432",
        "pg2.hospital.example:5432",
    );
    let pending = waiting(house.submit(moved, false).await.unwrap());
    let held = house.approve(CHEN, &pending).await;
    assert!(matches!(held, Err(GovernError::Conflict(_))), "{held:?}");
    assert_eq!(house.server.world().version(), PolicyVersion(1));
    assert_eq!(
        count(&house, &[("kind", "change-approve"), ("person", CHEN)]).await,
        1
    );

    let again = house.again().await.unwrap();
    assert_eq!(again.world().version(), PolicyVersion(1));
    let lease = again.leases(true).await.unwrap()[0].id.clone();
    again.revoke(&lease, Actor::LocalRoot).await.unwrap();
    again.sweep_once().await.unwrap();
    let armored = house.sign(CHEN, pending.hash);
    let approved = again.approve_change(pending.record.number, &armored, Actor::LocalRoot);
    assert_eq!(version(approved.await.unwrap().0), PolicyVersion(2));
    house.again().await.unwrap();
}

#[tokio::test]
async fn narrowing_acts_at_once_for_one_who_stands_for_it() {
    let narrower = [
        ("more assurance", surer(), BEA),
        (
            "a forbid more",
            with(
                "policies/records.cedar",
                "@id(\"medrec-open\")",
                "@id(\"none\")\nforbid (principal, action == Action::\"read\", resource in DataSet::\"records\");\n@id(\"medrec-open\")",
            ),
            SAM,
        ),
    ];
    for (what, files, person) in narrower {
        let house = TestServer::start().await;
        let others = house.submit_as(CI, files.clone(), false).await.unwrap();
        assert!(
            matches!(others, Submitted::Waiting(_)),
            "{what}: a robot is no person"
        );
        let others = house.submit(files.clone(), false).await.unwrap();
        assert!(
            matches!(others, Submitted::Waiting(_)),
            "{what}: nor is the host's root"
        );
        let own = house.submit_as(person, files, false).await.unwrap();
        assert_eq!(version(own), PolicyVersion(2), "{what}");
        house.again().await.unwrap();
    }
}

#[tokio::test]
async fn a_removed_permit_ends_what_it_permitted_at_once() {
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.lease(&house, as_shipped()).await.unwrap();
    let mut files = files();
    files.retain(|(path, _)| path != "tests/records.toml");
    house.apply(files.clone(), true).await.unwrap();
    for (path, text) in &mut files {
        if path == "policies/records.cedar" {
            *text = text.split_off(text.find("@id(\"medrec-open\")").unwrap());
        }
    }
    let own = house.submit_as(CHEN, files, false).await.unwrap();
    let Submitted::Applied(applied) = own else {
        panic!("{own:?}")
    };
    assert_eq!(applied.ended_leases.len(), 1);
    denial(node.lease(&house, as_shipped()).await);
}

#[tokio::test]
async fn a_robot_submits_and_its_key_never_counts() {
    let house = TestServer::start().await;
    let pending = waiting(house.submit_as(CI, wider(), false).await.unwrap());
    assert!(house.approve(CI, &pending).await.is_err());
    version(house.approve(CHEN, &pending).await.unwrap());
    house.again().await.unwrap();
}

#[tokio::test]
async fn one_submitter_does_not_fill_the_store() {
    let house = TestServer::start().await;
    for _ in 0..20 {
        waiting(house.submit_as(CI, wider(), false).await.unwrap());
    }
    let more = house.submit_as(CI, wider(), false).await;
    assert!(matches!(more, Err(GovernError::Conflict(_))), "{more:?}");
    waiting(house.submit_as(ANA, wider(), false).await.unwrap());
}

#[tokio::test]
async fn founders_sign_the_first_version_both_of_them() {
    let house = TestServer::empty().await;
    let pending = waiting(house.submit(files(), false).await.unwrap());
    assert!(house.approve(CHEN, &pending).await.is_err(), "nobody yet");
    let one = waiting(
        house
            .approve("fay@hospital.example", &pending)
            .await
            .unwrap(),
    );
    assert_eq!(one.plan.needs[0].signed.len(), 1);
    let both = house.approve("gus@hospital.example", &pending).await;
    assert_eq!(version(both.unwrap()), PolicyVersion(1));
    house.again().await.unwrap();
}

#[tokio::test]
async fn a_promoted_build_is_a_member_without_a_human_until_it_is_retired() {
    let house = house().await;
    house.apply(files_with_promoter(), false).await.unwrap();
    let node = TestNode::join(&house, "dal05-n1").await;
    let (set, build) = ("medrec".parse().unwrap(), Digest::of("build"));
    let mut workload = as_shipped();
    workload.image.as_mut().unwrap().config = build;
    denial(node.lease(&house, workload.clone()).await);
    let robot = || (Actor::Person(CI.to_owned()), Some(CI.parse().unwrap()));
    let promote = async |statement: &str| {
        let (actor, person) = robot();
        let promoted = house.server.promote(&set, statement, actor, person);
        promoted.await.map(|(outcome, _)| version(outcome))
    };
    let statement = house.promotion(build, 1, &promoter());
    assert_eq!(promote(&statement).await.unwrap(), PolicyVersion(3));
    node.lease(&house, workload.clone()).await.unwrap();
    assert!(
        promote(&statement).await.is_err(),
        "a statement counts once"
    );
    let evil = dsse::SigningKey::generate_ed25519().unwrap();
    let forged = house.promotion(Digest::of("evil"), 2, &evil);
    assert!(promote(&forged).await.is_err());

    let mut with_file = files_with_promoter();
    let path = "promotions/medrec.json".to_owned();
    with_file.push((
        path.clone(),
        "{\"version\":1,\"floor\":0,\"promotions\":[],\"retired\":[]}".to_owned(),
    ));
    let own = house.submit_as(CHEN, with_file, true).await;
    assert!(matches!(own, Err(GovernError::KeptByServer(found)) if found == path));
    let mut other = files_with_promoter();
    other[1] = surer().swap_remove(1);
    version(house.submit_as(BEA, other, true).await.unwrap());
    node.lease(&house, workload.clone()).await.unwrap();

    let retired = house.server.retire(&set, build, Actor::LocalRoot, None);
    version(retired.await.unwrap().0);
    denial(node.lease(&house, workload).await);
    assert!(
        promote(&house.promotion(build, 3, &promoter()))
            .await
            .is_err()
    );
    let audited = server::ports::Store::audit(house.server.store()).await;
    assert_eq!(audited, Ok(Vec::new()));
    house.again().await.unwrap();
}
