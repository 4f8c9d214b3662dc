//! The decoder as containerd starts it: payload on descriptor 3, ciphertext and plaintext through pipes, mostly no agent.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use evidence::request::LayerUse;
use jose::jwe::{DecryptionKey, EncryptionKey};
use oci_crypt::{
    Binding, Bound, Certificate, CocoKey, CocoWrapper, Digest, Foreign, JweWrapper, KeyPacket,
    LayerSealer, PacketWrapper, Pkcs7Wrapper, PrivateOptions, SystemRandomness, WrapError,
    seal_annotations,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::workload::workload;

const TYPE: &str = "application/vnd.oci.image.layer.v1.tar+encrypted";

/// A layer for a developer's key, as a peer encrypts it, and that key in a folder.
struct Layer {
    folder: TempDir,
    plain: Vec<u8>,
    ciphertext: Vec<u8>,
    /// The agent's socket.
    socket: PathBuf,
    /// What containerd adds to the environment.
    environment: Vec<(&'static str, PathBuf)>,
}

impl Layer {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file into the folder of keys.
    fn key(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("keys").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// What the decoder said; it opened the layer.
    fn opens(&self) -> String {
        let output = decode(bailiwick(), &PLUGIN, self, &self.ciphertext, "3<payload");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(output.stdout == self.plain);
        said
    }

    /// What the decoder said; it released nothing.
    fn is_refused(&self, more: &[&str]) -> String {
        let words = [&PLUGIN as &[&str], more].concat();
        let output = decode(bailiwick(), &words, self, &self.ciphertext, "3<payload");
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    }
}

fn layer() -> Layer {
    layer_that_is(|_, _| Bound::Unbound)
}

/// The only layer of an image with this configuration.
fn bound_layer(config: &[u8]) -> Layer {
    layer_that_is(|ciphertext, size| {
        Bound::Full(Box::new(Binding {
            ciphertext,
            size,
            media_type: TYPE.strip_suffix("+encrypted").unwrap().to_owned(),
            diff_id: None,
            index: 0,
            of: 1,
            config: Digest::of(config),
        }))
    })
}

fn layer_that_is(bound: impl FnOnce(Digest, u64) -> Bound) -> Layer {
    let (pem, wrapper) = developer();
    let layer = layer_for(&wrapper, &Value::Null, bound);
    layer.key("developer.pem", pem);
    layer.key("README", "no key");
    layer
}

/// A developer's key, and whoever encrypts to it.
fn developer() -> (String, JweWrapper) {
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let key: DecryptionKey = jose::key_file::parse_private(pem.as_bytes()).unwrap();
    let wrapper = JweWrapper::new(vec![EncryptionKey::from_jwk(key.public_jwk()).unwrap()]);
    (pem, wrapper)
}

/// A layer for somebody, and these parameters from the runtime's client. The folder of keys is empty.
fn layer_for(
    wrapper: &dyn PacketWrapper,
    parameters: &Value,
    bound: impl FnOnce(Digest, u64) -> Bound,
) -> Layer {
    let plain: Vec<u8> = (0..300_000u32).map(|i| (i / 7) as u8).collect();
    let mut ciphertext = vec![0; plain.len()];
    let mut sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
    sealer.update(&plain, &mut ciphertext).unwrap();
    let finished = sealer.finish().unwrap();
    let (digest, size) = (finished.digest, finished.size);
    let (public, private) = finished.into_options(Digest::of(&plain), bound(digest, size));
    let annotations = seal_annotations(&public, &private, &[wrapper]).unwrap();
    let json = json!({
        "DecryptConfig": {"Parameters": parameters},
        "Descriptor": {"mediaType": TYPE, "digest": digest.to_string(), "size": size, "annotations": annotations},
    });
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    fs::write(folder.path().join("payload"), any(&json.to_string())).unwrap();
    Layer {
        folder,
        plain,
        ciphertext,
        socket: PathBuf::from("/does/not/exist"),
        environment: Vec::new(),
    }
}

/// As a peer encrypts.
fn unbound(wrapper: &dyn PacketWrapper) -> Layer {
    layer_for(wrapper, &Value::Null, |_, _| Bound::Unbound)
}

/// protobuf's `Any` around the payload's JSON.
pub(crate) fn any(json: &str) -> Vec<u8> {
    let mut out = vec![0x0a, 33];
    out.extend_from_slice(b"io.containerd.ocicrypt.v1.Payload");
    out.push(0x12);
    let mut length = json.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(json.as_bytes());
    out
}

/// The shell puts the payload on descriptor 3, as containerd does.
fn decode(
    program: &Path,
    words: &[&str],
    layer: &Layer,
    ciphertext: &[u8],
    payload: &str,
) -> Output {
    let script = format!("exec \"$@\" {payload}");
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .arg("sh")
        .arg(program)
        .args(words)
        .arg("--socket")
        .arg(&layer.socket)
        .args(["--decryption-keys-path", "keys"])
        .current_dir(layer.folder.path())
        .env_remove(PROVIDERS)
        .envs(layer.environment.clone())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let ciphertext = ciphertext.to_vec();
    // One that refuses does not read to the end.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&ciphertext)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn bailiwick() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_bailiwick"))
}

const PROVIDERS: &str = "OCICRYPT_KEYPROVIDER_CONFIG";
/// What is said of the file beside the key, where the key opened the layer.
const NOT_A_KEY: &str = "warning: the key `README` is not used: a key can't be read: key file is neither PEM nor DER nor JWK of a private key\n";
const PLUGIN: [&str; 2] = ["plugin", "containerd-decoder"];

#[test]
fn a_layer_for_a_developers_key_comes_out_of_the_pipe() {
    let layer = layer();
    for more in [&[] as &[&str], &["--stream"], &["--spool", "."]] {
        let words = [&PLUGIN as &[&str], more].concat();
        let output = decode(bailiwick(), &words, &layer, &layer.ciphertext, "3<payload");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stdout == layer.plain);
    }
}

#[test]
fn the_peers_name_and_flag_are_understood() {
    let layer = layer();
    let peer = layer.folder.path().join("ctd-decoder");
    symlink(bailiwick(), &peer).unwrap();
    let output = decode(&peer, &[], &layer, &layer.ciphertext, "3<payload");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout == layer.plain);
}

#[test]
fn an_altered_layer_fails_with_a_reason_and_nothing_of_it() {
    let layer = layer();
    let mut ciphertext = layer.ciphertext.clone();
    ciphertext[200_000] ^= 1;
    let output = decode(bailiwick(), &PLUGIN, &layer, &ciphertext, "3<payload");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("bailiwick: ") && said.contains("altered"),
        "{said}"
    );
}

#[test]
fn without_a_payload_the_decoder_says_what_is_missing() {
    let layer = layer();
    for payload in ["", "3<&-", "3</dev/null"] {
        let output = decode(bailiwick(), &PLUGIN, &layer, &layer.ciphertext, payload);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("file descriptor 3") && said.contains("hint: "),
            "{said}"
        );
    }
}

#[test]
fn where_an_agent_runs_a_bound_layer_opens_only_where_it_belongs() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let node = workload();
    let mut layer = bound_layer(b"config");
    let listed_in = |configs: &[&str]| {
        let usage = |config: &&str| LayerUse {
            manifest: estate::Digest::of("manifest"),
            config: estate::Digest::of(config),
            index: 0,
            of: 1,
            diff_id: None,
        };
        *node.agent.uses.lock().unwrap() = configs.iter().map(usage).collect();
    };
    let run = |layer: &Layer| {
        let output = decode(bailiwick(), &PLUGIN, layer, &layer.ciphertext, "3<payload");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), output.stdout == layer.plain);
        let said = said.replace(NOT_A_KEY, "");
        assert_eq!(output.status.success(), said.is_empty(), "{said}");
        assert!(output.status.success() || output.stdout.is_empty());
        said
    };
    // No agent, no question.
    assert_eq!(run(&layer), "");
    layer.socket = node.key_socket.clone();
    listed_in(&["config"]);
    assert_eq!(run(&layer), "");
    listed_in(&["config", "thief"]);
    assert!(run(&layer).contains("bound to config"));
    listed_in(&[]);
    assert!(run(&layer).contains("no image on this node"));
    // A socket at which nobody answers.
    let dead = layer.folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    layer.socket = dead;
    let said = run(&layer);
    assert!(
        said.contains("did not say") && said.contains("hint: "),
        "{said}"
    );
}

#[test]
fn a_file_that_is_no_key_is_told_and_ends_nothing() {
    let layer = layer();
    layer.key("empty.pem", "");
    layer.key("huge.pem", vec![b'-'; 100_000]);
    let said = layer.opens();
    for name in ["README", "empty.pem", "huge.pem"] {
        assert!(
            said.contains(&format!("warning: the key `{name}` is not used: ")),
            "{said}"
        );
    }
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn where_no_key_opens_the_layer_all_that_were_tried_and_all_that_are_none_are_listed() {
    let (_, wrapper) = developer();
    let layer = unbound(&wrapper);
    layer.key("README", "no key");
    layer.key("empty.pem", "");
    let digest = Digest::of(&layer.ciphertext).to_string();
    let said = layer.is_refused(&[]);
    assert!(
        said.starts_with(&format!("bailiwick: layer {digest}: no key at hand")),
        "{said}"
    );
    for part in [
        "packets of jwe; none was given",
        "`README` is not used",
        "`empty.pem` is not used: it is empty",
        "hint: ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    layer.key("other.pem", developer().0);
    assert!(layer.is_refused(&[]).contains("tried were `other.pem`"));
}

#[test]
fn a_mounted_secret_and_links_that_go_round_are_walked() {
    let (pem, wrapper) = developer();
    let layer = unbound(&wrapper);
    layer.key("..2026_11_28/developer.pem", pem);
    let link = |to: &str, name: &str| symlink(to, layer.path("keys").join(name)).unwrap();
    link("..2026_11_28", "..data");
    link("..data/developer.pem", "developer.pem");
    assert_eq!(layer.opens(), "");
    link(".", "round");
    link("loop", "loop");
    assert!(
        layer
            .opens()
            .contains("`loop` is not used: the link leads back to itself")
    );
}

#[test]
fn a_damaged_packet_is_told_with_its_scheme_and_key() {
    struct Damaged(Pkcs7Wrapper);
    impl PacketWrapper for Damaged {
        fn wrap(&self, options: &PrivateOptions) -> Result<KeyPacket, WrapError> {
            let mut bytes = self.0.wrap(options)?.to_bytes();
            *bytes.last_mut().unwrap() ^= 1;
            Ok(KeyPacket::Pkcs7(bytes))
        }
    }
    let layer = unbound(&Damaged(holder_of_a_certificate()));
    with_certificate(&layer);
    let said = layer.is_refused(&[]);
    assert!(
        said.contains("layer sha256:")
            && said.contains("the packet of scheme `pkcs7` did not open with `certificates"),
        "{said}"
    );
}

fn vector(name: &str) -> Vec<u8> {
    let folder = "../../crates/formats/jose/tests/vectors/key-files";
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(folder)
            .join(name),
    )
    .unwrap()
}

fn holder_of_a_certificate() -> Pkcs7Wrapper {
    Pkcs7Wrapper::new(vec![
        Certificate::parse(&vector("rsa.certificate.pem")).unwrap(),
    ])
}

fn with_certificate(layer: &Layer) {
    layer.key("tls.crt", vector("rsa.certificate.pem"));
    layer.key("tls.key", vector("rsa.aes-256-cbc.pem"));
    layer.key("tls.key.password", "correct horse\n");
}

#[test]
fn a_certificate_and_its_key_open_a_pkcs7_packet() {
    let layer = unbound(&holder_of_a_certificate());
    with_certificate(&layer);
    assert_eq!(layer.opens(), "");
    fs::remove_file(layer.path("keys/tls.key.password")).unwrap();
    assert!(
        layer
            .is_refused(&[])
            .contains("`tls.key` is not used: its private key is encrypted")
    );
}

#[test]
fn the_key_of_a_key_broker_opens_packets_of_confidential_containers() {
    let name = "kbs:///default/key/1";
    let layer = unbound(&CocoWrapper::new(CocoKey::new(name, &[7; 32]).unwrap()));
    layer.key("kek", [7; 32]);
    assert!(layer.is_refused(&[]).contains("`kek` is not used"));
    layer.key("kek.kid", format!("{name}\n"));
    assert_eq!(layer.opens(), "");
    layer.key("kek", [8; 32]);
    let said = layer.is_refused(&[]);
    assert!(
        said.contains("`provider.attestation-agent` did not open with `kek`"),
        "{said}"
    );
}

/// What a provider of this name makes of a packet for a developer.
struct ByProvider(JweWrapper);

impl PacketWrapper for ByProvider {
    fn wrap(&self, options: &PrivateOptions) -> Result<KeyPacket, WrapError> {
        let bytes = self.0.wrap(options)?.to_bytes();
        let scheme = "provider.kms".parse().unwrap();
        Ok(KeyPacket::Foreign(Foreign { scheme, bytes }))
    }
}

/// A layer for the provider `kms`, which is this program with these arguments.
fn for_provider(program: &str, args: &[&str]) -> Layer {
    let (pem, wrapper) = developer();
    let mut layer = unbound(&ByProvider(wrapper));
    fs::write(layer.path("kms.pem"), pem).unwrap();
    let config = json!({"key-providers": {"kms": {"cmd": {"path": program, "args": args}}}});
    fs::write(layer.path("providers.json"), config.to_string()).unwrap();
    layer.environment = vec![(PROVIDERS, layer.path("providers.json"))];
    layer
}

#[test]
fn a_key_provider_opens_its_packets() {
    let program = bailiwick().to_str().unwrap();
    let layer = for_provider(
        program,
        &[
            "plugin",
            "ocicrypt-keyprovider",
            "--name",
            "kms",
            "--key",
            "kms.pem",
        ],
    );
    layer.key("README", "no key");
    assert_eq!(layer.opens(), NOT_A_KEY);
    let layer = for_provider(
        program,
        &["plugin", "ocicrypt-keyprovider", "--name", "kms"],
    );
    let said = layer.is_refused(&[]);
    assert!(
        said.contains("`provider.kms` did not open with `provider:kms`"),
        "{said}"
    );
    fs::write(layer.path("providers.json"), "{").unwrap();
    assert!(
        layer
            .is_refused(&[])
            .contains("the key providers can't be asked")
    );
    // Nobody is configured where there is no file.
    fs::remove_file(layer.path("providers.json")).unwrap();
    assert!(layer.is_refused(&[]).contains("no key at hand"));
}

#[test]
fn a_key_provider_that_hangs_is_not_waited_for_for_ever() {
    let layer = for_provider("/bin/sleep", &["300"]);
    let said = layer.is_refused(&["--key-provider-timeout", "1"]);
    assert!(
        said.contains("layer sha256:") && said.contains("provider:kms"),
        "{said}"
    );
}

#[test]
fn keys_that_the_client_sends_along_open_with_their_passwords() {
    use base64::{Engine, engine::general_purpose::STANDARD as B64};
    let locked = vector("p256.pbkdf2.der");
    let public = jose::key_file::parse_public(&vector("p256.certificate.pem")).unwrap();
    let wrapper = JweWrapper::new(vec![EncryptionKey::from_jwk(&public).unwrap()]);
    let sent = |passwords: &[&str]| {
        let passwords: Vec<String> = passwords.iter().map(|text| B64.encode(text)).collect();
        let parameters = json!({
            "privkeys": [B64.encode(developer().0), B64.encode(&locked)],
            "privkeys-passwords": passwords,
            "x509s": null,
        });
        layer_for(&wrapper, &parameters, |_, _| Bound::Unbound)
    };
    assert_eq!(sent(&["", "correct horse"]).opens(), "");
    let said = sent(&["", "wrong"]).is_refused(&[]);
    assert!(
        said.contains("number 2 of those sent along") && said.contains("password is wrong"),
        "{said}"
    );
    assert!(
        sent(&["correct horse"])
            .is_refused(&[])
            .contains("another number of passwords")
    );
}

#[cfg(feature = "pgp")]
#[test]
fn a_ring_of_openpgp_opens_without_gnupg() {
    let folder = "../../crates/formats/oci-crypt/tests/vectors/pgp";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let vector = |name: &str| fs::read(folder.join(name)).unwrap();
    let ring = oci_crypt::PgpPublicRing::parse(&vector("rsa2048.pub")).unwrap();
    let recipient = ring.only(u64::from(u32::MAX >> 1)).unwrap();
    let mut layer = unbound(&oci_crypt::PgpWrapper::new(vec![recipient]));
    // No `gpg` is there to be asked.
    layer.environment = vec![("PATH", layer.path("nothing"))];
    layer.key("ring.gpg", vector("rsa2048.key"));
    let said = layer.is_refused(&[]);
    assert!(
        said.contains("`ring.gpg` is not used") && said.contains("no password"),
        "{said}"
    );
    layer.key("ring.gpg.password", "correct horse\n");
    assert_eq!(layer.opens(), "");
}
