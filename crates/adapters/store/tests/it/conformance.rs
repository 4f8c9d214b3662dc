//! What every journal promises, asked of any journal: the functions below know nothing of SQLite.

use std::collections::BTreeSet;

use estate::{ChangeId, Digest, Epoch, LeaseId, PolicyVersion, Timestamp};
use ledger::{
    Effect, Entry, Guard, Journal, JournalError, Leaf, Written,
    rows::{LeaseOutcome, SecretRow, TokenRow},
};
use store::Create;
use tlog::VerifierKey;

use crate::testkit::{
    Place, START, TestClock, applying, checkpoint_of, commitment, doing, entry, granted, guarded,
    lease, node, node_name, refused, rejecting, signed, signer, signing, submitting, together,
    verify,
};

async fn leaves_stand_in_the_order_of_their_answers<J: Journal>(journal: &J, log: &VerifierKey) {
    for index in 0..20 {
        let commitment = granted(journal, entry("in order")).await;
        assert_eq!(commitment.index, index);
        assert_eq!(verify(&commitment, log), index + 1);
    }
}

async fn entries_that_wait_together_share_a_commit<J: Journal>(journal: &J, log: &VerifierKey) {
    let answers = together(
        journal,
        (0..64).map(|at| entry(&format!("number {at}"))).collect(),
    )
    .await;
    let mut indexes = BTreeSet::new();
    let mut checkpoints = BTreeSet::new();
    for answer in answers {
        let written = answer.unwrap();
        let commitment = commitment(&written);
        verify(commitment, log);
        indexes.insert(commitment.index);
        checkpoints.insert(checkpoint_of(commitment).to_string());
    }
    assert_eq!(indexes, (0..64).collect());
    assert!(
        checkpoints.len() < 64,
        "every entry had a commit of its own"
    );
}

async fn a_ban_refuses_what_stands_behind_it_in_the_same_batch<J: Journal>(
    journal: &J,
    log: &VerifierKey,
) {
    granted(journal, doing("attest", Effect::Node(Box::new(node(1))))).await;
    let epoch = Guard::NodeEpoch(node_name(), Epoch(1));
    let entries = vec![
        guarded("before", epoch.clone()),
        doing("ban", Effect::Banned(node_name())),
        guarded("behind", epoch.clone()),
        guarded("new epoch", Guard::NodeEpoch(node_name(), Epoch(2))),
    ];
    let written: Vec<Written> = together(journal, entries)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        checkpoint_of(commitment(&written[0])),
        checkpoint_of(commitment(&written[3])),
        "one batch"
    );
    assert!(matches!(written[0], Written::Granted(_)));
    assert!(matches!(&written[2], Written::Refused(_, guard) if *guard == epoch));
    assert!(
        matches!(written[3], Written::Refused(..)),
        "a banned node has no valid epoch"
    );
    for written in &written {
        verify(commitment(written), log);
    }
}

async fn a_refusal_says_so_in_its_leaf_and_does_nothing<J: Journal>(journal: &J) {
    let token = Digest::of("token");
    let row = TokenRow {
        hash: token,
        node: node_name(),
        not_after: Timestamp::from_millis(START),
    };
    granted(journal, doing("make", Effect::Token(row))).await;
    let unused = Guard::TokenUnused(token, node_name(), Timestamp::from_millis(START));
    let both = Entry {
        effects: vec![Effect::TokenUsed(token)],
        guards: vec![unused.clone(), Guard::Policy(PolicyVersion(9))],
        ..entry("use")
    };
    let draft = both.refused.clone();
    let Written::Refused(commitment, guard) = journal.append(both).await.unwrap() else {
        panic!("granted")
    };
    assert_eq!(guard, Guard::Policy(PolicyVersion(9)));
    let leaf = Leaf::parse(&commitment.leaf).unwrap();
    let sealed = draft.seal(Timestamp::from_seconds(leaf.time)).unwrap();
    assert_eq!(
        sealed.bytes, commitment.leaf,
        "the refusal's own draft is the leaf"
    );
    granted(
        journal,
        Entry {
            effects: vec![Effect::TokenUsed(token)],
            guards: vec![unused],
            ..entry("use")
        },
    )
    .await;
}

async fn a_contradiction_fails_alone<J: Journal>(journal: &J, log: &VerifierKey) {
    let broken = Entry {
        effects: vec![
            Effect::Node(Box::new(node(1))),
            Effect::TokenUsed(Digest::of("no such token")),
        ],
        ..entry("broken")
    };
    let mut twice = entry("first");
    let first = twice.clone();
    twice.granted = entry("second").granted;
    let answers = together(journal, vec![first, broken, twice, entry("last")]).await;
    assert!(
        matches!(answers[1], Err(JournalError::Invalid(_))),
        "{:?}",
        answers[1]
    );
    assert!(
        matches!(answers[2], Err(JournalError::Invalid(_))),
        "an id counts once: {:?}",
        answers[2]
    );
    for (answer, index) in [(&answers[0], 0), (&answers[3], 1)] {
        let commitment = commitment(answer.as_ref().unwrap());
        assert_eq!(commitment.index, index);
        verify(commitment, log);
    }
    let guard = Guard::NodeAt(node_name(), None);
    granted(
        journal,
        guarded("the broken entry's other effect is undone", guard),
    )
    .await;
}

async fn nothing_at_all_is_written_for_a_batch_of_contradictions<J: Journal>(journal: &J) {
    let broken = doing("broken", Effect::Banned(node_name()));
    assert!(matches!(
        journal.append(broken).await,
        Err(JournalError::Invalid(_))
    ));
    assert_eq!(granted(journal, entry("first")).await.index, 0);
}

async fn a_banned_node_is_not_admitted_again<J: Journal>(journal: &J) {
    granted(journal, doing("attest", Effect::Node(Box::new(node(1))))).await;
    granted(journal, doing("ban", Effect::Banned(node_name()))).await;
    for epoch in [None, Some(Epoch(1)), Some(Epoch(2))] {
        refused(
            journal,
            guarded("attest", Guard::NodeAt(node_name(), epoch)),
        )
        .await;
    }
}

async fn guards_see_what_effects_did<J: Journal>(journal: &J) {
    let at = |millis| Timestamp::from_millis(millis);
    granted(journal, guarded("no row", Guard::NodeAt(node_name(), None))).await;
    granted(journal, doing("attest", Effect::Node(Box::new(node(1))))).await;
    granted(
        journal,
        guarded("row", Guard::NodeAt(node_name(), Some(Epoch(1)))),
    )
    .await;
    refused(journal, guarded("row", Guard::NodeAt(node_name(), None))).await;
    granted(
        journal,
        doing("end of session", Effect::EpochRaised(node_name())),
    )
    .await;
    refused(
        journal,
        guarded("old epoch", Guard::NodeEpoch(node_name(), Epoch(1))),
    )
    .await;
    granted(
        journal,
        guarded("new epoch", Guard::NodeEpoch(node_name(), Epoch(2))),
    )
    .await;

    granted(
        journal,
        guarded("no estate", Guard::Policy(PolicyVersion(0))),
    )
    .await;
    granted(journal, submitting(1)).await;
    granted(journal, applying(1, 1)).await;
    granted(journal, guarded("estate", Guard::Policy(PolicyVersion(1)))).await;
    refused(
        journal,
        guarded("old estate", Guard::Policy(PolicyVersion(0))),
    )
    .await;

    let token = Digest::of("token");
    let row = TokenRow {
        hash: token,
        node: node_name(),
        not_after: at(START),
    };
    granted(journal, doing("token", Effect::Token(row))).await;
    let other = "fra02-n1".parse().unwrap();
    granted(
        journal,
        guarded("token", Guard::TokenUnused(token, node_name(), at(START))),
    )
    .await;
    refused(
        journal,
        guarded(
            "token over",
            Guard::TokenUnused(token, node_name(), at(START + 1)),
        ),
    )
    .await;
    refused(
        journal,
        guarded("other node's", Guard::TokenUnused(token, other, at(START))),
    )
    .await;
    refused(
        journal,
        guarded(
            "unknown",
            Guard::TokenUnused(Digest::of("x"), node_name(), at(START)),
        ),
    )
    .await;
    granted(journal, doing("use", Effect::TokenUsed(token))).await;
    refused(
        journal,
        guarded("used", Guard::TokenUnused(token, node_name(), at(START))),
    )
    .await;

    let name = || "db/medrec-pg/admin".parse().unwrap();
    granted(
        journal,
        guarded("no secret", Guard::SecretVersion(name(), 0)),
    )
    .await;
    granted(journal, doing("put", Effect::Secret(Box::new(secret(1))))).await;
    granted(journal, guarded("secret", Guard::SecretVersion(name(), 1))).await;
    refused(
        journal,
        guarded("old secret", Guard::SecretVersion(name(), 0)),
    )
    .await;
}

async fn a_change_waits_until_it_is_decided<J: Journal>(journal: &J) {
    let waiting = |signatures| {
        let record = Digest::of(signed(1, signatures));
        guarded("ask", Guard::ChangeWaiting(ChangeId(1), record))
    };
    let invalid = async |entry: Entry| {
        let answer = journal.append(entry).await;
        assert!(
            matches!(answer, Err(JournalError::Invalid(_))),
            "{answer:?}"
        );
    };
    refused(journal, waiting(0)).await;
    granted(journal, submitting(1)).await;
    refused(journal, submitting(1)).await;
    granted(journal, waiting(0)).await;
    granted(journal, signing(1, 1)).await;
    // Counted on top of what is no more.
    refused(journal, waiting(0)).await;
    granted(journal, waiting(1)).await;
    granted(journal, rejecting(1)).await;
    refused(journal, waiting(1)).await;
    invalid(signing(1, 2)).await;
    invalid(rejecting(1)).await;
    invalid(applying(1, 1)).await;
    refused(journal, submitting(1)).await;
    granted(journal, submitting(2)).await;
}

async fn a_version_comes_from_its_change_and_voids_all_others<J: Journal>(journal: &J) {
    let waiting = |number| {
        let guard = Guard::ChangeWaiting(ChangeId(number), Digest::of(signed(number, 0)));
        guarded("ask", guard)
    };
    let nobodys = journal.append(applying(1, 1)).await;
    assert!(
        matches!(nobodys, Err(JournalError::Invalid(_))),
        "no version without a change"
    );
    for number in 1..=3 {
        granted(journal, submitting(number)).await;
    }
    granted(journal, applying(1, 2)).await;
    for number in 1..=3 {
        refused(journal, waiting(number)).await;
    }
    let void = journal.append(applying(2, 3)).await;
    assert!(matches!(void, Err(JournalError::Invalid(_))), "void");
}

async fn an_expired_change_waits_no_more<J: Journal>(journal: &J, clock: &TestClock) {
    let record = Digest::of(signed(1, 0));
    let waiting = || guarded("ask", Guard::ChangeWaiting(ChangeId(1), record));
    granted(journal, submitting(1)).await;
    clock.set(START + 999);
    granted(journal, waiting()).await;
    clock.set(START + 1000);
    refused(journal, waiting()).await;
    // A clock that is set back makes nothing young again: the log's time does not run backwards.
    clock.set(START);
    refused(journal, waiting()).await;
}

async fn a_lease_moves_only_forward<J: Journal>(journal: &J) {
    granted(journal, doing("attest", Effect::Node(Box::new(node(1))))).await;
    let leaf = granted(journal, doing("lease", Effect::Lease(lease(START))))
        .await
        .index;
    let id = move || format!("hospital-{leaf}").parse::<LeaseId>().unwrap();
    let moved = |outcome| doing("move", Effect::LeaseMoved(id(), outcome));
    granted(journal, guarded("pending", Guard::LeasePending(id()))).await;
    granted(journal, moved(LeaseOutcome::Granted)).await;
    refused(journal, guarded("pending", Guard::LeasePending(id()))).await;
    granted(journal, guarded("live", Guard::LeaseLive(id()))).await;
    granted(journal, doing("ban", Effect::Banned(node_name()))).await;
    let back = journal.append(moved(LeaseOutcome::Granted)).await;
    assert!(
        matches!(back, Err(JournalError::Invalid(_))),
        "a ban ends leases: {back:?}"
    );
    granted(journal, guarded("ending lives", Guard::LeaseLive(id()))).await;
    granted(journal, moved(LeaseOutcome::Ended)).await;
    refused(journal, guarded("ended", Guard::LeaseLive(id()))).await;
    let again = journal.append(moved(LeaseOutcome::Ending)).await;
    assert!(matches!(again, Err(JournalError::Invalid(_))), "{again:?}");
    refused(
        journal,
        guarded("unknown", Guard::LeaseLive("hospital-999".parse().unwrap())),
    )
    .await;
}

async fn a_leaf_too_long_for_any_tile_is_refused<J: Journal>(journal: &J) {
    use crate::testkit::Random;
    let mut long = entry("long");
    for _ in 0..1500 {
        long.granted = long.granted.with("more", 1, &Random);
    }
    assert!(matches!(
        journal.append(long).await,
        Err(JournalError::Invalid(_))
    ));
}

fn secret(version: u64) -> SecretRow {
    SecretRow {
        name: "db/medrec-pg/admin".parse().unwrap(),
        version,
        dataset: "medical-records".parse().unwrap(),
        suite: "suite".into(),
        key_id: Digest::of("key"),
        enc: vec![1],
        ct: vec![2],
        by: "ana@hospital.example".into(),
    }
}

#[tokio::test]
async fn changes_expire_by_the_time_of_the_log() {
    let place = Place::new();
    let store = place.open(Create::New).await;
    an_expired_change_waits_no_more(&store, &place.clock).await;
    store.close().await;
}

macro_rules! conforms {
    ($($name:ident($($log:ident)?);)*) => { mod sqlite { use super::*; $(
        #[tokio::test]
        async fn $name() {
            let place = Place::new();
            let store = place.open(Create::New).await;
            super::$name(&store $(, &signer().$log())?).await;
            assert_eq!(server::ports::Store::audit(&store).await, Ok(vec![]));
            store.close().await;
        }
    )* } };
}

conforms! {
    leaves_stand_in_the_order_of_their_answers(verifier_key);
    entries_that_wait_together_share_a_commit(verifier_key);
    a_ban_refuses_what_stands_behind_it_in_the_same_batch(verifier_key);
    a_refusal_says_so_in_its_leaf_and_does_nothing();
    a_contradiction_fails_alone(verifier_key);
    nothing_at_all_is_written_for_a_batch_of_contradictions();
    a_banned_node_is_not_admitted_again();
    guards_see_what_effects_did();
    a_change_waits_until_it_is_decided();
    a_version_comes_from_its_change_and_voids_all_others();
    a_lease_moves_only_forward();
    a_leaf_too_long_for_any_tile_is_refused();
}
