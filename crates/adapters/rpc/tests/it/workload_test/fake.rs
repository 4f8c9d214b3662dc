//! An agent that answers as it is told, on a real socket.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agent::{AgentError, AgentStanding, Delivered, HandWatch, Hands, JwtSvid, X509Svid};
use estate::{CredentialName, Digest, ImageSetName, SecretName, Timestamp};
use evidence::{
    Confirmation, WorkloadFacts,
    request::{LayerDescriptor, LayerUse},
};
use jose::{EcdsaP256Key, Signer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rpc::{
    unix::{self, Access},
    workload::{WorkloadAgent, WorkloadSettings, serve},
};
use spiffe_id::{Bundle, SpiffeId};
use tempfile::TempDir;
use tokio::sync::watch;

/// What is given to [`FakeAgent`]'s callers next; the last answer is given for ever.
pub(crate) type Next<T> = Mutex<VecDeque<Result<T, AgentError>>>;
/// Makes a released answer for a request and the requester's key.
pub(crate) type Release =
    Box<dyn Fn(Asked, &Confirmation) -> Result<Delivered, AgentError> + Send + Sync>;

/// What was asked of the release path.
pub(crate) enum Asked {
    Read(SecretName),
    Lease(CredentialName, String),
    Open(Vec<u8>, ImageSetName, LayerDescriptor),
}

pub(crate) struct FakeAgent {
    pub(crate) facts: Next<WorkloadFacts>,
    pub(crate) x509: Next<X509Svid>,
    pub(crate) jwt: Next<JwtSvid>,
    pub(crate) release: Mutex<Release>,
    pub(crate) uses: Next<Vec<LayerUse>>,
    pub(crate) bundle: watch::Sender<Arc<Bundle>>,
    pub(crate) standing: watch::Sender<AgentStanding>,
    pub(crate) hands: Arc<Hands>,
    pub(crate) callers: Mutex<Vec<u32>>,
}

impl FakeAgent {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            facts: Mutex::new([Ok(facts(1000))].into()),
            x509: Mutex::new([Ok(x509(1, Duration::from_secs(3600)))].into()),
            jwt: Mutex::new([Err(AgentError::NotAttested)].into()),
            release: Mutex::new(Box::new(|_, _| Err(AgentError::NotAttested))),
            uses: Mutex::new([Err(AgentError::NotAttested)].into()),
            bundle: watch::Sender::new(Arc::new(bundle(1))),
            standing: watch::Sender::new(AgentStanding {
                attested: true,
                ..AgentStanding::default()
            }),
            hands: Arc::default(),
            callers: Mutex::default(),
        })
    }

    fn released(
        &self,
        caller: u32,
        asked: Asked,
        cnf: &Confirmation,
    ) -> Result<Delivered, AgentError> {
        self.callers.lock().unwrap().push(caller);
        (self.release.lock().unwrap())(asked, cnf)
    }
}

/// Sets what is given next.
pub(crate) fn answer<T, const N: usize>(next: &Next<T>, answers: [Result<T, AgentError>; N]) {
    *next.lock().unwrap() = answers.into();
}

fn next<T>(next: &Next<T>, again: impl Fn(&T) -> T) -> Result<T, AgentError> {
    let mut next = next.lock().unwrap();
    match next.len() {
        1 => next[0].as_ref().map(again).map_err(Clone::clone),
        _ => next.pop_front().unwrap(),
    }
}

fn same(svid: &X509Svid) -> X509Svid {
    let X509Svid {
        id,
        chain,
        key_pkcs8,
        not_after,
    } = svid;
    X509Svid {
        id: id.clone(),
        chain: chain.clone(),
        key_pkcs8: key_pkcs8.clone(),
        not_after: *not_after,
    }
}

impl WorkloadAgent for FakeAgent {
    type Caller = u32;

    async fn measure(&self, caller: &u32) -> Result<WorkloadFacts, AgentError> {
        self.callers.lock().unwrap().push(*caller);
        next(&self.facts, Clone::clone)
    }
    async fn read(
        &self,
        caller: &u32,
        secret: SecretName,
        cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        self.released(*caller, Asked::Read(secret), &cnf)
    }
    async fn lease(
        &self,
        caller: &u32,
        credential: CredentialName,
        verifier: String,
        cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        self.released(*caller, Asked::Lease(credential, verifier), &cnf)
    }
    async fn x509_svid(&self, _caller: &u32) -> Result<X509Svid, AgentError> {
        next(&self.x509, same)
    }
    async fn jwt_svid(&self, _caller: &u32, _audience: Vec<String>) -> Result<JwtSvid, AgentError> {
        next(&self.jwt, |svid| JwtSvid {
            id: svid.id.clone(),
            token: svid.token.clone(),
            expires: svid.expires,
        })
    }
    async fn open(
        &self,
        caller: &u32,
        packet: Vec<u8>,
        image: ImageSetName,
        layer: LayerDescriptor,
        cnf: Confirmation,
    ) -> Result<Delivered, AgentError> {
        self.released(*caller, Asked::Open(packet, image, layer), &cnf)
    }
    async fn layer_uses(&self, caller: &u32, _layer: Digest) -> Result<Vec<LayerUse>, AgentError> {
        self.callers.lock().unwrap().push(*caller);
        next(&self.uses, Clone::clone)
    }
    fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        self.bundle.subscribe()
    }
    fn standing(&self) -> watch::Receiver<AgentStanding> {
        self.standing.subscribe()
    }
    fn hands(&self) -> HandWatch {
        self.hands.watch()
    }
}

/// A served socket.
pub(crate) struct Served {
    pub(crate) agent: Arc<FakeAgent>,
    pub(crate) path: PathBuf,
    _folder: TempDir,
}

/// Serves `agent` on a socket of its own; processes are looked at again every few milliseconds.
pub(crate) fn served(agent: Arc<FakeAgent>) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let listener = unix::listen(&path, Access::Everybody).unwrap();
    let mut settings = WorkloadSettings::new(Arc::new(now));
    settings.look_again = Duration::from_millis(20);
    let work = serve(
        Arc::clone(&agent),
        listener,
        |peer: peer::Peer| peer.pid(),
        settings,
        std::future::pending(),
    );
    tokio::spawn(work);
    Served {
        agent,
        path,
        _folder: folder,
    }
}

#[expect(clippy::disallowed_methods, reason = "test code")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn facts(uid: u32) -> WorkloadFacts {
    WorkloadFacts {
        container: None,
        image: None,
        exe: None,
        deviations: None,
        interactive: None,
        privileged: None,
        uid: Some(uid),
        pod: None,
    }
}

pub(crate) fn id() -> SpiffeId {
    "spiffe://td.lab/records/reader".parse().unwrap()
}

/// The service carries certificates and does not read them.
pub(crate) fn x509(serial: u8, life: Duration) -> X509Svid {
    X509Svid {
        id: id(),
        chain: vec![vec![serial, 1], vec![serial, 2]],
        key_pkcs8: zeroize::Zeroizing::new(vec![serial, 3]),
        not_after: now().plus(life),
    }
}

/// The trust domain's bundle, with another root for each sequence.
pub(crate) fn bundle(sequence: u64) -> Bundle {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://td.lab".try_into().unwrap())];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Bundle::new(&"td.lab".parse().unwrap())
        .with_x509_authority(root.der())
        .unwrap()
        .with_sequence(sequence)
}

/// A key for JWT-SVIDs and the bundle that has it.
pub(crate) fn jwt_authority() -> (EcdsaP256Key, Bundle) {
    let key = EcdsaP256Key::generate().unwrap();
    let jwk = key.public_jwk().clone().with_kid("k1");
    (key, bundle(1).with_jwt_authority(jwk).unwrap())
}

/// A JWT-SVID of the key.
pub(crate) fn token(key: &dyn Signer, audience: &str, life: i64) -> String {
    let now = u64::try_from(now().as_seconds()).unwrap();
    let (issued, expires) = (now - 600, now.checked_add_signed(life).unwrap());
    let time = spiffe_id::UnixTime::from_secs;
    spiffe_id::JwtClaims::new(id(), [audience], time(issued), time(expires))
        .unwrap()
        .with_claim(
            "bailiwick",
            serde_json::json!({"leaf": 7, "facts": ["a", true, null]}),
        )
        .unwrap()
        .sign("k1", key)
        .unwrap()
}
