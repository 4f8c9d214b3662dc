//! Go's ocicrypt and we ask one key provider, and Go's ocicrypt asks us as one.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use fixture::{Recipe, Scratch, run};
use real::keys::{KeyPair, P256};
use real::peers::Ocicrypt;
use real::{Image, Judge, Program};
use serde_json::{Map, Value, json};

const CONFIG: &str = "OCICRYPT_KEYPROVIDER_CONFIG";

/// A plain image of two layers, and a provider with one key.
struct House {
    scratch: Scratch,
    program: Program,
    provider: PathBuf,
    plain: Image,
    served: Vec<Child>,
}

impl House {
    fn open(name: &str) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let recipe =
            Recipe::busybox("plain")
                .layer()
                .text("/etc/motd", "welcome\n".repeat(20_000), 0o644);
        std::fs::write(scratch.join("key"), [7; 32]).unwrap();
        Self {
            plain: Image::from(&recipe.build(&scratch).unwrap()),
            program: Program::find(),
            provider: Judge::build("provider-ocicrypt").program().to_owned(),
            served: Vec::new(),
            scratch,
        }
    }

    fn file(&self, name: &str) -> String {
        self.scratch.join(name).to_str().unwrap().to_owned()
    }

    /// Starts the provider's service and tells where it listens.
    fn serve(&mut self, listen: &str, more: &[&str]) -> String {
        let mut child = Command::new(&self.provider)
            .args(["-key", &self.file("key"), "-listen", listen])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut words = BufReader::new(child.stdout.take().unwrap());
        words.read_line(&mut address).unwrap();
        self.served.push(child);
        address.trim().to_owned()
    }

    /// A configuration of the one provider `reference`.
    fn configure(&self, entry: &Value) -> String {
        self.configure_as("reference", entry)
    }

    fn configure_as(&self, name: &str, entry: &Value) -> String {
        let file = self.file("ocicrypt.json");
        let text = json!({"key-providers": {name: entry}}).to_string();
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Go's ocicrypt, which reads this configuration.
    fn ocicrypt(config: &str) -> Ocicrypt {
        Ocicrypt::build(vec![(CONFIG.to_owned(), config.to_owned())])
    }

    /// Each layer opens for Go, and is what it was.
    fn opens_for_go(&self, image: &Image, config: &str, provider: &str) {
        let layers = Self::ocicrypt(config).decrypt(image, &of_provider(provider));
        let plain = self.plain.layers();
        let plain: Vec<_> = plain.iter().map(|layer| self.plain.blob(layer)).collect();
        assert!(layers.unwrap() == plain, "other bytes came out");
    }

    fn place(&self, name: &str) -> Image {
        Image::at(self.scratch.join(name), "1")
    }

    fn run(&self, config: &str, words: &[&str]) -> real::Said {
        let environment = [(CONFIG, config)];
        self.program.run_with(words, &environment)
    }

    /// We encrypt; Go opens each layer, and we the image.
    fn go_opens_ours(&self, name: &str, config: &str) {
        let (encrypted, decrypted) = (
            self.place(&format!("enc-{name}")),
            self.place(&format!("dec-{name}")),
        );
        let (plain, target) = (self.plain.transport(), encrypted.transport());
        let recipient = ["--recipient", "provider:reference:team:a"];
        let words = ["image", "encrypt", &plain, &target];
        let _ = self.run(config, &[&words[..], &recipient].concat()).well();
        self.opens_for_go(&encrypted, config, "reference");
        let _ = self
            .run(
                config,
                &["image", "decrypt", &target, &decrypted.transport()],
            )
            .well();
        assert_eq!(decrypted.layers(), self.plain.layers(), "{name}");
    }

    /// Go encrypts each layer with `recipient`; we open the image with `keys`.
    fn we_open_gos(&self, name: &str, config: &str, recipient: &str, keys: &[&str]) {
        let encrypted = self.encrypted_by_go(name, config, recipient);
        let decrypted = self.place(&format!("go-dec-{name}"));
        let words = [
            "image",
            "decrypt",
            &encrypted.transport(),
            &decrypted.transport(),
        ];
        let said = self.run(config, &[&words[..], keys].concat()).well();
        assert!(said.stderr.contains("not bound"), "{said:?}");
        assert_eq!(decrypted.layers(), self.plain.layers(), "{name}");
    }

    fn encrypted_by_go(&self, name: &str, config: &str, recipient: &str) -> Image {
        let target = self.scratch.join(format!("go-enc-{name}"));
        let ocicrypt = Self::ocicrypt(config);
        let encrypted = ocicrypt.encrypt(&self.plain, &target, &of_provider(recipient));
        encrypted.unwrap()
    }
}

fn of_provider(name: &str) -> Map<String, Value> {
    Map::from_iter([("providers".to_owned(), json!([name]))])
}

impl Drop for House {
    fn drop(&mut self) {
        for child in &mut self.served {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Both ways, with one configuration for Go and for us.
fn both_ways(house: &House, name: &str, entry: &Value) {
    let config = house.configure(entry);
    house.go_opens_ours(name, &config);
    house.we_open_gos(name, &config, "reference:team:b", &[]);
}

#[test]
#[ignore = "needs root, umoci and Go; run by make test"]
fn a_provider_that_is_a_program_serves_go_and_us() {
    let house = House::open("provider-cmd");
    let (provider, key) = (house.provider.to_str().unwrap(), house.file("key"));
    let entry = json!({"cmd": {"path": provider, "args": ["-key", key]}});
    both_ways(&house, "cmd", &entry);
    // The provider refuses to be told what is not its own; with our keys at hand it still is not told.
    let ann = KeyPair::make(house.scratch.path(), "ann", P256);
    let config = house.configure(&entry);
    let keys = ["--key", ann.private(), "--key", "provider:reference:hello"];
    house.we_open_gos("cmd-keys", &config, "reference", &keys);
    // Another key, another provider: nothing opens, and the provider's own words say why.
    let encrypted = house.encrypted_by_go("cmd-stolen", &config, "reference");
    std::fs::write(house.scratch.join("key"), [8; 32]).unwrap();
    let stolen = house.place("stolen");
    let words = [
        "image",
        "decrypt",
        &encrypted.transport(),
        &stolen.transport(),
    ];
    let said = house.run(&config, &words);
    assert!(
        said.code != 0 && said.stderr.contains("message authentication failed"),
        "{said:?}"
    );
    let unset = house.run("", &words);
    assert_eq!(unset.code, 2, "{unset:?}");
}

#[test]
#[ignore = "needs root, umoci and Go; run by make test"]
fn a_provider_behind_grpc_serves_go_and_us() {
    let mut house = House::open("provider-grpc");
    let address = house.serve("127.0.0.1:0", &[]);
    both_ways(&house, "plain", &json!({"grpc": address}));
    let socket = house.file("kms.sock");
    let _ = house.serve(&format!("unix:{socket}"), &[]);
    both_ways(&house, "unix", &json!({"grpc": format!("unix://{socket}")}));
}

#[test]
#[ignore = "needs root, umoci, openssl and Go; run by make test"]
fn a_provider_behind_grpc_and_tls_serves_go_and_us() {
    let mut house = House::open("provider-tls");
    certificates(&house);
    let file = |name: &str| house.file(name);
    let (certificate, key, authority) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let more = [
        "-tls-cert",
        &certificate,
        "-tls-key",
        &key,
        "-client-ca",
        &authority,
    ];
    let (own, own_key) = (file("client.pem"), file("client.key"));
    let address = house.serve("127.0.0.1:0", &more);
    let entry = json!({"grpc": address, "grpc-tls": {
        "root-ca-file": authority, "cert-file": own, "key-file": own_key, "server-name": "kms.example",
    }});
    both_ways(&house, "tls", &entry);
    // Without our certificate the service says nothing, and nothing is published.
    let anonymous = house.configure(&json!({"grpc": address, "grpc-tls": {
        "root-ca-file": authority, "server-name": "kms.example",
    }}));
    let target = house.place("anonymous");
    let words = [
        "image",
        "encrypt",
        &house.plain.transport(),
        &target.transport(),
        "--recipient",
        "provider:reference",
    ];
    let said = house.run(&anonymous, &words);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(!target.layout().folder.join("index.json").exists());
}

#[test]
#[ignore = "needs root, umoci, openssl and Go; run by make test"]
fn go_asks_us_as_a_provider() {
    let house = House::open("provider-us");
    let ann = KeyPair::make(house.scratch.path(), "ann", P256);
    let path = house.program.path().to_str().unwrap();
    let args = [
        "plugin",
        "ocicrypt-keyprovider",
        "--name",
        "local",
        "--key",
        ann.private(),
    ];
    let config = house.configure_as("local", &json!({"cmd": {"path": path, "args": args}}));
    let encrypted = house.encrypted_by_go("us", &config, &format!("local:{}", ann.recipient()));
    house.opens_for_go(&encrypted, &config, "local");
}

/// An authority, a server named `kms.example`, and a client.
fn certificates(house: &House) {
    let openssl = |words: &[&str]| run("openssl", words).unwrap();
    let ec = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let file = |name: &str| house.file(name);
    let authority = [
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=ca",
        "-keyout",
        &file("ca.key"),
        "-out",
        &file("ca.pem"),
    ];
    openssl(&[&authority[..], &ec].concat());
    for (name, alternative) in [
        ("server", "subjectAltName=DNS:kms.example"),
        ("client", "subjectAltName=DNS:us.example"),
    ] {
        let (key, pem) = (file(&format!("{name}.key")), file(&format!("{name}.pem")));
        let (authority, authority_key) = (file("ca.pem"), file("ca.key"));
        let request = [
            "req",
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=x",
            "-addext",
            alternative,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-CA",
            &authority,
            "-CAkey",
            &authority_key,
            "-keyout",
            &key,
            "-out",
            &pem,
        ];
        openssl(&[&request[..], &ec].concat());
    }
}
