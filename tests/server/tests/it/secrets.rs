//! Reading secrets: who gets one, sealed to whom, and what the trail says.

use custody::{ReleaseInfo, open_release};
use evidence::{Deviation, Interactive, Strength, WorkloadFacts};
use server::{Payload, ReleaseError, ports::Search, ports::Store};
use test_server::{TestNode, as_shipped, files};

use crate::{count, denial, house, put};

async fn readable() -> test_server::TestServer {
    let house = house().await;
    let mut estate = files();
    let (_, rules) = estate
        .iter_mut()
        .find(|(path, _)| path == "policies/records.cedar")
        .unwrap();
    rules.push_str(concat!(
        "\n@id(\"records-read\")\npermit (principal in ImageSet::\"medrec\", action == Action::\"read\", ",
        "resource in DataSet::\"records\") when { principal in Location::\"DAL05\" };\n"
    ));
    house.apply(estate, false).await.unwrap();
    put(&house, "records/token", "records", b"open sesame").await;
    house
}

#[tokio::test]
async fn a_permitted_workload_opens_what_only_it_can_open() {
    let house = readable().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let (request, answer) = node
        .read(&house, "records/token", as_shipped())
        .await
        .unwrap();
    let Payload::Sealed { enc, ct, .. } = answer.payload else {
        panic!("not sealed")
    };
    let leaf = &answer.commitment.leaf;
    let open = |key, request: &[u8], leaf: &[u8]| {
        open_release(key, ReleaseInfo::Read, request, leaf, &enc, &ct)
    };
    assert_eq!(
        open(&node.requester, &request, leaf).unwrap().as_slice(),
        b"open sesame"
    );
    let other = TestNode::join(&house, "fra02-n1").await;
    assert!(open(&other.requester, &request, leaf).is_err());
    assert!(
        open(&node.requester, b"{}", leaf).is_err(),
        "bound to the request"
    );
    assert!(
        open(&node.requester, &request, b"{}").is_err(),
        "bound to the leaf"
    );
}

type Break = fn(&mut WorkloadFacts);

#[tokio::test]
async fn each_fact_that_is_wrong_or_absent_denies_and_is_on_record() {
    let house = readable().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let broken: [(&str, Break); 8] = [
        ("another image", |w| {
            w.image.as_mut().unwrap().config = estate::Digest::of("evil")
        }),
        ("no image", |w| w.image = None),
        ("another command", |w| {
            w.deviations = Some(vec![Deviation::Args {
                value: vec!["/bin/sh".into()],
            }])
        }),
        ("deviations not measured", |w| w.deviations = None),
        ("interactive", |w| {
            w.interactive = Some(Interactive {
                yes: true,
                strength: Strength::Strong,
            })
        }),
        ("interactive unknown", |w| w.interactive = None),
        ("privileged unknown", |w| w.privileged = None),
        ("a binary that is not the image's", |w| {
            w.exe.as_mut().unwrap().from_image = Some(false)
        }),
    ];
    for (what, brk) in broken {
        let before = count(&house, &[("kind", "read"), ("outcome", "denied")]).await;
        let mut facts = as_shipped();
        brk(&mut facts);
        let reason = denial(node.read(&house, "records/token", facts).await);
        assert!(!reason.is_empty(), "{what}");
        assert_eq!(
            count(&house, &[("kind", "read"), ("outcome", "denied")]).await,
            before + 1,
            "{what}: {reason}"
        );
    }
}

#[tokio::test]
async fn the_right_image_in_the_wrong_place_is_denied() {
    let house = readable().await;
    let node = TestNode::join(&house, "fra02-n1").await;
    assert!(denial(node.read(&house, "records/token", as_shipped()).await).contains("DAL05"));
}

#[tokio::test]
async fn a_secret_that_does_not_exist_is_a_denial_on_record() {
    let house = readable().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    assert_eq!(
        denial(node.read(&house, "records/none", as_shipped()).await),
        "no such secret"
    );
}

#[tokio::test]
async fn a_replayed_statement_is_denied_and_on_record() {
    use evidence::request::{Canonical, ReadRequest};
    let house = readable().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let request = ReadRequest {
        v: 1,
        secret: "records/token".parse().unwrap(),
    }
    .to_canonical()
    .unwrap();
    let statement = node.state(&house, &request, Some(as_shipped()));
    house
        .server
        .read(&node.session, &statement, &request)
        .await
        .unwrap();
    assert_eq!(
        denial(house.server.read(&node.session, &statement, &request).await),
        "the statement was used before"
    );
}

#[tokio::test]
async fn a_node_for_itself_reads_nothing() {
    use evidence::request::{Canonical, ReadRequest};
    let house = readable().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let request = ReadRequest {
        v: 1,
        secret: "records/token".parse().unwrap(),
    }
    .to_canonical()
    .unwrap();
    let statement = node.state(&house, &request, None);
    assert!(
        denial(house.server.read(&node.session, &statement, &request).await).contains("wrong kind")
    );
}

#[tokio::test]
async fn a_secret_under_another_name_in_the_database_opens_nothing() {
    let house = readable().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    // Somebody with the database in hand gives the administrator's login the name of a readable secret.
    let mut row = house
        .server
        .store()
        .secret(&"db/pg/admin".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    row.name = "records/token".parse().unwrap();
    row.version = 2;
    let act = ledger::Act::new(ledger::ActKind::SecretPut, ledger::Actor::LocalRoot)
        .effect(ledger::Effect::Secret(Box::new(row)));
    let _logged = house.server.ledger().record(act).await.unwrap();
    let answer = node.read(&house, "records/token", as_shipped()).await;
    assert!(
        matches!(answer, Err(ReleaseError::Undelivered(_))),
        "{answer:?}"
    );
    assert_eq!(count(&house, &[("kind", "undelivered")]).await, 1);
}

#[tokio::test]
async fn nothing_secret_stands_in_the_ledger() {
    let house = readable().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    node.read(&house, "records/token", as_shipped())
        .await
        .unwrap();
    let entries = house
        .server
        .store()
        .search(Search {
            limit: 1000,
            ..Search::default()
        })
        .await
        .unwrap();
    for entry in entries {
        for disclosure in &entry.disclosures {
            let value = ledger::Disclosure::decode(disclosure)
                .unwrap()
                .value
                .to_string();
            assert!(
                !value.contains("sesame") && !value.contains("password"),
                "{value}"
            );
        }
    }
}

#[tokio::test]
async fn a_key_document_shows_that_its_key_was_announced() {
    use custody::{KeyDocument, KeyDocumentError, KeyUse};
    use server::ports::Clock;
    let house = house().await;
    let actor = ledger::Actor::LocalRoot;
    let set = "medrec".parse().unwrap();
    let (signed, commitment) = house.server.image_key_document(&set, actor).await.unwrap();
    let pin = house.pin().parse().unwrap();
    let document = KeyDocument::verify(&signed, KeyUse::Image, pin, house.clock.now()).unwrap();
    let ledger = house.server.ledger_key().parse().unwrap();
    document.verify_announced(&ledger).unwrap();
    let leaf = document.receipt.as_ref().unwrap().leaf.as_bytes();
    assert_eq!(leaf, commitment.leaf, "the leaf is the one of this answer");
    let other = tlog::Signer::from_seed("test.lab/hospital", &[9; 32])
        .unwrap()
        .verifier_key();
    let stranger = |document: &KeyDocument, key| document.verify_announced(key);
    assert_eq!(
        stranger(&document, &other),
        Err(KeyDocumentError::NotAnnounced)
    );
    let mut swapped = document.clone();
    swapped.key_id = "0".repeat(64);
    assert_eq!(
        stranger(&swapped, &ledger),
        Err(KeyDocumentError::NotAnnounced)
    );
    let silent = KeyDocument {
        receipt: None,
        ..document
    };
    assert_eq!(
        stranger(&silent, &ledger),
        Err(KeyDocumentError::NotAnnounced)
    );
}

#[tokio::test]
async fn a_confidential_image_opens_only_where_the_start_gate_is_everywhere() {
    use evidence::request::{Canonical, LayerDescriptor, OpenRequest, StartGate};
    let house = house().await;
    let node = TestNode::join(&house, "dal05-n1").await;
    let open = async |gate| {
        let request = OpenRequest {
            v: 1,
            image: "medrec".parse().unwrap(),
            packet: estate::Digest::of("{}"),
            layer: LayerDescriptor {
                digest: estate::Digest::of("layer"),
                size: 1,
                media_type: "application/x+encrypted".into(),
            },
            uses: Vec::new(),
            caller: estate::Digest::of("caller"),
            start_gate: gate,
        };
        let request = request.to_canonical().unwrap();
        let statement = node.state(&house, &request, None);
        let server = &house.server;
        denial(
            server
                .open(&node.session, &statement, &request, b"{}")
                .await,
        )
    };
    // The packet is rubbish, so whoever comes past the start gate is denied by that.
    let ungated = open(StartGate::Missing).await;
    assert!(
        ungated.contains("`bailiwick doctor containerd`"),
        "{ungated}"
    );
    assert!(open(StartGate::Everywhere).await.contains("key packet"));
    let mut open_data = files();
    let (_, datasets) = open_data
        .iter_mut()
        .find(|(path, _)| path == "datasets.toml")
        .unwrap();
    *datasets = datasets.replace("[dataset.bills]", "confidential = false\n[dataset.bills]");
    house.apply(open_data, false).await.unwrap();
    assert!(open(StartGate::Missing).await.contains("key packet"));
}
