//! A real server for tests: store, keys and estate in a temporary folder. Only the databases' accounts are made up: they
//! are remembered, not created. No root, no network.
#![expect(
    clippy::unwrap_used,
    reason = "made for tests only: whatever fails ends the test"
)]

mod accounts;
mod node;
mod people;
mod rows;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use estate::Timestamp;
use ledger::{Actor, Entropy};
use server::{
    Parts, Server, genesis,
    ports::{Clock, LogEntry, Search, Store},
};
use store::{Create, SqliteStore, StoreConfig};

pub use accounts::RememberedAccounts;
pub use node::{IMAGE, TestNode, as_shipped};
pub use people::{Person, TlsIdentity};

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
        let folder = tempfile::tempdir().unwrap();
        let kek = || custody::Kek::from_material(&[7; 32]).unwrap();
        let trust_domain = "test.lab".parse().unwrap();
        let (row, seed) = genesis::log_key(&kek(), &SystemEntropy, &SystemClock).unwrap();
        let signer = tlog::Signer::from_seed("test.lab/hospital", &seed).unwrap();
        let ledger_key = signer.verifier_key().to_string();
        let config = StoreConfig {
            path: folder.path().join("server.db"),
            tenant: "hospital".parse().unwrap(),
            create: Create::New,
            head_file: Some(folder.path().join("head")),
        };
        let store = Arc::new(
            SqliteStore::open(config, signer, Arc::new(SystemClock))
                .await
                .unwrap(),
        );
        let entropy = Arc::new(SystemEntropy);
        let begun = genesis::begin(
            Arc::clone(&store),
            &kek(),
            row,
            &trust_domain,
            entropy,
            &SystemClock,
        )
        .await
        .unwrap();
        let root = store.key(server::keyring::ROOT, "").await.unwrap().unwrap();
        let (accounts, clock) = (RememberedAccounts::default(), ShiftedClock::default());
        let parts = Parts {
            store,
            accounts: accounts.clone(),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SystemEntropy),
            kek: kek(),
            trust_domain,
            tenant: "hospital".parse().unwrap(),
            lab: true,
            manufacturers: None,
            ledger_key,
            quote_interval: Duration::from_secs(240),
        };
        let server = Server::build(parts).await.unwrap();
        Self {
            server,
            accounts,
            clock,
            folder,
            root_der: root.public,
            pin: begun.pin.to_string(),
        }
    }

    /// A server with [`ESTATE`] in force.
    pub async fn start() -> Self {
        let this = Self::empty().await;
        this.server
            .apply(files(), false, Actor::LocalRoot, None)
            .await
            .unwrap();
        this
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
    pub async fn edit(&self, sql: &'static str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.folder.path().join("server.db"));
        let mut database = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query(sql).execute(&mut database).await.unwrap();
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
