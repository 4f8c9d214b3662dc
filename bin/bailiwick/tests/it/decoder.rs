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
    Binding, Bound, Digest, JweWrapper, LayerSealer, SystemRandomness, seal_annotations,
};
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
    let plain: Vec<u8> = (0..300_000u32).map(|i| (i / 7) as u8).collect();
    let mut ciphertext = vec![0; plain.len()];
    let mut sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
    sealer.update(&plain, &mut ciphertext).unwrap();
    let finished = sealer.finish();
    let (digest, size) = (finished.digest, finished.size);
    let (public, private) = finished.into_options(Digest::of(&plain), bound(digest, size));
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let key: DecryptionKey = jose::key_file::parse_private(pem.as_bytes()).unwrap();
    let wrapper = JweWrapper::new(vec![EncryptionKey::from_jwk(key.public_jwk()).unwrap()]);
    let annotations = seal_annotations(&public, &private, &[&wrapper]).unwrap();
    let json = serde_json::json!({
        "DecryptConfig": {"Parameters": null},
        "Descriptor": {"mediaType": TYPE, "digest": digest.to_string(), "size": size, "annotations": annotations},
    });
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    fs::write(folder.path().join("keys/developer.pem"), pem).unwrap();
    fs::write(folder.path().join("keys/README"), "no key").unwrap();
    fs::write(folder.path().join("payload"), any(&json.to_string())).unwrap();
    Layer {
        folder,
        plain,
        ciphertext,
        socket: PathBuf::from("/does/not/exist"),
    }
}

/// protobuf's `Any` around the payload's JSON.
fn any(json: &str) -> Vec<u8> {
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
