//! `bailiwick server` as a process of its own in a scratch folder: made, run, killed, asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as B64;
use custody::{KeyDocument, KeyUse, RootPin, seal_secret};
use estate::Digest;
use fixture::{Daemon, DaemonSpec, Postgres, Scratch, free_port};
use serde_json::{Value, json};
use spiffe_id::TrustDomain;
use sshsig::SigningKey;
use tlog::VerifierKey;
use web::client::Question;
use web::{Address, Call, Client};

use crate::node::now;
use crate::program::{Program, Said};

/// The trust domain of these servers.
pub const TRUST_DOMAIN: &str = "hospital.lab";

/// Files of an estate whose two nodes join by token: one data set, one image set, one credential.
pub const ESTATE: [(&str, &str); 6] = [
    ("people.toml", include_str!("estate/people.toml")),
    ("datasets.toml", include_str!("estate/datasets.toml")),
    ("inventory.toml", include_str!("estate/inventory.toml")),
    ("images.toml", include_str!("estate/images.toml")),
    ("credentials.toml", include_str!("estate/credentials.toml")),
    (
        "policies/records.cedar",
        include_str!("estate/records.cedar"),
    ),
];

/// Whose signature brings an estate of these servers into force: its `people.toml` has no rules of approval.
pub const FOUNDER: &str = "fay@hospital.example";

/// A server's folder, and the process when it runs.
pub struct LoneServer {
    program: Program,
    scratch: Scratch,
    folder: PathBuf,
    nodes: String,
    pin: RootPin,
    ledger_key: VerifierKey,
    /// LOCK: held for as long as the process is exchanged.
    daemon: Mutex<Option<Daemon>>,
}

impl LoneServer {
    /// `server init`: keys wrapped by a systemd credential, which this test writes.
    #[must_use]
    pub fn init(scratch: &Scratch) -> Self {
        let program = Program::find();
        let folder = scratch.join("server");
        fs::create_dir_all(folder.join("credentials")).unwrap();
        let kek = folder.join("credentials/kek");
        fs::write(&kek, [7; 32]).unwrap();
        fs::set_permissions(&kek, fs::Permissions::from_mode(0o600)).unwrap();
        let nodes = format!("127.0.0.1:{}", free_port().unwrap());
        let config = folder.join("server.toml");
        fs::write(&config, configuration(&folder, &nodes)).unwrap();
        let (key, public) = (folder.join("founder"), folder.join("founder.pub"));
        fs::write(&key, founder().to_openssh()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&public, format!("{}\n", founder().public_key())).unwrap();
        let founder = format!("{FOUNDER}={}", shown(&public));
        let said = program
            .run_with(
                [
                    "server",
                    "init",
                    "--lab",
                    "--config",
                    shown(&config),
                    "--founder",
                    &founder,
                ],
                &[("CREDENTIALS_DIRECTORY", shown(&folder.join("credentials")))],
            )
            .well();
        let value = |name: &str| {
            let line = said.stdout.lines().find(|line| line.starts_with(name));
            let word = line.and_then(|line| line.split_whitespace().last());
            word.unwrap_or_else(|| panic!("no `{name}` in {said:?}"))
                .to_owned()
        };
        Self {
            pin: value("root  ").parse().unwrap(),
            ledger_key: value("ledger key").parse().unwrap(),
            program,
            scratch: scratch.clone(),
            nodes,
            daemon: Mutex::new(None),
            folder,
        }
    }

    /// `server run`, until it listens.
    pub fn start(&self) {
        let daemon = DaemonSpec::new("server", self.program.path())
            .args(["server", "run", "--config"])
            .args([self.folder.join("server.toml")])
            .env("CREDENTIALS_DIRECTORY", self.folder.join("credentials"))
            .start(&self.scratch)
            .unwrap();
        // A socket that a killed server left behind takes no connection.
        daemon
            .ready(Duration::from_secs(30), || {
                UnixStream::connect(self.socket()).ok()
            })
            .unwrap();
        *self.daemon() = Some(daemon);
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&self) {
        self.daemon().take().expect("it runs").kill();
    }

    /// Asks it to end.
    pub fn stop(&self) {
        self.daemon().take().expect("it runs").stop();
    }

    /// Everything that it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon().as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// Makes [`ESTATE`] true; with a database, its credential is for that one and its login is put.
    pub async fn apply_estate(&self, database: Option<&Postgres>) {
        let mut files = estate_files();
        if let Some(database) = database {
            let url = format!("url = \"{}\"\nca = \"keys/pg-ca.pem\"", database.url());
            let from = "url = \"postgresql://localhost:5432/medrec\"";
            for (_, text) in &mut files {
                *text = text.replace(from, &url);
            }
            files.push(("keys/pg-ca.pem".into(), database.ca_pem().into()));
        }
        self.submit_and_sign(files).await;
        if let Some(database) = database {
            let login = database.broker();
            let value = json!({ "user": login.user, "password": login.password }).to_string();
            self.put_secret("db/pg/admin", 1, value.as_bytes())
                .await
                .unwrap();
        }
    }

    /// Submits an estate, which the founder signs.
    async fn submit_and_sign(&self, files: Vec<(String, String)>) {
        let (client, body) = (self.client(), json!({ "files": files }));
        let submitted = client
            .send::<web::wire::Submitted>(Call::Apply, Question::default(), &body)
            .await;
        let waiting = submitted
            .unwrap()
            .data
            .waiting
            .expect("a first estate waits");
        let text = waiting.hash.to_string();
        let signature = founder().sign("bailiwick-change", text.as_bytes()).unwrap();
        let number = waiting.number.to_string();
        let path = [("number", number.as_str())];
        let asked = Question {
            path: &path,
            query: &[],
        };
        let body = json!({ "signature": signature.armored() });
        let approved = client
            .send::<web::wire::Submitted>(Call::Approve, asked, &body)
            .await;
        assert!(approved.unwrap().data.applied.is_some());
    }

    /// The founder's private key.
    #[must_use]
    pub fn founder_key(&self) -> PathBuf {
        self.folder.join("founder")
    }

    /// Puts a secret of the data set as this version, sealed here; the receipt.
    ///
    /// # Errors
    /// The server's refusal, or why it did not answer.
    pub async fn put_secret(
        &self,
        name: &str,
        version: u64,
        value: &[u8],
    ) -> Result<web::wire::Receipt, web::ClientError> {
        let client = self.client();
        let path = [("name", "records")];
        let asked = Question {
            path: &path,
            query: &[],
        };
        let document = client
            .get::<web::wire::KeyDocument>(Call::DataSetKey, asked)
            .await?;
        let body = self.sealed(&document.data.document, name, version, value);
        let path = [("name", name)];
        let asked = Question {
            path: &path,
            query: &[],
        };
        let answer = client.send::<Value>(Call::PutSecret, asked, &body).await?;
        Ok(answer.receipt.expect("a client with a key checks that"))
    }

    /// A secret sealed to a signed key document of the data set.
    #[must_use]
    pub fn sealed(&self, document: &str, name: &str, version: u64, value: &[u8]) -> Value {
        let document = KeyDocument::verify(document, KeyUse::Dataset, self.pin, now()).unwrap();
        let row = seal_secret(&document, &name.parse().unwrap(), version, value, "test").unwrap();
        json!({
            "version": row.version, "dataset": row.dataset, "suite": row.suite, "keyId": row.key_id.to_string(),
            "enc": B64.encode(row.enc), "ct": B64.encode(row.ct),
        })
    }

    /// A one-time token for a node.
    pub async fn token(&self, node: &str) -> String {
        let path = [("name", node)];
        let asked = Question {
            path: &path,
            query: &[],
        };
        let answer = self
            .client()
            .get::<web::wire::Token>(Call::Token, asked)
            .await;
        answer.unwrap().data.token
    }

    /// A client of the root-only socket that uses no answer without a valid receipt.
    #[must_use]
    pub fn client(&self) -> Client {
        let address = Address::Unix(self.socket());
        Client::new(address, None, Some(self.ledger_key.clone())).unwrap()
    }

    /// Runs a command that asks this server.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Said {
        let server = format!("unix:{}", self.socket().display());
        self.program
            .run(words.iter().copied().chain(["--server", &server]))
    }

    /// The root-only socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("server.sock")
    }

    /// Where nodes connect.
    #[must_use]
    pub fn nodes(&self) -> &str {
        &self.nodes
    }

    /// What the checkpoints are verified with, as `init` printed it.
    #[must_use]
    pub fn ledger_key(&self) -> &VerifierKey {
        &self.ledger_key
    }

    /// The root's fingerprint, as `init` printed it.
    #[must_use]
    pub fn pin(&self) -> RootPin {
        self.pin
    }

    /// The root certificate.
    #[must_use]
    pub fn root_der(&self) -> Vec<u8> {
        let text = fs::read_to_string(self.folder.join("data/root.pem")).unwrap();
        let base64: String = text
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .map(str::trim)
            .collect();
        B64.decode(base64).unwrap()
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> TrustDomain {
        TRUST_DOMAIN.parse().unwrap()
    }

    fn daemon(&self) -> std::sync::MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn founder() -> SigningKey {
    SigningKey::generate_ed25519([11; 32], FOUNDER).unwrap()
}

fn estate_files() -> Vec<(String, String)> {
    let medrec = Digest::of("medrec").to_string();
    let files = ESTATE.iter();
    files
        .map(|(path, text)| ((*path).to_owned(), text.replace("@medrec@", &medrec)))
        .collect()
}

fn configuration(folder: &Path, nodes: &str) -> String {
    let folder = folder.display();
    format!(
        "trust_domain = \"{TRUST_DOMAIN}\"\ntenant = \"hospital\"\nnames = [\"localhost\", \"127.0.0.1\"]\n\
         data = \"{folder}/data\"\nhead_file = \"{folder}/head\"\nsocket = \"{folder}/server.sock\"\nlisten = \"{nodes}\"\n\
         [kek]\nprovider = \"systemd-credential\"\nname = \"kek\"\n"
    )
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}
