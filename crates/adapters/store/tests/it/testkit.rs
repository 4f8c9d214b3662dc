//! A store in a directory of its own, a clock that obeys, entries that say little.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use estate::{
    ChangeId, ChangeRecord, ChangeSignature, Digest, Epoch, EstateHash, NodeName, PolicyVersion,
    Timestamp,
};
use evidence::Attestor;
use ledger::{
    ActKind, Commitment, Draft, Effect, Entropy, Entry, EntryId, Guard, Journal, Written,
    rows::{ChangeRow, EstateRow, LeaseIntent, NodeRow},
};
use serde_json::Value;
use server::ports::Clock;
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use store::{Create, OpenError, SqliteStore, StoreConfig};
use tlog::{Note, Receipt, Signer, VerifierKey, leaf_hash};

/// Where the clock of every test begins.
pub(crate) const START: i64 = 1_800_000_000_000;

pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A directory with one database in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) clock: Arc<TestClock>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(TestClock(AtomicI64::new(START))),
        }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.path().join("store.db")
    }

    pub(crate) fn head_file(&self) -> PathBuf {
        self.dir.path().join("head")
    }

    pub(crate) fn config(&self, create: Create) -> StoreConfig {
        StoreConfig {
            path: self.database(),
            tenant: "hospital".parse().unwrap(),
            create,
            head_file: Some(self.head_file()),
        }
    }

    pub(crate) async fn open(&self, create: Create) -> SqliteStore {
        self.try_open(self.config(create)).await.unwrap()
    }

    pub(crate) async fn try_open(&self, config: StoreConfig) -> Result<SqliteStore, OpenError> {
        SqliteStore::open(config, signer(), self.clock.clone()).await
    }

    /// Another program that opens the file: an administrator, an attacker.
    pub(crate) async fn raw(&self) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(self.database())
            .foreign_keys(false)
            .connect()
            .await
            .unwrap()
    }

    pub(crate) async fn edit(&self, sql: &str) {
        let mut db = self.raw().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut db)
            .await
            .unwrap();
        sqlx::Connection::close(db).await.unwrap();
    }
}

pub(crate) fn signer() -> Signer {
    Signer::from_seed("hospital.example/log", &[7; 32]).unwrap()
}

pub(crate) struct Random;

impl Entropy for Random {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = RandomState::new().build_hasher().finish().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

/// An entry that says `what`.
pub(crate) fn entry(what: &str) -> Entry {
    let draft = |outcome: &str| {
        Draft::new("read", &Random)
            .with("outcome", outcome, &Random)
            .with("what", what, &Random)
    };
    Entry {
        id: EntryId::new(&Random),
        granted: draft("granted"),
        refused: draft("refused"),
        effects: Vec::new(),
        guards: Vec::new(),
    }
}

pub(crate) fn doing(what: &str, effect: Effect) -> Entry {
    Entry {
        effects: vec![effect],
        ..entry(what)
    }
}

/// An entry of an act: its leaf tells what the audit compares.
pub(crate) fn act(kind: ActKind, fields: &[(&'static str, Value)], effect: Effect) -> Entry {
    let draft = |outcome: &'static str| {
        let draft = Draft::new(kind.as_str(), &Random).with(outcome, true, &Random);
        let fields = fields.iter();
        fields.fold(draft, |draft, (name, value)| {
            draft.with(name, value.clone(), &Random)
        })
    };
    Entry {
        id: EntryId::new(&Random),
        granted: draft("done"),
        refused: draft("refused"),
        effects: vec![effect],
        guards: Vec::new(),
    }
}

pub(crate) fn record(number: u64) -> ChangeRecord {
    ChangeRecord {
        v: 1,
        number: ChangeId(number),
        base: EstateHash(Digest::of("base")),
        ledger: "test.lab/hospital".into(),
        base_version: PolicyVersion(0),
        result: EstateHash(Digest::of("estate")),
        changes: Vec::new(),
        access: Digest::of("[]"),
        submitter: None,
        submitted: Timestamp::from_millis(START),
        expires: Timestamp::from_millis(START + 1000),
        signatures: Vec::new(),
    }
}

/// The record with this many signatures.
pub(crate) fn signed(number: u64, signatures: usize) -> String {
    let mut record = record(number);
    for at in 0..signatures {
        record.signatures.push(ChangeSignature {
            person: format!("person{at}@hospital.example").parse().unwrap(),
            signature: "signature".into(),
        });
    }
    serde_json::to_string(&record).unwrap()
}

pub(crate) fn change(number: u64) -> ChangeRow {
    ChangeRow {
        number: ChangeId(number),
        hash: record(number).hash(),
        record: signed(number, 0),
        files: "[]".into(),
        by: "ana@hospital.example".into(),
        expires: Timestamp::from_millis(START + 1000),
    }
}

pub(crate) fn submitting(number: u64) -> Entry {
    let row = change(number);
    let fields = [
        ("number", number.into()),
        ("changeHash", row.hash.to_string().into()),
    ];
    let effect = Effect::ChangeSubmitted(Box::new(row));
    let mut entry = act(ActKind::ChangeSubmit, &fields, effect);
    entry.guards = vec![Guard::ChangeNewest(ChangeId(number - 1))];
    entry
}

pub(crate) fn signing(number: u64, signatures: usize) -> Entry {
    let person = format!("person{}@hospital.example", signatures - 1);
    let fields = [("number", number.into()), ("person", person.into())];
    let effect = Effect::ChangeSigned(ChangeId(number), signed(number, signatures));
    act(ActKind::ChangeApprove, &fields, effect)
}

pub(crate) fn rejecting(number: u64) -> Entry {
    let effect = Effect::ChangeRejected(ChangeId(number));
    act(ActKind::ChangeReject, &[("number", number.into())], effect)
}

pub(crate) fn estate(version: u64, number: u64) -> EstateRow {
    EstateRow {
        version: PolicyVersion(version),
        hash: EstateHash(Digest::of("estate")),
        files: "[]".into(),
        number: ChangeId(number),
        change: record(number).hash(),
        record: signed(number, 0),
        by: "ana@hospital.example".into(),
    }
}

pub(crate) fn applying(version: u64, number: u64) -> Entry {
    let row = estate(version, number);
    let fields = [
        ("policy", version.into()),
        ("estate", row.hash.0.to_string().into()),
        ("change", number.into()),
        ("changeHash", row.change.to_string().into()),
    ];
    act(ActKind::EstateApply, &fields, Effect::Estate(Box::new(row)))
}

pub(crate) fn guarded(what: &str, guard: Guard) -> Entry {
    Entry {
        guards: vec![guard],
        ..entry(what)
    }
}

pub(crate) async fn granted<J: Journal>(journal: &J, entry: Entry) -> Commitment {
    match journal.append(entry).await.unwrap() {
        Written::Granted(commitment) => commitment,
        Written::Refused(_, guard) => panic!("refused by {guard:?}"),
    }
}

pub(crate) async fn refused<J: Journal>(journal: &J, entry: Entry) -> Guard {
    match journal.append(entry).await.unwrap() {
        Written::Granted(_) => panic!("granted"),
        Written::Refused(_, guard) => guard,
    }
}

/// Appends all of them at once: they reach the writer together.
pub(crate) async fn together<J: Journal>(
    journal: &J,
    entries: Vec<Entry>,
) -> Vec<Result<Written, ledger::JournalError>> {
    futures::future::join_all(entries.into_iter().map(|entry| journal.append(entry))).await
}

pub(crate) fn commitment(written: &Written) -> &Commitment {
    match written {
        Written::Granted(commitment) | Written::Refused(commitment, _) => commitment,
    }
}

/// Verifies offline that the receipt is for this leaf at this index; answers the size of its tree.
pub(crate) fn verify(commitment: &Commitment, log: &VerifierKey) -> u64 {
    let receipt = Receipt::parse(&commitment.receipt).unwrap();
    let verified = receipt.verify(leaf_hash(&commitment.leaf), log).unwrap();
    assert_eq!(verified.index(), commitment.index);
    verified.size()
}

pub(crate) fn checkpoint_of(commitment: &Commitment) -> Note {
    Receipt::parse(&commitment.receipt)
        .unwrap()
        .checkpoint()
        .clone()
}

pub(crate) fn node_name() -> NodeName {
    "dal05-n1".parse().unwrap()
}

pub(crate) fn node(epoch: u64) -> NodeRow {
    NodeRow {
        name: node_name(),
        epoch: Epoch(epoch),
        attestor: Attestor::Tpm,
        ek: Some(Digest::of("ek")),
        ak_public: vec![1],
        node_key_spki: vec![2],
        node_key_name: vec![3],
        statement_key: "{}".into(),
        hpke_suite: "suite".into(),
        hpke_key: vec![4],
        boot: Some("standard".parse().unwrap()),
        reset_count: 5,
        attested_at: Timestamp::from_millis(START),
        quoted_at: None,
        not_after: Timestamp::from_millis(START + 1),
        banned: false,
    }
}

pub(crate) fn lease(expires: i64) -> LeaseIntent {
    LeaseIntent {
        tenant: "hospital".parse().unwrap(),
        credential: "postgresql/medical-records".parse().unwrap(),
        dataset: "medical-records".parse().unwrap(),
        database: "medrec-pg".parse().unwrap(),
        node: node_name(),
        node_epoch: Epoch(1),
        image: Some(Digest::of("image")),
        expires: Timestamp::from_millis(expires),
        verifier: "SCRAM-SHA-256$…".into(),
    }
}
