//! A small estate, two nodes with real keys, and statements that they really signed: proofs are made, never minted.

use std::{collections::BTreeMap, sync::Mutex};

use estate::{Assurance, ChangeId, Digest, Epoch, Estate, NodeName, PolicyVersion, Timestamp};
use evidence::{
    AttestedNode, Attestor, Confirmation, ContainerRef, ExeFacts, ImageFacts, Interactive,
    NodeFacts, Session, SessionKeys, Statement, StatementBuilder, Strength, Verifier,
    WorkloadFacts,
    request::{Canonical, IssueRequest, ReadRequest, SvidRequest},
};
use jose::EcdsaP256Key;
use ledger::Entropy;
use policy::Policies;
use spiffe_id::TrustDomain;

use crate::{executor::Random, journal::lock};

/// When histories begin.
pub(crate) const START: i64 = 1_800_000_000_000;
/// Offsets at which statements were measured; clocks jump between them.
pub(crate) const MEASURED: [i64; 3] = [-3_600_000, 0, 120_000];
pub(crate) const NODES: [&str; 2] = ["dal05-n1", "fra02-n1"];

/// What does not change between histories; made once, for keys and signatures take most of the time.
pub(crate) struct World {
    pub(crate) verifier: Verifier,
    pub(crate) policies: [Policies; 2],
    pub(crate) read: Vec<u8>,
    pub(crate) issue: Vec<u8>,
    keys: BTreeMap<NodeName, jose::Jwk>,
    statements: BTreeMap<(NodeName, i64, Vec<u8>), Statement>,
}

impl World {
    pub(crate) fn new() -> Self {
        let trust_domain: TrustDomain = "hospital.example".parse().unwrap();
        let read = read_request().to_canonical().unwrap();
        let issue = issue_request().to_canonical().unwrap();
        let confirmation = hpke_xwing::PrivateKey::generate(hpke_xwing::Suite::X25519).unwrap();
        let (mut keys, mut statements) = (BTreeMap::new(), BTreeMap::new());
        for name in NODES {
            let node: NodeName = name.parse().unwrap();
            let key = EcdsaP256Key::generate().unwrap();
            for (at, request) in MEASURED
                .into_iter()
                .flat_map(|at| [(at, &read), (at, &issue)])
            {
                let statement = StatementBuilder {
                    trust_domain: &trust_domain,
                    node: &node,
                    exporter: &EXPORTER,
                    seq: 1,
                    request,
                    confirmation: Confirmation::of(confirmation.public_key()),
                    measured_at: Timestamp::from_millis(START + at),
                    workload: Some(workload()),
                };
                statements.insert(
                    (node.clone(), at, request.clone()),
                    statement.sign(&key).unwrap(),
                );
            }
            keys.insert(node, key.public_jwk().clone());
        }
        let policies = [("read", 1), ("lease", 2)].map(|(action, version)| {
            Policies::load(&estate(action), PolicyVersion(version))
                .unwrap_or_else(|error| unreachable!("{error}"))
                .with_approval(ChangeId(10 + version), "chen@hospital.example".parse().ok())
        });
        Self {
            verifier: Verifier::new(trust_domain),
            policies,
            read,
            issue,
            keys,
            statements,
        }
    }

    /// The statement of `node` measured at START + `at`.
    pub(crate) fn statement(&self, node: &NodeName, at: i64, request: &[u8]) -> &Statement {
        &self.statements[&(node.clone(), at, request.to_vec())]
    }

    /// The node as the server has it on record.
    pub(crate) fn attested(&self, node: &NodeName, epoch: Epoch, banned: bool) -> AttestedNode {
        let facts = NodeFacts {
            name: node.clone(),
            cluster: None,
            location: None,
            assurance: Assurance::ENROLLED,
            attestor: Attestor::JoinToken,
            boot: None,
            quoted_at: None,
            epoch,
        };
        AttestedNode {
            facts,
            statement_key: self.keys[node].clone(),
            banned,
        }
    }
}

/// A connection of `node`, no sequence number used yet.
pub(crate) fn session(node: &NodeName) -> Session {
    Session::new(SessionKeys {
        node: node.clone(),
        exporter: EXPORTER,
    })
}

pub(crate) fn read_request() -> ReadRequest {
    ReadRequest {
        v: 1,
        secret: "db/medrec-pg/reader".parse().unwrap(),
    }
}

pub(crate) fn issue_request() -> IssueRequest {
    IssueRequest {
        v: 1,
        svid: SvidRequest::Jwt {
            audience: vec!["records".into()],
        },
    }
}

fn workload() -> WorkloadFacts {
    WorkloadFacts {
        container: Some(ContainerRef {
            runtime_namespace: "k8s.io".into(),
            id: "c1".into(),
        }),
        image: Some(ImageFacts {
            config: image(),
            chain_id: Digest::of("chain"),
        }),
        exe: Some(ExeFacts {
            digest: Digest::of("exe"),
            from_image: Some(true),
        }),
        deviations: Some(Vec::new()),
        interactive: Some(Interactive {
            yes: false,
            strength: Strength::Strong,
        }),
        privileged: Some(false),
        uid: Some(1000),
        pod: None,
    }
}

fn image() -> Digest {
    Digest::of("image")
}

/// One rule: medrec may do `action` in DAL05.
fn estate(action: &str) -> Estate {
    let images = format!(
        "version = 1\n[image.medrec]\nowner = \"owners\"\ndataset = \"medical-records\"\ndigests = [\"{}\"]\n",
        image()
    );
    let rule = format!(
        "@id(\"medrec\")\npermit (principal in ImageSet::\"medrec\", action == Action::\"{action}\", \
         resource in DataSet::\"medical-records\")\nwhen {{ principal in Location::\"DAL05\" }};\n"
    );
    let files = [
        ("people.toml", PEOPLE.to_owned()),
        ("datasets.toml", DATASETS.to_owned()),
        ("inventory.toml", INVENTORY.to_owned()),
        ("images.toml", images),
        ("policies/medical-records.cedar", rule),
    ];
    Estate::parse(&files).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Salts and entry ids that a seed repeats.
pub(crate) struct SeededEntropy(pub(crate) Mutex<Random>);

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut random = lock(&self.0);
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

const EXPORTER: [u8; 32] = [5; 32];
const PEOPLE: &str = "version = 1\n[team]\nowners = [\"chen@hospital.example\"]\n";
const DATASETS: &str = "version = 1\n[dataset.medical-records]\nowner = \"owners\"\ntenant = \"hospital\"\nmin_assurance = 0\n";
const INVENTORY: &str = "version = 1
[location]
DAL05 = { kind = \"datacenter\" }
FRA02 = { kind = \"datacenter\" }
[cluster.hipaa]
location = \"DAL05\"
[cluster.eu]
location = \"FRA02\"
[node.dal05-n1]
cluster = \"hipaa\"
location = \"DAL05\"
attest = \"join-token\"
[node.fra02-n1]
cluster = \"eu\"
location = \"FRA02\"
attest = \"join-token\"
";
