//! Small images, and keys for them.

use std::io::Write;

use estate::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use images::{
    DecryptOptions, Decrypted, ImageError, RawManifest, Recipients, Silent, decrypt, encrypt,
    media, opener_of_key_files,
};
use jose::EcdsaP256Key;
use oci_crypt::JweOpener;
use serde_json::{Value, json};

use crate::memory::Memory;

pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Bytes that compression does not hide.
pub(crate) fn content(name: &str, length: usize) -> Vec<u8> {
    let mut state = Digest::of(name);
    let mut bytes = format!("content of {name};").into_bytes();
    while bytes.len() < length {
        bytes.extend_from_slice(state.as_bytes());
        state = Digest::of(state);
    }
    bytes
}

pub(crate) fn pack(media_type: &str, bytes: &[u8]) -> Vec<u8> {
    if media_type.ends_with("gzip") {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(bytes).unwrap();
        return encoder.finish().unwrap();
    }
    if media_type.ends_with("zstd") {
        return zstd::encode_all(bytes, 1).unwrap();
    }
    bytes.to_vec()
}

/// A manifest with these layers (media type, content); the configuration is `name`'s.
pub(crate) fn manifest(memory: &Memory, name: &str, layers: &[(&str, Vec<u8>)]) -> Value {
    let diff_ids: Vec<Digest> = layers
        .iter()
        .map(|(_, content)| Digest::of(content))
        .collect();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/bin", "TOKEN=secret"], "Labels": {"owner": name}},
        "history": [{"created_by": "COPY . /"}],
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = memory.put_blob(&serde_json::to_vec(&config).unwrap());
    let layers: Vec<Value> = layers
        .iter()
        .map(|(media_type, content)| {
            let id = memory.put_blob(&pack(media_type, content));
            json!({"mediaType": media_type, "digest": id.digest, "size": id.size, "annotations": {"note": name}})
        })
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size},
        "layers": layers,
        "annotations": {"z": "last", "a": "first"},
        "subject": {"mediaType": "x/y", "digest": Digest::of("subject"), "size": 7},
    })
}

pub(crate) fn raw(media_type: &str, json: &Value) -> RawManifest {
    RawManifest {
        media_type: media_type.to_owned(),
        bytes: serde_json::to_vec(json).unwrap(),
    }
}

/// An image of three layers in three packings.
pub(crate) fn image(name: &str) -> Memory {
    let memory = Memory::default();
    let layers = [
        (GZIP, content(&format!("{name} one"), 1_500_000)),
        (TAR, content(&format!("{name} two"), 700)),
        (ZSTD, content(&format!("{name} three"), 600_000)),
    ];
    let json = manifest(&memory, name, &layers);
    memory.set_root(raw(media::OCI_MANIFEST, &json));
    memory
}

/// Somebody with a key.
pub(crate) struct Person {
    pub(crate) public: Vec<u8>,
    private: Vec<u8>,
}

impl Person {
    pub(crate) fn new() -> Self {
        let key = EcdsaP256Key::generate().unwrap();
        Self {
            public: key.public_jwk().to_spki_der().unwrap(),
            private: key.to_pkcs8().unwrap().to_vec(),
        }
    }

    pub(crate) fn opener(&self) -> JweOpener {
        opener_of_key_files([self.private.as_slice()]).unwrap()
    }

    pub(crate) fn recipients(&self) -> Recipients {
        let mut recipients = Recipients::new();
        recipients.add_public_key(&self.public).unwrap();
        recipients
    }

    /// The image, encrypted for this person.
    pub(crate) fn encrypts(&self, source: &Memory) -> Memory {
        let target = Memory::default();
        encrypt(source, &target, &self.recipients(), &Silent).unwrap();
        target
    }

    pub(crate) fn decrypts(&self, source: &Memory) -> (Result<Decrypted, ImageError>, Memory) {
        self.decrypts_with(source, DecryptOptions::default())
    }

    pub(crate) fn decrypts_with(
        &self,
        source: &Memory,
        options: DecryptOptions,
    ) -> (Result<Decrypted, ImageError>, Memory) {
        let target = Memory::default();
        let result = decrypt(source, &target, &[&self.opener()], options, &Silent);
        (result, target)
    }
}
