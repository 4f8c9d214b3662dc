//! `exec` and `svid` as a workload starts them, over the real socket of an agent that answers as the release path does.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use agent::{AgentError, AgentStanding, Delivered, JwtSvid, X509Svid, ports::Outcome};
use estate::{CredentialName, Digest, ImageSetName, SecretName, Timestamp};
use evidence::{
    Confirmation, WorkloadFacts,
    request::{Canonical, LayerDescriptor, LeaseRequest, ReadRequest},
};
use ledger::{Draft, Entropy};
use rpc::{
    unix::{self, Access},
    workload::{WorkloadAgent, WorkloadSettings, serve},
};
use spiffe_id::Bundle;
use tempfile::TempDir;
use tlog::{Checkpoint, Receipt, Signer, leaf_hash};
use tokio::{runtime::Runtime, sync::watch};

/// Gives everything that is asked for, unless it is told to deny.
struct Generous {
    denies: Mutex<Option<String>>,
    /// The verifier of the last lease.
    verifier: Mutex<String>,
}

struct Fixed;
impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(9);
    }
}

fn log() -> Signer {
    Signer::from_seed("td.lab/log", &[3; 32]).unwrap()
}

impl Generous {
    fn sealed(
        &self,
        request: Vec<u8>,
        info: &str,
        cnf: &Confirmation,
        value: &[u8],
    ) -> Result<Delivered, AgentError> {
        if let Some(reason) = self.denies.lock().unwrap().clone() {
            return Err(AgentError::Denied {
                code: "denied".to_owned(),
                reason,
                receipt: None,
            });
        }
        let leaf = Draft::new("read", &Fixed)
            .seal(Timestamp::from_seconds(5))
            .unwrap()
            .bytes;
        let aad = ledger::commit::release_aad(Digest::of(&request), &leaf);
        let sealed =
            hpke_xwing::seal(&cnf.public_key().unwrap(), info.as_bytes(), &aad, value).unwrap();
        let log = log();
        let checkpoint = Checkpoint::new(log.name(), 1, leaf_hash(&leaf))
            .unwrap()
            .sign(&log)
            .unwrap();
        Ok(Delivered {
            request,
            proof: Receipt::new(0, Vec::new(), checkpoint).to_text(),
            leaf,
            ledger_key: log.verifier_key().to_string(),
            lab: true,
            outcome: Outcome::Sealed {
                suite: cnf.suite.clone(),
                enc: sealed.enc,
                ct: sealed.ct,
            },
        })
    }
}

impl WorkloadAgent for Generous {
    type Caller = u32;

    async fn measure(&self, _: &u32) -> Result<WorkloadFacts, AgentError> {
        Err(AgentError::NotAttested)
    }
    async fn read(
        &self,
        _: &u32,
        secret: SecretName,
        cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        let request = ReadRequest { v: 1, secret }.to_canonical().unwrap();
        self.sealed(request, "bailiwick/release/v1", &cnf, b"the value")
    }
    async fn lease(
        &self,
        _: &u32,
        credential: CredentialName,
        verifier: String,
        cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        *self.verifier.lock().unwrap() = verifier.clone();
        let request = LeaseRequest {
            v: 1,
            credential,
            verifier,
        }
        .to_canonical()
        .unwrap();
        let connection = serde_json::json!({
            "lease": "l1", "user": "bw_1_medrec", "host": "db.example", "port": 5432, "database": "records",
            "ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "expires": "2026-11-24T00:00:00Z",
        });
        self.sealed(
            request,
            "bailiwick/lease/v1",
            &cnf,
            connection.to_string().as_bytes(),
        )
    }
    async fn x509_svid(&self, _: &u32) -> Result<X509Svid, AgentError> {
        Err(AgentError::NotAttested)
    }
    async fn jwt_svid(&self, _: &u32, _: Vec<String>) -> Result<JwtSvid, AgentError> {
        match self.denies.lock().unwrap().clone() {
            Some(reason) => Err(AgentError::Denied {
                code: "denied".to_owned(),
                reason,
                receipt: None,
            }),
            None => Ok(JwtSvid {
                id: "spiffe://td.lab/a".parse().unwrap(),
                token: "a.b.c".to_owned(),
                expires: Timestamp::from_seconds(5),
            }),
        }
    }
    async fn open(
        &self,
        _: &u32,
        _: Vec<u8>,
        _: ImageSetName,
        _: LayerDescriptor,
        _: Confirmation,
    ) -> Result<Delivered, AgentError> {
        Err(AgentError::NotAttested)
    }
    fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        watch::Sender::new(Arc::new(Bundle::new(&"td.lab".parse().unwrap()))).subscribe()
    }
    fn standing(&self) -> watch::Receiver<AgentStanding> {
        watch::Sender::new(AgentStanding::default()).subscribe()
    }
}

struct Workload {
    agent: Arc<Generous>,
    socket: PathBuf,
    _runtime: Runtime,
    _folder: TempDir,
}

fn workload() -> Workload {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let agent = Arc::new(Generous {
        denies: Mutex::default(),
        verifier: Mutex::default(),
    });
    let settings = WorkloadSettings::new(Arc::new(|| Timestamp::from_seconds(5)));
    let _entered = runtime.enter();
    let listener = unix::listen(&socket, Access::Everybody).unwrap();
    let serving = serve(
        Arc::clone(&agent),
        listener,
        |peer: peer::Peer| peer.pid(),
        settings,
        std::future::pending(),
    );
    runtime.spawn(serving);
    drop(_entered);
    Workload {
        agent,
        socket,
        _runtime: runtime,
        _folder: folder,
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
    command.args(words).env_remove("SPIFFE_ENDPOINT_SOCKET");
    command
}

impl Workload {
    fn exec(&self, words: &[&str]) -> Output {
        let socket = self.socket.to_str().unwrap();
        command(&[&["exec", "--socket", socket, "--wait", "0s"], words].concat())
            .output()
            .unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_secret_reaches_the_command_in_a_memory_file_that_only_it_has() {
    let output = workload().exec(&[
        "--lab",
        "--secret",
        "db/token",
        "--",
        "sh",
        "-c",
        "cat $DB_TOKEN_FILE; env",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(shown.starts_with("the value"), "{shown}");
    assert_eq!(
        shown.matches("the value").count(),
        1,
        "not in the environment: {shown}"
    );
    assert!(said(&output).is_empty());
}

#[test]
fn the_environment_is_used_only_when_asked_and_with_a_warning() {
    let output = workload().exec(&[
        "--lab",
        "--secret",
        "db/token=TOKEN",
        "--",
        "sh",
        "-c",
        "printf %s \"$TOKEN\"",
    ]);
    assert_eq!(output.stdout, b"the value");
    assert!(said(&output).starts_with("warning: "), "{}", said(&output));
}

#[test]
fn a_lease_comes_with_a_password_whose_verifier_alone_travelled() {
    let workload = workload();
    let words = [
        "--lab",
        "--lease",
        "records=medrec/db:pgpass",
        "--",
        "sh",
        "-c",
        "cat $PGPASSFILE; echo $PGSSLMODE",
    ];
    let output = workload.exec(&words);
    assert!(output.status.success(), "{}", said(&output));
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    let (line, mode) = shown.trim_end().split_once('\n').unwrap();
    let password = line
        .strip_prefix("db.example:5432:records:bw_1_medrec:")
        .unwrap();
    assert_eq!((password.len(), mode), (43, "verify-full"));
    let verifier = workload.agent.verifier.lock().unwrap().clone();
    assert!(verifier.parse::<accounts::scram::Verifier>().is_ok() && !verifier.contains(password));
}

#[test]
fn the_commands_own_code_is_passed_and_125_to_127_are_ours() {
    let workload = workload();
    assert_eq!(
        workload.exec(&["--", "sh", "-c", "exit 7"]).status.code(),
        Some(7)
    );
    assert_eq!(
        workload.exec(&["--", "/does/not/exist"]).status.code(),
        Some(127)
    );
    assert_eq!(
        workload
            .exec(&["--", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
            .status
            .code(),
        Some(126)
    );
    *workload.agent.denies.lock().unwrap() = Some("not in DAL05".to_owned());
    let denied = workload.exec(&["--lab", "--secret", "db/token", "--", "true"]);
    assert_eq!(denied.status.code(), Some(125));
    assert!(
        said(&denied).contains("denied: not in DAL05\nhint: "),
        "{}",
        said(&denied)
    );
    let nobody = command(&[
        "exec", "--wait", "0s", "--socket", "/none", "--secret", "a", "--", "true",
    ])
    .output()
    .unwrap();
    assert_eq!(nobody.status.code(), Some(125));
}

#[test]
fn a_lab_and_another_ledger_are_refused() {
    let workload = workload();
    let secret = ["--secret", "db/token", "--", "true"];
    let lab = workload.exec(&secret);
    assert_eq!(lab.status.code(), Some(125));
    assert!(
        said(&lab).contains("lab") && said(&lab).contains("`--lab`"),
        "{}",
        said(&lab)
    );
    let own = log().verifier_key().to_string();
    assert!(
        workload
            .exec(&[&["--ledger-key", own.as_str()], &secret[..]].concat())
            .status
            .success()
    );
    let other = Signer::from_seed("td.lab/log", &[4; 32])
        .unwrap()
        .verifier_key()
        .to_string();
    let other = workload.exec(&[&["--ledger-key", other.as_str()], &secret[..]].concat());
    assert_eq!(other.status.code(), Some(125));
    assert!(said(&other).contains("pinned"), "{}", said(&other));
}

#[test]
fn a_token_is_printed_and_a_denial_has_its_code() {
    let workload = workload();
    let address = format!("unix://{}", workload.socket.display());
    let jwt = || {
        command(&["svid", "jwt", "--audience", "vault"])
            .env("SPIFFE_ENDPOINT_SOCKET", &address)
            .output()
            .unwrap()
    };
    assert_eq!(jwt().stdout, b"a.b.c\n");
    *workload.agent.denies.lock().unwrap() = Some("no".to_owned());
    assert_eq!(jwt().status.code(), Some(3));
    let x509 = command(&[
        "svid",
        "x509",
        "--socket",
        workload.socket.to_str().unwrap(),
    ])
    .output()
    .unwrap();
    assert_eq!(x509.status.code(), Some(5), "{}", said(&x509));
}
