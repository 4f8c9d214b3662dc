//! Nodes connect to a real TLS listener: who is believed, which exporter a connection has, and what is left when it breaks.

mod authority;
mod server;
mod wire;

use std::{sync::Arc, time::Duration};

use agent::ports::{AttestingLink, Connector, Hello, LinkError, NodeKeys, Outcome, ServerLink};
use evidence::{Action, Confirmation, Proof, Statement};
use hpke_xwing::{PrivateKey, Suite};
use rpc::{
    link::{FileNodeKeys, RpcConnector},
    listener::Limits,
    tls_client::ServerTrust,
};
use rustls::{NamedGroup, ProtocolVersion, pki_types::ServerName};
use tempfile::TempDir;

use self::{authority::Authority, server::TestServer, wire::Wire};

/// A node with a key and a token on disk.
struct Machine {
    keys: Arc<FileNodeKeys>,
    _home: TempDir,
}

impl Machine {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "secret-token\n").unwrap();
        let keys =
            FileNodeKeys::open(&home.path().join("node.key"), home.path().join("token")).unwrap();
        Self {
            keys: Arc::new(keys),
            _home: home,
        }
    }

    fn connector(&self, servers: &[&TestServer], authority: &Authority) -> RpcConnector {
        let servers: Vec<&str> = servers
            .iter()
            .map(|server| server.address.as_str())
            .collect();
        self.connector_to(&servers, authority)
    }

    fn connector_to(&self, servers: &[&str], authority: &Authority) -> RpcConnector {
        let servers = servers
            .iter()
            .map(|server| server.parse().unwrap())
            .collect();
        let keys = Arc::clone(&self.keys) as Arc<dyn NodeKeys>;
        RpcConnector::new(
            servers,
            &[authority.root()],
            &"example.lab".parse().unwrap(),
            keys,
        )
        .unwrap()
    }

    fn hello(&self) -> Hello {
        Hello {
            node: "n1".into(),
            purpose: "enrol",
            statement_key: b"{}".to_vec(),
            hpke: Confirmation::of(PrivateKey::generate(Suite::XWing).unwrap().public_key()),
            identification: self.keys.identify().unwrap(),
            node_key_spki: self.keys.node_key_spki(),
        }
    }

    fn chain(&self, authority: &Authority) -> Vec<Vec<u8>> {
        authority.node("n1", &self.keys.node_key_spki())
    }
}

async fn refused(connector: &RpcConnector) -> String {
    let error = connector.attesting().await.err().unwrap();
    assert!(matches!(error, LinkError::Unavailable(_)), "{error}");
    error.to_string()
}

#[tokio::test]
async fn both_ends_of_a_connection_know_one_exporter() {
    let (machine, authority) = (Machine::new(), Authority::new());
    let server =
        TestServer::start(&authority, authority.server("spiffe://example.lab/server")).await;
    let connector = machine.connector(&[&server], &authority);
    let (one, two) = (
        connector.mutual(machine.chain(&authority)).await.unwrap(),
        connector.mutual(machine.chain(&authority)).await.unwrap(),
    );
    assert_ne!(one.exporter(), two.exporter());
    for link in [&one, &two] {
        let reply = link
            .release(
                Action::Read,
                b"{}".to_vec(),
                Statement::from_wire("s".into()),
                Vec::new(),
            )
            .await
            .unwrap();
        assert_eq!(reply.leaf, link.exporter());
        assert!(matches!(reply.outcome, Outcome::Plain(parts) if parts == [b"read n1 s".to_vec()]));
    }
}

#[tokio::test]
async fn an_attestation_runs_over_an_anonymous_connection() {
    let (machine, authority) = (Machine::new(), Authority::new());
    let server =
        TestServer::start(&authority, authority.server("spiffe://example.lab/server")).await;
    let mut link = machine
        .connector(&[&server], &authority)
        .attesting()
        .await
        .unwrap();
    let challenge = link.hello(machine.hello()).await.unwrap();
    assert_eq!(
        (challenge.nonce, challenge.pcrs),
        (link.exporter(), vec![0, 7])
    );
    let admission = link
        .prove(Proof::default(), b"possession".to_vec())
        .await
        .unwrap();
    assert_eq!(admission.chain, [b"enrol secret-token possession".to_vec()]);
    assert!(admission.lab);
}

#[tokio::test]
async fn strangers_have_few_places_and_leave_them_soon() {
    let (machine, authority) = (Machine::new(), Authority::new());
    let limits = Limits {
        strangers: 1,
        life: Duration::from_millis(500),
    };
    let identity = authority.server("spiffe://example.lab/server");
    let server = TestServer::start_with(&authority, identity, limits).await;
    let connector = machine.connector(&[&server], &authority);
    let node = connector.mutual(machine.chain(&authority)).await.unwrap();
    let mut stranger = connector.attesting().await.unwrap();
    // Comes in only when the stranger's place is free again.
    connector.mutual(machine.chain(&authority)).await.unwrap();
    assert!(stranger.hello(machine.hello()).await.is_err());
    let request = (b"{}".to_vec(), Statement::from_wire("s".into()));
    let answer = node.release(Action::Read, request.0, request.1, Vec::new());
    answer.await.unwrap();
}

#[tokio::test]
async fn what_a_server_sends_out_of_turn_is_refused() {
    let (machine, authority) = (Machine::new(), Authority::new());
    let server =
        TestServer::start(&authority, authority.server("spiffe://example.lab/server")).await;
    let mut link = machine
        .connector(&[&server], &authority)
        .attesting()
        .await
        .unwrap();
    assert!(matches!(
        link.prove(Proof::default(), Vec::new()).await,
        Err(LinkError::Protocol(_))
    ));
    let hello = Hello {
        node: "register-99".into(),
        ..machine.hello()
    };
    assert!(matches!(
        link.hello(hello).await,
        Err(LinkError::Protocol(_))
    ));
}

#[tokio::test]
async fn only_the_servers_own_identity_is_a_server() {
    let (machine, authority) = (Machine::new(), Authority::new());
    for id in [
        "spiffe://example.lab/node/n2",
        "spiffe://example.lab/serve",
        "spiffe://other.lab/server",
    ] {
        let server = TestServer::start(&authority, authority.server(id)).await;
        let why = refused(&machine.connector(&[&server], &authority)).await;
        assert!(why.contains("is refused"), "{id}: {why}");
    }
}

#[tokio::test]
async fn a_server_of_other_roots_or_names_is_refused() {
    let (machine, authority, other) = (Machine::new(), Authority::new(), Authority::new());
    let foreign = TestServer::start(&other, other.server("spiffe://example.lab/server")).await;
    assert!(
        refused(&machine.connector(&[&foreign], &authority))
            .await
            .contains("is refused")
    );
    let named = authority.server_named("spiffe://example.lab/server", "elsewhere.example");
    let elsewhere = TestServer::start(&authority, named).await;
    assert!(
        refused(&machine.connector(&[&elsewhere], &authority))
            .await
            .contains("is refused")
    );
}

#[tokio::test]
async fn a_node_certificate_of_another_authority_is_a_refusal_and_no_outage() {
    let (machine, authority, other) = (Machine::new(), Authority::new(), Authority::new());
    let server =
        TestServer::start(&authority, authority.server("spiffe://example.lab/server")).await;
    let connector = machine.connector(&[&server], &authority);
    let found = match connector.mutual(machine.chain(&other)).await {
        Ok(link) => link.consistency(0).await.err(),
        Err(error) => Some(error),
    };
    assert!(matches!(found, Some(LinkError::Refused(_))), "{found:?}");
}

#[tokio::test]
async fn a_broken_link_is_dead_and_never_made_again_underneath() {
    let (machine, authority) = (Machine::new(), Authority::new());
    let server =
        TestServer::start(&authority, authority.server("spiffe://example.lab/server")).await;
    let mut wire = Wire::to(&server.address).await;
    let connector = machine.connector_to(&[&wire.address], &authority);
    let link = connector.mutual(machine.chain(&authority)).await.unwrap();
    link.consistency(0).await.unwrap();
    wire.cut();
    for _ in 0..3 {
        assert!(matches!(
            link.consistency(0).await,
            Err(LinkError::Unavailable(_))
        ));
    }
    assert!(matches!(
        link.next_directive("").await,
        Err(LinkError::Unavailable(_))
    ));
    assert_eq!((wire.accepted(), server.calls()), (1, 1));
    connector
        .mutual(machine.chain(&authority))
        .await
        .unwrap()
        .consistency(0)
        .await
        .unwrap();
    assert_eq!((wire.accepted(), server.calls()), (2, 2));
}

#[tokio::test]
async fn a_stream_of_directives_ends_with_its_connection() {
    let (machine, authority) = (Machine::new(), Authority::new());
    let server =
        TestServer::start(&authority, authority.server("spiffe://example.lab/server")).await;
    let mut wire = Wire::to(&server.address).await;
    let connector = machine.connector_to(&[&wire.address], &authority);
    let link = connector.mutual(machine.chain(&authority)).await.unwrap();
    link.next_directive("").await.unwrap();
    link.next_directive("").await.unwrap();
    let _ = link.next_directive("").await;
    let cut = async { wire.cut() };
    let (ended, ()) = tokio::join!(link.next_directive(""), cut);
    assert!(matches!(ended, Err(LinkError::Unavailable(_))), "{ended:?}");
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_down() {
    let (machine, authority) = (Machine::new(), Authority::new());
    let down = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let up = TestServer::start(&authority, authority.server("spiffe://example.lab/server")).await;
    let connector = machine.connector_to(&[&down, &up.address], &authority);
    for _ in 0..2 {
        connector
            .mutual(machine.chain(&authority))
            .await
            .unwrap()
            .consistency(0)
            .await
            .unwrap();
    }
    assert_eq!(up.calls(), 2);
}

#[tokio::test]
async fn statuses_are_sorted_by_whose_fault_they_are() {
    let (machine, authority) = (Machine::new(), Authority::new());
    let server =
        TestServer::start(&authority, authority.server("spiffe://example.lab/server")).await;
    let connector = machine.connector(&[&server], &authority);
    let link = connector.mutual(machine.chain(&authority)).await.unwrap();
    // The server answers with the status whose number is the size asked for.
    assert!(matches!(
        link.consistency(7).await,
        Err(LinkError::Refused(_))
    ));
    assert!(matches!(
        link.consistency(16).await,
        Err(LinkError::Refused(_))
    ));
    assert!(matches!(
        link.consistency(5).await,
        Err(LinkError::Request(_))
    ));
    assert!(matches!(
        link.consistency(14).await,
        Err(LinkError::Unavailable(_))
    ));
    assert!(matches!(
        link.consistency(12).await,
        Err(LinkError::Protocol(_))
    ));
    assert!(
        matches!(link.bundle().await, Err(LinkError::Protocol(_))),
        "5 MiB are too much"
    );
}

#[tokio::test]
async fn directives_with_registers_that_do_not_exist_are_refused() {
    let (machine, authority) = (Machine::new(), Authority::new());
    let server =
        TestServer::start(&authority, authority.server("spiffe://example.lab/server")).await;
    let connector = machine.connector(&[&server], &authority);
    let link = connector.mutual(machine.chain(&authority)).await.unwrap();
    assert_eq!(
        link.next_directive("kept").await.unwrap().ended_leases,
        ["kept"]
    );
    assert_eq!(
        link.next_directive("kept").await.unwrap().quote,
        Some(([3; 32], vec![0, 23]))
    );
    assert!(matches!(
        link.next_directive("kept").await,
        Err(LinkError::Protocol(_))
    ));
}

#[tokio::test]
async fn the_key_exchange_is_hybrid() {
    let authority = Authority::new();
    let server =
        TestServer::start(&authority, authority.server("spiffe://example.lab/server")).await;
    let trust = ServerTrust::new(&"example.lab".parse().unwrap(), &[authority.root()]).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(trust.anonymous().unwrap()));
    let tcp = tokio::net::TcpStream::connect(&server.address)
        .await
        .unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let tls = tokio::time::timeout(Duration::from_secs(10), connector.connect(name, tcp))
        .await
        .unwrap()
        .unwrap();
    let (_, connection) = tls.get_ref();
    assert_eq!(
        connection.protocol_version(),
        Some(ProtocolVersion::TLSv1_3)
    );
    assert_eq!(
        connection.negotiated_key_exchange_group().unwrap().name(),
        NamedGroup::X25519MLKEM768
    );
}
