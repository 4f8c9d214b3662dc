//! Nodes with containerd and a decoder, and the key providers that all ask.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use fixture::{Containerd, Cri, Decoder, Image, NodeConfig, Registry, Scratch};
use real::{Judge, Program};
use serde_json::json;

use super::crew::Cell;
use super::schemes::DecoderKeys;
use super::wait;

/// A registry and three nodes.
pub(crate) struct Nodes {
    registry: Registry,
    ours: Containerd,
    with_ours: Cri,
    /// imgcrypt hands the keys of its folder to every key provider, and ours does not take them: one node for each.
    with_imgcrypt: Cri,
    with_imgcrypt_and_providers: Cri,
    /// They live as long as this.
    _others: [Containerd; 2],
}

impl Nodes {
    pub(crate) async fn start(
        scratch: &Scratch,
        program: &Program,
        imgcrypt: &Judge,
        environment: &[(String, String)],
    ) -> Self {
        let registry = Registry::start(scratch).unwrap();
        let keys = scratch.join("keys").display().to_string();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let environment: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let start = |name: &str, program: &std::path::Path, arguments: Vec<String>| {
            let decoder = Decoder {
                program: program.to_owned(),
                arguments,
                environment: environment.clone(),
            };
            // No pod is started: the pause image is never asked for.
            let config = NodeConfig::new(name, &registry, registry.reference("pause:1"));
            Containerd::start(scratch, &config.decoder(decoder)).unwrap()
        };
        let own = words(&[
            "plugin",
            "containerd-decoder",
            "--socket",
            "/does/not/exist",
            "--decryption-keys-path",
            &keys,
        ]);
        let ours = start("ours", program.path(), own);
        let theirs = words(&["--decryption-keys-path", &keys]);
        let others = [
            start("imgcrypt", imgcrypt.program(), theirs),
            start("providers", imgcrypt.program(), Vec::new()),
        ];
        Self {
            with_ours: ours.cri().await.unwrap(),
            with_imgcrypt: others[0].cri().await.unwrap(),
            with_imgcrypt_and_providers: others[1].cri().await.unwrap(),
            _others: others,
            ours,
            registry,
        }
    }

    /// As the kubelet asks for it. The runtime compares what comes out with the configuration.
    pub(crate) fn pull_with_ours(&self, image: &Image) -> Cell {
        self.pull(image, &self.with_ours)
    }

    /// The same, through imgcrypt.
    pub(crate) fn pull_with_imgcrypt(&self, image: &Image, keys: DecoderKeys) -> Cell {
        match keys {
            DecoderKeys::Folder => self.pull(image, &self.with_imgcrypt),
            DecoderKeys::Providers => self.pull(image, &self.with_imgcrypt_and_providers),
        }
    }

    fn pull(&self, image: &Image, cri: &Cri) -> Cell {
        let reference = self.push(image)?;
        let pulled = wait(cri.pull(&reference));
        pulled.map(drop).map_err(|error| error.to_string())
    }

    /// `ctr images pull`, as it comes with containerd.
    pub(crate) fn pull_with_ctr(&self, image: &Image) -> Cell {
        let reference = self.push(image)?;
        let pulled = self
            .ours
            .ctr(["images", "pull", "--plain-http", &reference]);
        pulled.map(drop).map_err(|error| error.to_string())
    }

    fn push(&self, image: &Image) -> Result<String, String> {
        let name = image.layout().folder;
        let name = name.file_name().unwrap().to_str().unwrap();
        self.registry
            .push(&image.layout(), &format!("{name}:1"))
            .map_err(|error| error.to_string())
    }
}

/// One provider as a program and one behind gRPC; gives the file in which both are configured.
pub(crate) fn key_providers(scratch: &Scratch) -> String {
    let provider = Judge::build("provider-ocicrypt").program().to_owned();
    let key = scratch.join("provider.key");
    std::fs::write(&key, [7; 32]).unwrap();
    let mut service = Command::new(&provider)
        .args(["-name", "service", "-listen", "127.0.0.1:0", "-key"])
        .arg(&key)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let mut words = BufReader::new(service.stdout.take().unwrap());
    words.read_line(&mut address).unwrap();
    scratch.at_end(move || {
        let _ = service.kill();
        let _ = service.wait();
    });
    let config = json!({"key-providers": {
        "program": {"cmd": {"path": provider, "args": ["-name", "program", "-key", key]}},
        "service": {"grpc": address.trim()},
    }});
    let file = scratch.join("ocicrypt.json");
    std::fs::write(&file, config.to_string()).unwrap();
    file.display().to_string()
}
