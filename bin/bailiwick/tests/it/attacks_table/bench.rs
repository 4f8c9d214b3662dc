//! Where attacks are made: Ann's key, two images for her that we bound, one that a peer left unbound, and what nobody else may see.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as B64;
use estate::Digest;
use fixture::Image;
use jose::jwe::{DecryptionKey, EncryptionKey};
use oci_crypt::{Bound, JweWrapper, LayerSealer, SystemRandomness, seal_annotations};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::leash::{Ended, contents, on_a_leash};

pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const PUBLIC: &str = "org.opencontainers.image.enc.pubopts";
pub(crate) const PACKETS: &str = "org.opencontainers.image.enc.keys.jwe";
/// Stands in every layer, and nowhere else.
const MARKER: &str = "patient 7f3a: finding confidential";

/// What is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// An image that we encrypted.
    Bound,
    /// The same as peers encrypt it.
    Unbound,
}

/// Changes a copy of an image.
type Forge = Box<dyn Fn(&Bench, &Image) -> Source>;

/// One attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) start: Start,
    /// Changes a copy.
    pub(crate) forge: Forge,
    /// Which layer the decoder is given, if the attack reaches it.
    pub(crate) layer: Option<usize>,
    /// Words of which one is in every refusal: they name what was found.
    pub(crate) says: &'static [&'static str],
    pub(crate) protects: &'static str,
}

/// An attack on a copy of what we encrypted.
pub(crate) fn on_bound(
    name: &'static str,
    (says, protects): (&'static [&'static str], &'static str),
    layer: Option<usize>,
    forge: impl Fn(&Bench, &Image) + 'static,
) -> Attack {
    Attack {
        name,
        start: Start::Bound,
        forge: Box::new(move |bench, image| {
            forge(bench, image);
            Source::Image(image.clone())
        }),
        layer,
        says,
        protects,
    }
}

/// The same on what a peer encrypted.
pub(crate) fn on_unbound(
    name: &'static str,
    why: (&'static [&'static str], &'static str),
    layer: Option<usize>,
    forge: impl Fn(&Bench, &Image) + 'static,
) -> Attack {
    let start = Start::Unbound;
    Attack {
        start,
        ..on_bound(name, why, layer, forge)
    }
}

/// Where the forged image lies.
pub(crate) enum Source {
    /// In a layout.
    Image(Image),
    /// Under this name.
    Named(String),
}

impl Source {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Image(image) => image.transport(),
            Self::Named(name) => name.clone(),
        }
    }
}

/// The bench.
pub(crate) struct Bench {
    folder: TempDir,
    plain: Image,
    other_plain: Image,
    recipient: EncryptionKey,
    /// Ours.
    pub(crate) bound: Image,
    /// Ours, for the same recipient.
    pub(crate) other: Image,
    /// As peers make them.
    pub(crate) unbound: Image,
}

impl Bench {
    pub(crate) fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        fs::create_dir(at("keys")).unwrap();
        fs::write(at("keys/ann.pem"), &pem).unwrap();
        let key: DecryptionKey = jose::key_file::parse_private(pem.as_bytes()).unwrap();
        fs::write(at("ann.jwk"), json!(key.public_jwk()).to_string()).unwrap();
        let (plain, other_plain) = (
            image_of(&at("plain"), "one"),
            image_of(&at("plain-2"), "two"),
        );
        let recipient = EncryptionKey::from_jwk(key.public_jwk()).unwrap();
        Self {
            bound: encrypted(folder.path(), &plain, "bound"),
            other: encrypted(folder.path(), &other_plain, "other"),
            unbound: sealed_as_peers_do(&plain, &at("unbound"), &recipient),
            plain,
            other_plain,
            recipient,
            folder,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn key_file(&self) -> String {
        self.folder().join("keys/ann.pem").display().to_string()
    }

    /// How the program names a layout here.
    pub(crate) fn place(&self, name: &str) -> String {
        format!("oci:{}:1", self.folder().join(name).display())
    }

    pub(crate) fn forge(&self, attack: &Attack, number: usize) -> Source {
        let start = match attack.start {
            Start::Bound => &self.bound,
            Start::Unbound => &self.unbound,
        };
        let copy = start.copy_to(&self.folder().join(format!("forged-{number}")));
        (attack.forge)(self, &copy)
    }

    /// Forgets the forgery: some are large.
    pub(crate) fn sweep(&self, number: usize) {
        for name in ["forged", "target"] {
            let _ = fs::remove_dir_all(self.folder().join(format!("{name}-{number}")));
        }
    }

    pub(crate) fn plain_layer(&self, index: usize) -> Vec<u8> {
        self.plain.blob(&self.plain.layers()[index])
    }

    /// Whether these bytes are a whole layer that Ann's key opens.
    pub(crate) fn is_genuine(&self, bytes: &[u8]) -> bool {
        let images = [&self.plain, &self.other_plain];
        let mut layers = images
            .iter()
            .flat_map(|image| image.layers().into_iter().map(|layer| image.blob(&layer)));
        layers.any(|layer| layer == bytes)
    }

    /// Whether any file below shows something of the plain layers.
    pub(crate) fn is_readable(&self, path: &Path) -> bool {
        match fs::read_dir(path) {
            Err(_) => self.reveals(&contents(path)),
            Ok(entries) => entries
                .into_iter()
                .any(|entry| self.is_readable(&entry.unwrap().path())),
        }
    }

    /// Whether these bytes hold a part of a plain layer, packed or not.
    pub(crate) fn reveals(&self, bytes: &[u8]) -> bool {
        let mut parts = vec![MARKER.as_bytes().to_vec()];
        for layer in 0..self.plain.layers().len() {
            let plain = self.plain_layer(layer);
            parts.push(plain[100..164].to_vec());
            parts.push(plain[plain.len() / 2..][..64].to_vec());
        }
        parts.iter().any(|part| holds(bytes, part))
    }

    /// What is encrypted for Ann with her public key, which attackers know.
    pub(crate) fn wrapped(&self, private_options: &[u8]) -> String {
        let recipients = std::slice::from_ref(&self.recipient);
        B64.encode(jose::jwe::encrypt(private_options, recipients).unwrap())
    }

    /// The decoder as containerd starts it for one layer, with no agent beside.
    pub(crate) fn decode(&self, image: &Image, layer: usize) -> Ended {
        let descriptor = &image.manifest()["layers"][layer];
        let json = json!({"DecryptConfig": {"Parameters": null}, "Descriptor": descriptor});
        let payload = self.folder().join("payload");
        fs::write(&payload, crate::decoder::any(&json.to_string())).unwrap();
        let ciphertext = image.blob(descriptor["digest"].as_str().unwrap());
        let keys = self.folder().join("keys").display().to_string();
        let spool = self.folder().display().to_string();
        let words = [
            "plugin",
            "containerd-decoder",
            "--socket",
            "/does/not/exist",
            "--decryption-keys-path",
            &keys,
            "--spool",
            &spool,
        ];
        on_a_leash(&words, &ciphertext, Some(&payload))
    }

    /// An image of one layer, a GiB of nothing in a MiB, encrypted for Ann by somebody.
    pub(crate) fn bomb(&self) -> Image {
        let packed = gzip(&vec![0; 16 << 20]).repeat(64);
        let diff_id = Digest::of("whatever").to_string();
        let layers = [(GZIP, packed.as_slice(), diff_id)];
        let plain = Image::build(self.folder().join("powder"), "1", &layers);
        sealed_as_peers_do(&plain, &self.folder().join("bomb"), &self.recipient)
    }

    /// Packs a folder with Debian's `tar`.
    pub(crate) fn pack(&self, folder: &Path, name: &str, more: &[&str]) -> PathBuf {
        let archive = self.folder().join(name);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(folder).arg("-cPf").arg(&archive);
        assert!(tar.args(more).arg(".").status().unwrap().success());
        archive
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Three layers, the middle one packed, and longer than a decoder's pieces.
fn image_of(folder: &Path, name: &str) -> Image {
    let layers: Vec<_> = (0..3)
        .map(|number| {
            // The first is longer than what the decoder holds back.
            let lines = if number == 0 { 14_000 } else { 6000 };
            let lines = (0..lines)
                .map(|line: u32| format!("{name} {number} {line} {MARKER} {}\n", line * line));
            let text = lines.collect::<String>().into_bytes();
            let diff_id = Digest::of(&text).to_string();
            match number {
                1 => (GZIP, gzip(&text), diff_id),
                _ => (TAR, text, diff_id),
            }
        })
        .collect();
    let layers: Vec<_> = layers
        .iter()
        .map(|(media_type, bytes, diff_id)| (*media_type, bytes.as_slice(), diff_id.clone()))
        .collect();
    Image::build(folder, "1", &layers)
}

/// As the `gzip` of this machine packs it.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let mut gzip = Command::new("gzip");
    let output = gzip.arg("-nc").arg(file.path()).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// By the program under test.
fn encrypted(folder: &Path, plain: &Image, name: &str) -> Image {
    let image = Image::at(folder.join(name), "1");
    let recipient = format!("jwe:{}", folder.join("ann.jwk").display());
    let (from, to) = (plain.transport(), image.transport());
    let words = ["image", "encrypt", &from, &to, "--recipient", &recipient];
    let ended = on_a_leash(&words, &[], None);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    image
}

fn sealed_as_peers_do(plain: &Image, folder: &Path, recipient: &EncryptionKey) -> Image {
    let image = plain.copy_to(folder);
    let wrapper = JweWrapper::new(vec![recipient.clone()]);
    for (index, digest) in plain.layers().iter().enumerate() {
        let bytes = plain.blob(digest);
        let mut ciphertext = vec![0; bytes.len()];
        let mut sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
        sealer.update(&bytes, &mut ciphertext).unwrap();
        let (public, private) = sealer
            .finish()
            .unwrap()
            .into_options(oci_crypt::Digest::of(&bytes), Bound::Unbound);
        let annotations = seal_annotations(&public, &private, &[&wrapper]).unwrap();
        image.replace_layer(index, |layer| *layer = ciphertext);
        image.edit_layer(index, |layer| {
            let media_type = layer["mediaType"].as_str().unwrap();
            layer["mediaType"] = format!("{media_type}+encrypted").into();
            layer["annotations"] = json!(annotations);
        });
        fs::remove_file(image.blob_path(digest)).unwrap();
    }
    image
}

/// Changes the JSON inside one layer's annotation.
pub(crate) fn edit_annotation(image: &Image, layer: usize, name: &str, edit: impl Fn(&mut Value)) {
    edit_annotation_text(image, layer, name, |text| {
        let mut content: Value = serde_json::from_str(&text).unwrap();
        edit(&mut content);
        content.to_string()
    });
}

/// Changes the text inside one layer's annotation.
pub(crate) fn edit_annotation_text(
    image: &Image,
    layer: usize,
    name: &str,
    edit: impl Fn(String) -> String,
) {
    image.edit_layer(layer, |layer| {
        let text = layer["annotations"][name].as_str().unwrap();
        let text = String::from_utf8(B64.decode(text).unwrap()).unwrap();
        layer["annotations"][name] = json!(B64.encode(edit(text)));
    });
}
