//! A server with both doors open.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use custody::{KeyDocument, KeyUse, seal_secret};
use estate::Digest;
use serde_json::{Value, json};
use server::{
    govern::{Pending, Submitted},
    ports::{Clock, Store},
};
use test_server::{
    Person, RememberedAccounts, SystemClock, TestServer, files_with_promoter as base, promoter,
};
use web::{Address, Api, Client, Limits, LocalDoor, RemoteDoor, client::Identity};

pub(crate) type RealApi = Api<store_of::Sqlite, RememberedAccounts>;

/// The store's type as the server names it.
mod store_of {
    pub(crate) type Sqlite = <test_server::Real as Kind>::Store;
    pub(crate) trait Kind {
        type Store;
    }
    impl<S, A> Kind for server::Server<S, A> {
        type Store = S;
    }
}

pub(crate) struct House {
    pub(crate) kit: TestServer,
    pub(crate) api: Arc<RealApi>,
    pub(crate) https: Address,
    /// A lease that stands: for those who may not end it.
    pub(crate) lease: String,
    /// Key documents, fetched once: each one given out is a leaf, and the table counts leaves.
    documents: BTreeMap<&'static str, String>,
    turn: AtomicU64,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::open_at("test.lab").await
    }

    pub(crate) async fn open_at(trust_domain: &'static str) -> Self {
        let kit = TestServer::empty_at(trust_domain).await;
        kit.apply(base(), false).await.unwrap();
        let api = Api::new(Arc::clone(&kit.server));
        let uid = std::fs::metadata(kit.folder()).unwrap().uid();
        let local = LocalDoor::bind_for(&kit.socket(), uid).await.unwrap();
        tokio::spawn(local.serve(Arc::clone(&api), Limits::default()));
        let strangers = LocalDoor::bind_for(&kit.folder().join("strangers.sock"), uid + 1)
            .await
            .unwrap();
        tokio::spawn(strangers.serve(Arc::clone(&api), Limits::default()));
        let tls = kit.tls("127.0.0.1");
        let now = Arc::new(|| SystemClock.now());
        let remote = RemoteDoor::bind(
            "127.0.0.1:0".parse().unwrap(),
            kit.root_der(),
            tls.chain,
            tls.key,
            now,
        );
        let remote = remote.await.unwrap();
        let https = format!("https://{}", remote.address().unwrap())
            .parse()
            .unwrap();
        tokio::spawn(remote.serve(Arc::clone(&api), Limits::default()));
        let lease = kit.lease("dal05-n1").await;
        let mut documents = BTreeMap::new();
        for dataset in ["records", "bills"] {
            let name = dataset.parse().unwrap();
            let given = kit
                .server
                .dataset_key_document(&name, ledger::Actor::LocalRoot)
                .await;
            documents.insert(dataset, given.unwrap().0);
        }
        Self {
            lease,
            documents,
            kit,
            api,
            https,
            turn: AtomicU64::new(0),
        }
    }

    fn ledger_key(&self) -> Option<tlog::VerifierKey> {
        Some(self.kit.server.ledger_key().parse().unwrap())
    }

    pub(crate) fn root(&self) -> Client {
        Client::new(Address::Unix(self.kit.socket()), None, self.ledger_key()).unwrap()
    }

    /// Somebody on the host who is not root.
    pub(crate) fn stranger(&self) -> Client {
        Client::new(
            Address::Unix(self.kit.folder().join("strangers.sock")),
            None,
            None,
        )
        .unwrap()
    }

    pub(crate) fn nobody(&self) -> Client {
        Client::new(self.https.clone(), Some(self.identity(None)), None).unwrap()
    }

    pub(crate) fn as_person(&self, person: &Person) -> Client {
        Client::new(
            self.https.clone(),
            Some(self.identity(Some(person))),
            self.ledger_key(),
        )
        .unwrap()
    }

    pub(crate) async fn person(&self, id: &str) -> Client {
        self.as_person(&self.kit.person(id).await)
    }

    pub(crate) fn identity(&self, person: Option<&Person>) -> Identity {
        Identity {
            root: self.kit.root_pem().into_bytes(),
            certificate: person.map(|person| person.certificate.clone().into_bytes()),
            key: person.map(|person| person.key.clone().into_bytes()),
        }
    }

    /// Somebody with a certificate who stands in no team any more.
    pub(crate) async fn former(&self) -> Client {
        let files = |guests: &str| {
            let mut files = base();
            files[0].1 = files[0].1.replace("[team]\n", &format!("[team]\n{guests}"));
            files
        };
        let with = files("guests = [\"zoe@hospital.example\"]\n");
        self.kit.apply(with, false).await.unwrap();
        let zoe = self.person("zoe@hospital.example").await;
        self.kit.apply(files(""), true).await.unwrap();
        zoe
    }

    /// The estate, another one each time.
    pub(crate) fn estate(&self) -> Value {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        let mut files = base();
        files[1].1 = files[1].1.replace(
            "[dataset.bills]",
            &format!("[dataset.bills]\nmax_lease = \"{}m\"", turn + 1),
        );
        json!({ "files": files })
    }

    /// A change that waits for `bea`.
    pub(crate) async fn waiting(&self) -> Pending {
        let files = serde_json::from_value(self.estate()["files"].clone()).unwrap();
        match self.kit.submit(files, false).await.unwrap() {
            Submitted::Waiting(pending) => *pending,
            Submitted::Applied(_) => panic!("it should wait"),
        }
    }

    /// A promoter's statement of an image that nobody has seen before.
    pub(crate) fn statement(&self) -> (Digest, String) {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst) + 1;
        let config = Digest::of(format!("build {turn}"));
        let statement = self.kit.promotion(config, turn, &promoter());
        (config, statement)
    }

    /// An image that was promoted.
    pub(crate) async fn promoted(&self) -> Digest {
        let (config, statement) = self.statement();
        let set = "medrec".parse().unwrap();
        let actor = ledger::Actor::LocalRoot;
        let promoted = self.kit.server.promote(&set, &statement, actor, None);
        promoted.await.unwrap();
        config
    }

    /// A sealed secret, of the version that comes next.
    pub(crate) async fn sealed(&self, name: &str, dataset: &str) -> Value {
        let name = name.parse().unwrap();
        let newest = self
            .kit
            .server
            .store()
            .secret(&name)
            .await
            .unwrap()
            .map_or(0, |row| row.version);
        let signed = &self.documents[dataset];
        let pin = self.kit.pin().parse().unwrap();
        let document =
            KeyDocument::verify(signed, KeyUse::Dataset, pin, SystemClock.now()).unwrap();
        let row = seal_secret(&document, &name, newest + 1, b"hunter2", "test").unwrap();
        json!({
            "version": row.version, "dataset": row.dataset, "suite": row.suite, "keyId": row.key_id.to_string(),
            "enc": B64.encode(row.enc), "ct": B64.encode(row.ct),
        })
    }

    /// How many leaves the log has.
    pub(crate) async fn size(&self) -> u64 {
        let note = self.kit.server.store().checkpoint().await.unwrap().unwrap();
        note.lines().nth(1).unwrap().parse().unwrap()
    }
}
