//! Rows as nodes and workloads leave them, written with leaves of their own: for tests of what people see and do.

use estate::{Digest, Epoch, NodeName, Timestamp};
use evidence::Attestor;
use ledger::{
    Act, ActKind, Actor, Effect,
    rows::{LeaseIntent, NodeRow},
};
use server::ports::Clock;

use crate::{SystemClock, TestServer};

impl TestServer {
    /// A node that attested by token.
    pub async fn attested(&self, name: &str) {
        let name: NodeName = name.parse().unwrap();
        let now = SystemClock.now();
        let row = NodeRow {
            name: name.clone(),
            epoch: Epoch(1),
            attestor: Attestor::JoinToken,
            ek: None,
            ak_public: Vec::new(),
            node_key_spki: vec![1],
            node_key_name: Vec::new(),
            statement_key: "{}".into(),
            hpke_suite: "suite".into(),
            hpke_key: vec![2],
            boot: None,
            reset_count: 0,
            attested_at: now,
            quoted_at: None,
            not_after: Timestamp::from_seconds(now.as_seconds() + 3600),
            banned: false,
        };
        let act = Act::new(ActKind::NodeQuote, Actor::Node(name.to_string()))
            .effect(Effect::Node(Box::new(row)));
        let _logged = self.server.ledger().record(act).await.unwrap();
    }

    /// A lease that is pending; answers its id.
    pub async fn lease(&self, node: &str) -> String {
        let intent = LeaseIntent {
            tenant: "hospital".parse().unwrap(),
            credential: "postgresql/records".parse().unwrap(),
            dataset: "records".parse().unwrap(),
            database: "pg".parse().unwrap(),
            node: node.parse().unwrap(),
            node_epoch: Epoch(1),
            image: Some(Digest::of("image")),
            expires: Timestamp::from_seconds(SystemClock.now().as_seconds() + 3600),
            verifier: "SCRAM-SHA-256$4096:c2FsdA==$a:b".into(),
        };
        let act = Act::new(ActKind::ConnectionUse, Actor::Authority)
            .field("target", "Credential::\"postgresql/records\"")
            .effect(Effect::Lease(intent.clone()));
        let logged = self.server.ledger().record(act).await.unwrap();
        intent.id(logged.commitment().index)
    }
}
