//! A real server in this process, asked over both doors as people do.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::Arc,
};

use server::ports::Clock;
use test_server::{FOUNDERS, SystemClock, TestServer};
use web::{Api, Limits, LocalDoor, RemoteDoor};

use crate::runner::{Ran, run};

/// A server in this process with both its doors, and an estate's folder beside it.
pub(crate) struct House {
    pub(crate) kit: TestServer,
    https: String,
}

impl House {
    pub(crate) async fn open() -> Self {
        let kit = TestServer::empty().await;
        let api = Api::new(Arc::clone(&kit.server));
        let uid = fs::metadata(kit.folder()).unwrap().uid();
        let local = LocalDoor::bind_for(&kit.socket(), uid).await.unwrap();
        tokio::spawn(local.serve(Arc::clone(&api), Limits::default()));
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
        let https = format!("https://{}", remote.address().unwrap());
        tokio::spawn(remote.serve(api, Limits::default()));
        fs::write(kit.folder().join("root.pem"), kit.root_pem()).unwrap();
        for (path, text) in test_server::ESTATE {
            let file = kit.folder().join("estate").join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Self { kit, https }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.kit.folder().join(name).to_str().unwrap().to_owned()
    }

    /// As root on the socket, with pin and ledger key.
    pub(crate) fn root(&self, command: &[&str], stdin: &str) -> Ran {
        let server = format!("unix:{}", self.kit.socket().display());
        let options = [
            "--server",
            &server,
            "--root-pin",
            self.kit.pin(),
            "--ledger-key",
            self.kit.server.ledger_key(),
        ];
        tokio::task::block_in_place(|| run(&[command, &options].concat(), stdin))
    }

    /// A file with somebody's SSH key.
    pub(crate) fn key(&self, person: &str) -> String {
        let file = self.kit.folder().join("keys").join(person);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, test_server::key_of(person).to_openssh().as_bytes()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Has an estate applied and signed.
    pub(crate) fn applied(&self, folder: &str, signers: &[&str]) -> String {
        let keys: Vec<String> = signers.iter().map(|person| self.key(person)).collect();
        let signs = keys.iter().flat_map(|key| ["--sign", key]);
        let command: Vec<&str> = ["apply", "-f", folder].into_iter().chain(signs).collect();
        let ran = self.root(&command, "");
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.stdout.starts_with("state:     applied\n"), "{ran:?}");
        ran.stdout
    }

    /// Puts the first estate into force.
    pub(crate) fn furnish(&self) {
        self.applied(&self.path("estate"), &FOUNDERS);
    }

    /// As a person whose certificate `person certificate` wrote.
    pub(crate) fn person(&self, name: &str, command: &[&str]) -> Ran {
        let file = |ending: &str| self.path(&format!("{name}.{ending}"));
        let (certificate, key, root) = (file("pem"), file("key"), self.path("root.pem"));
        let options = [
            "--server",
            &self.https,
            "--client-cert",
            &certificate,
            "--client-key",
            &key,
            "--root",
            &root,
        ];
        tokio::task::block_in_place(|| run(&[command, &options].concat(), ""))
    }

    pub(crate) fn done(&self, command: &[&str]) -> String {
        let ran = self.root(command, "");
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{command:?}");
        ran.stdout
    }

    /// As [`House::done`], where something may be said beside it.
    pub(crate) fn done_quietly(&self, command: &[&str]) -> String {
        let ran = self.root(command, "");
        assert_eq!(ran.status, 0, "{command:?}: {ran:?}");
        ran.stdout
    }
}
