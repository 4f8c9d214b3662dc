//! A real server for tests: store, keys and estate in a temporary folder. Only the databases' accounts are made up: they
//! are remembered, not created. No root, no network.
#![expect(
    clippy::unwrap_used,
    reason = "made for tests only: whatever fails ends the test"
)]

mod accounts;
mod copy;
mod node;
mod people;
mod promotion;
mod rows;
mod signing;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use estate::Timestamp;
use ledger::Entropy;
use server::{
    Parts, Server, StartError, genesis,
    ports::{Clock, LogEntry, Search, Store},
};
use store::{Create, SqliteStore, StoreConfig};

pub use accounts::RememberedAccounts;
pub use node::{IMAGE, TestNode, as_shipped};
pub use people::{Person, TlsIdentity};
pub use promotion::{files_with_promoter, promoter};
pub use signing::{FOUNDERS, founders, key_of};

/// The server's type.
pub type Real = Server<SqliteStore, RememberedAccounts>;

/// A server and the folder that it lives in.
pub struct TestServer {
    /// The server.
    pub server: Arc<Real>,
    /// The databases.
    pub accounts: RememberedAccounts,
    /// The server's clock.
    pub clock: ShiftedClock,
    folder: tempfile::TempDir,
    root_der: Vec<u8>,
    pin: String,
    trust_domain: &'static str,
    /// Of the log's key.
    seed: [u8; 32],
}

/// The files of [`TestServer::start`]'s estate: one data set, two nodes that join by token, one image set, one credential.
pub const ESTATE: [(&str, &str); 7] = [
    ("people.toml", include_str!("estate/people.toml")),
    ("datasets.toml", include_str!("estate/datasets.toml")),
    ("inventory.toml", include_str!("estate/inventory.toml")),
    ("images.toml", include_str!("estate/images.toml")),
    ("credentials.toml", include_str!("estate/credentials.toml")),
    (
        "policies/records.cedar",
        include_str!("estate/records.cedar"),
    ),
    ("tests/records.toml", include_str!("estate/tests.toml")),
];

impl TestServer {
    /// A server without an estate: nobody has a right yet but the host's root.
    pub async fn empty() -> Self {
        Self::empty_at("test.lab").await
    }

    /// A server of this trust domain without an estate. Only a domain that ends in `.lab` is a lab.
    pub async fn empty_at(trust_domain: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (row, seed) = genesis::log_key(&kek(), &SystemEntropy, &SystemClock).unwrap();
        let store = Arc::new(open(folder.path(), trust_domain, &seed, Create::New).await);
        let begun = genesis::begin(
            Arc::clone(&store),
            &kek(),
            row,
            &trust_domain.parse().unwrap(),
            &founders(),
            Arc::new(SystemEntropy),
            &SystemClock,
        )
        .await
        .unwrap();
        let root = store.key(server::keyring::ROOT, "").await.unwrap().unwrap();
        let (accounts, clock) = (RememberedAccounts::default(), ShiftedClock::default());
        let parts = parts(store, &accounts, &clock, trust_domain);
        let server = Server::build(parts).await.unwrap();
        Self {
            server,
            accounts,
            clock,
            folder,
            root_der: root.public,
            pin: begun.pin.to_string(),
            trust_domain,
            seed: *seed,
        }
    }

    /// A server with [`ESTATE`] in force.
    pub async fn start() -> Self {
        let this = Self::empty().await;
        this.apply(files(), false).await.unwrap();
        this
    }

    /// Another server over the same database, as after a restart. The first one must not write any more.
    pub async fn again(&self) -> Result<Arc<Real>, StartError> {
        let store = open(
            self.folder.path(),
            self.trust_domain,
            &self.seed,
            Create::Existing,
        );
        let parts = parts(
            Arc::new(store.await),
            &self.accounts,
            &self.clock,
            self.trust_domain,
        );
        Server::build(parts).await
    }

    /// The server's folder, for whatever else a test keeps.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a test may put its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("server.sock")
    }

    /// The root certificate.
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// The root certificate, PEM.
    pub fn root_pem(&self) -> String {
        people::pem("CERTIFICATE", &self.root_der)
    }

    /// What clients pin.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// Somebody edits the database behind the server's back.
    pub async fn edit(&self, sql: &str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.folder.path().join("server.db"));
        let mut database = sqlx::ConnectOptions::connect(&options).await.unwrap();
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
        sqlx::Connection::close(database).await.unwrap();
    }

    /// The leaves of a kind, newest first.
    pub async fn leaves(&self, kind: &str) -> Vec<LogEntry> {
        let fields = vec![("kind".to_owned(), kind.to_owned())];
        self.server
            .store()
            .search(Search {
                fields,
                limit: 1000,
                ..Search::default()
            })
            .await
            .unwrap()
    }
}

fn kek() -> custody::Kek {
    custody::Kek::from_material(&[7; 32]).unwrap()
}

async fn open(folder: &Path, trust_domain: &str, seed: &[u8; 32], create: Create) -> SqliteStore {
    let signer = tlog::Signer::from_seed(&format!("{trust_domain}/hospital"), seed).unwrap();
    let config = StoreConfig {
        path: folder.join("server.db"),
        tenant: "hospital".parse().unwrap(),
        create,
        head_file: Some(folder.join("head")),
    };
    let clock = Arc::new(SystemClock);
    SqliteStore::open(config, signer, clock).await.unwrap()
}

fn parts(
    store: Arc<SqliteStore>,
    accounts: &RememberedAccounts,
    clock: &ShiftedClock,
    trust_domain: &str,
) -> Parts<SqliteStore, RememberedAccounts> {
    Parts {
        ledger_key: store.verifier_key().to_string(),
        store,
        accounts: accounts.clone(),
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SystemEntropy),
        kek: kek(),
        trust_domain: trust_domain.parse().unwrap(),
        tenant: "hospital".parse().unwrap(),
        lab: trust_domain.ends_with(".lab"),
        manufacturers: None,
        quote_interval: Duration::from_secs(240),
    }
}

/// [`ESTATE`] as the server takes it.
pub fn files() -> Vec<(String, String)> {
    ESTATE
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .to_vec()
}

/// The operating system's clock: certificates are judged by it at the other end, too.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the real time comes in here")]
        let now = SystemTime::now();
        Timestamp::from_millis(
            i64::try_from(now.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap(),
        )
    }
}

/// The operating system's clock, some time ahead. Clones are ahead together.
#[derive(Debug, Clone, Default)]
pub struct ShiftedClock(Arc<AtomicI64>);

impl ShiftedClock {
    /// Moves the clock by milliseconds, back when they are negative.
    pub fn shift(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().as_millis() + self.0.load(Ordering::Relaxed))
    }
}

/// The cryptographic library's generator.
#[derive(Debug, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).unwrap();
    }
}
