//! A lab's node without an agent: it joins by token, and says on its connection whatever a test wants.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use agent::ports::{
    Admission, AttestingLink, Connector, Hello, Identification, LinkError, NodeKeys, Reply,
    ServerLink,
};
use estate::{Digest, NodeName, Timestamp};
use evidence::request::Canonical;
use evidence::{
    Action, AttestBinding, Confirmation, ContainerRef, ExeFacts, ImageFacts, Interactive, Proof,
    Purpose, Statement, StatementBuilder, Strength, WorkloadFacts,
};
use hpke_xwing::{PrivateKey, Suite};
use jose::{EcdsaP256Key, Signer};
use rpc::link::{FileNodeKeys, RpcConnector, RpcLink};
use spiffe_id::TrustDomain;

use crate::server::LoneServer;

/// A node that was admitted.
pub struct TokenNode {
    /// What the server gave.
    pub admission: Admission,
    name: NodeName,
    trust_domain: TrustDomain,
    connector: RpcConnector,
    statement_key: EcdsaP256Key,
}

/// One connection of a node, with its sequence numbers.
pub struct NodeLink<'a> {
    node: &'a TokenNode,
    link: RpcLink,
    seq: AtomicU64,
}

impl TokenNode {
    /// Joins with this token; keys lie in `folder`.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn join(
        server: &LoneServer,
        name: &str,
        token: &str,
        folder: &Path,
    ) -> Result<Self, LinkError> {
        let (name, trust_domain): (NodeName, TrustDomain) =
            (name.parse().unwrap(), server.trust_domain());
        let (key, token_file) = (folder.join("node.key"), folder.join("token"));
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&token_file, token).unwrap();
        let keys = Arc::new(FileNodeKeys::open(&key, token_file).unwrap());
        let node_key = EcdsaP256Key::from_pkcs8(&std::fs::read(&key).unwrap()).unwrap();
        let connector = RpcConnector::new(
            vec![server.nodes().parse().unwrap()],
            &[server.root_der()],
            &trust_domain,
            Arc::clone(&keys) as Arc<dyn NodeKeys>,
        );
        let connector = connector.unwrap();
        let statement_key = EcdsaP256Key::generate().unwrap();
        let mut link = connector.attesting().await?;
        let binding = AttestBinding {
            trust_domain: trust_domain.clone(),
            node: name.clone(),
            purpose: Purpose::Enrol,
            ak_name: Vec::new(),
            node_key_name: Digest::of(keys.node_key_spki()).as_bytes().to_vec(),
            statement_key: statement_key.public_jwk().clone(),
            hpke_key: Confirmation::of(PrivateKey::generate(Suite::XWing).unwrap().public_key()),
            exporter: link.exporter(),
        };
        let hello = Hello {
            node: name.to_string(),
            purpose: Purpose::Enrol.as_str(),
            statement_key: serde_json::to_vec(statement_key.public_jwk()).unwrap(),
            hpke: binding.hpke_key.clone(),
            identification: Identification::Token(token.to_owned()),
            node_key_spki: keys.node_key_spki(),
        };
        let challenge = link.hello(hello).await?;
        let qualifying = binding.qualifying_data(&challenge.nonce);
        let possession = node_key.sign(&qualifying).unwrap();
        let admission = link.prove(Proof::default(), possession).await?;
        Ok(Self {
            admission,
            name,
            trust_domain,
            connector,
            statement_key,
        })
    }

    /// A connection with the certificate of the admission.
    ///
    /// # Errors
    /// When the server can't be reached, or refuses the certificate.
    pub async fn connect(&self) -> Result<NodeLink<'_>, LinkError> {
        let link = self.connector.mutual(self.admission.chain.clone()).await?;
        let seq = AtomicU64::new(1);
        Ok(NodeLink {
            node: self,
            link,
            seq,
        })
    }
}

impl NodeLink<'_> {
    /// A statement of this connection as an honest agent makes it, after a test has changed it.
    pub fn statement(
        &self,
        request: &[u8],
        key: &PrivateKey,
        workload: Option<WorkloadFacts>,
        change: impl FnOnce(&mut StatementBuilder<'_>),
    ) -> Statement {
        let exporter = self.link.exporter();
        let mut builder = StatementBuilder {
            trust_domain: &self.node.trust_domain,
            node: &self.node.name,
            exporter: &exporter,
            seq: self.seq.fetch_add(1, Ordering::SeqCst),
            request,
            confirmation: Confirmation::of(key.public_key()),
            measured_at: now(),
            workload,
        };
        change(&mut builder);
        builder.sign(&self.node.statement_key).unwrap()
    }

    /// Sends a statement with a request.
    ///
    /// # Errors
    /// When nothing was decided.
    pub async fn send(
        &self,
        action: Action,
        request: Vec<u8>,
        statement: Statement,
    ) -> Result<Reply, LinkError> {
        self.link
            .release(action, request, statement, Vec::new())
            .await
    }

    /// Asks honestly for a workload.
    ///
    /// # Errors
    /// When nothing was decided.
    pub async fn ask(
        &self,
        action: Action,
        request: &impl Canonical,
        key: &PrivateKey,
        workload: WorkloadFacts,
    ) -> Result<Reply, LinkError> {
        let request = request.to_canonical().unwrap();
        let statement = self.statement(&request, key, Some(workload), |_| {});
        self.send(action, request, statement).await
    }
}

/// A container of the estate's image, as it was shipped.
#[must_use]
pub fn shipped() -> WorkloadFacts {
    WorkloadFacts {
        container: Some(ContainerRef {
            runtime_namespace: "k8s.io".into(),
            id: "c1".into(),
        }),
        image: Some(ImageFacts {
            config: Digest::of("medrec"),
            chain_id: Digest::of("layers of medrec"),
        }),
        exe: Some(ExeFacts {
            digest: Digest::of("/usr/bin/medrec"),
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

#[expect(
    clippy::disallowed_methods,
    reason = "statements are judged by the real time"
)]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis().try_into().unwrap())
}
