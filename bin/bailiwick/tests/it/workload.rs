//! An agent on a real socket that answers as the release path does, and the commands that ask it.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use agent::{
    AgentError, AgentStanding, Delivered, HandWatch, Hands, JwtSvid, X509Svid, ports::Outcome,
};
use estate::{CredentialName, Digest, ImageSetName, SecretName, Timestamp};
use evidence::{
    Confirmation, ContainerRef, WorkloadFacts,
    request::{Canonical, LayerDescriptor, LayerUse, LeaseRequest, ReadRequest},
};
use ledger::{Draft, Entropy};
use rpc::{
    key_socket,
    unix::{self, Access},
    workload::{WorkloadAgent, WorkloadSettings, serve},
};
use spiffe_id::Bundle;
use tempfile::TempDir;
use tlog::{Checkpoint, Receipt, Signer, leaf_hash};
use tokio::{runtime::Runtime, sync::watch};

/// Gives everything that is asked for, unless it is told to deny.
pub(crate) struct Generous {
    pub(crate) denies: Mutex<Option<String>>,
    /// The verifier of the last lease.
    pub(crate) verifier: Mutex<String>,
    /// A certificate, its key, and the root that is said to have signed it.
    pub(crate) svid: Mutex<Option<Svid>>,
    /// Where layers are listed.
    pub(crate) uses: Mutex<Vec<LayerUse>>,
    /// Containers in which somebody had a hand.
    pub(crate) hands: Arc<Hands>,
    /// An agent whose senders are gone is stopping.
    bundles: Mutex<Vec<watch::Sender<Arc<Bundle>>>>,
    standing: watch::Sender<AgentStanding>,
}

/// The container that every caller is said to live in.
pub(crate) fn container() -> ContainerRef {
    ContainerRef {
        runtime_namespace: "default".to_owned(),
        id: "app".to_owned(),
    }
}

#[derive(Clone)]
pub(crate) struct Svid {
    pub(crate) leaf: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) root: Vec<u8>,
}

struct Fixed;
impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(9);
    }
}

pub(crate) fn log() -> Signer {
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
        let facts: WorkloadFacts = serde_json::from_str("{}").unwrap();
        Ok(WorkloadFacts {
            container: Some(container()),
            ..facts
        })
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
        let Svid { leaf, key, root: _ } = self
            .svid
            .lock()
            .unwrap()
            .clone()
            .ok_or(AgentError::NotAttested)?;
        Ok(X509Svid {
            id: "spiffe://td.lab/a".parse().unwrap(),
            chain: vec![leaf],
            key_pkcs8: zeroize::Zeroizing::new(key),
            not_after: Timestamp::from_seconds(5000),
        })
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
    async fn layer_uses(&self, _: &u32, _: Digest) -> Result<Vec<LayerUse>, AgentError> {
        Ok(self.uses.lock().unwrap().clone())
    }
    fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        let bundle = Bundle::new(&"td.lab".parse().unwrap());
        let bundle = match self.svid.lock().unwrap().as_ref() {
            Some(svid) => bundle.with_x509_authority(&svid.root).unwrap(),
            None => bundle,
        };
        let sender = watch::Sender::new(Arc::new(bundle));
        let receiver = sender.subscribe();
        self.bundles.lock().unwrap().push(sender);
        receiver
    }
    fn standing(&self) -> watch::Receiver<AgentStanding> {
        self.standing.subscribe()
    }
    fn hands(&self) -> HandWatch {
        self.hands.watch()
    }
}

pub(crate) struct Workload {
    pub(crate) agent: Arc<Generous>,
    pub(crate) socket: PathBuf,
    /// For decoders that are root.
    pub(crate) key_socket: PathBuf,
    _runtime: Runtime,
    _folder: TempDir,
}

pub(crate) fn workload() -> Workload {
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
        svid: Mutex::default(),
        uses: Mutex::default(),
        hands: Arc::default(),
        bundles: Mutex::default(),
        standing: watch::Sender::default(),
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
    let key_socket = folder.path().join("keys.sock");
    runtime.spawn(key_socket::serve(
        Arc::clone(&agent),
        unix::listen(&key_socket, Access::Root).unwrap(),
        |peer: peer::Peer| peer.pid(),
        std::future::pending(),
    ));
    drop(_entered);
    Workload {
        agent,
        socket,
        key_socket,
        _runtime: runtime,
        _folder: folder,
    }
}

pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
    command.args(words).env_remove("SPIFFE_ENDPOINT_SOCKET");
    command
}

impl Workload {
    pub(crate) fn exec(&self, words: &[&str]) -> Output {
        let socket = self.socket.to_str().unwrap();
        command(&[&["exec", "--socket", socket, "--wait", "0s"], words].concat())
            .output()
            .unwrap()
    }
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
