//! A place for images in memory, as source and as target.

use std::collections::HashMap;
use std::sync::Mutex;

use estate::Digest;
use images::{
    About, BlobId, BlobReader, BlobWriter, ImageSource, ImageTarget, Kind, PortError, RawManifest,
    Referrer,
};
use serde_json::Value;

#[derive(Default)]
pub(crate) struct Memory {
    inside: Mutex<Inside>,
}

#[derive(Default, Clone)]
struct Inside {
    blobs: HashMap<Digest, Vec<u8>>,
    manifests: HashMap<Digest, RawManifest>,
    root: Option<RawManifest>,
    documents: Vec<(About, Referrer)>,
    tags: HashMap<String, RawManifest>,
    /// Attaching fails.
    keeps_no_documents: bool,
    begun: usize,
    finished: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("missing")]
struct Missing;

fn missing() -> PortError {
    PortError::new(Kind::Failed, Missing)
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self {
            inside: Mutex::new(self.inside.lock().unwrap().clone()),
        }
    }
}

impl Memory {
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> BlobId {
        let id = BlobId::of(bytes);
        self.inside
            .lock()
            .unwrap()
            .blobs
            .insert(id.digest, bytes.to_vec());
        id
    }

    pub(crate) fn put_manifest(&self, manifest: RawManifest) {
        self.inside
            .lock()
            .unwrap()
            .manifests
            .insert(manifest.id().digest, manifest);
    }

    pub(crate) fn set_root(&self, root: RawManifest) {
        self.put_manifest(root.clone());
        self.inside.lock().unwrap().root = Some(root);
    }

    pub(crate) fn get_blob(&self, digest: &str) -> Vec<u8> {
        self.inside.lock().unwrap().blobs[&digest.parse().unwrap()].clone()
    }

    /// Other bytes under the same name.
    pub(crate) fn replace_blob(&self, digest: &str, bytes: Vec<u8>) {
        self.inside
            .lock()
            .unwrap()
            .blobs
            .insert(digest.parse().unwrap(), bytes);
    }

    /// Another document under the same name.
    pub(crate) fn replace_manifest(&self, digest: &str, manifest: RawManifest) {
        let mut inside = self.inside.lock().unwrap();
        inside.manifests.insert(digest.parse().unwrap(), manifest);
    }

    pub(crate) fn root_json(&self) -> Value {
        let root = self.inside.lock().unwrap().root.clone().unwrap();
        serde_json::from_slice(&root.bytes).unwrap()
    }

    pub(crate) fn root_type(&self) -> String {
        self.inside.lock().unwrap().root.clone().unwrap().media_type
    }

    pub(crate) fn manifest_json(&self, digest: &str) -> Value {
        let inside = self.inside.lock().unwrap();
        serde_json::from_slice(&inside.manifests[&digest.parse().unwrap()].bytes).unwrap()
    }

    /// The root manifest, edited by an attacker.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut json = self.root_json();
        edit(&mut json);
        let bytes = serde_json::to_vec(&json).unwrap();
        self.set_root(RawManifest {
            media_type: self.root_type(),
            bytes,
        });
    }

    /// Lists a document without a look at what it says of itself.
    pub(crate) fn list(&self, about: About, document: &RawManifest, artifact_type: &str) {
        self.put_manifest(document.clone());
        let referrer = Referrer {
            id: document.id(),
            artifact_type: Some(artifact_type.to_owned()),
        };
        self.inside
            .lock()
            .unwrap()
            .documents
            .push((about, referrer));
    }

    pub(crate) fn documents(&self) -> Vec<(About, Referrer)> {
        self.inside.lock().unwrap().documents.clone()
    }

    pub(crate) fn forget_documents(&self, gone: impl Fn(&About) -> bool) {
        let mut inside = self.inside.lock().unwrap();
        inside.documents.retain(|(about, _)| !gone(about));
    }

    pub(crate) fn tag(&self, tag: &str, manifest: RawManifest) {
        self.inside
            .lock()
            .unwrap()
            .tags
            .insert(tag.to_owned(), manifest);
    }

    pub(crate) fn keep_no_documents(&self) {
        self.inside.lock().unwrap().keeps_no_documents = true;
    }

    pub(crate) fn is_published(&self) -> bool {
        self.inside.lock().unwrap().root.is_some()
    }

    /// Blobs begun and finished.
    pub(crate) fn written(&self) -> (usize, usize) {
        let inside = self.inside.lock().unwrap();
        (inside.begun, inside.finished)
    }

    pub(crate) fn holds_bytes(&self, needle: &[u8]) -> bool {
        let inside = self.inside.lock().unwrap();
        inside
            .blobs
            .values()
            .any(|blob| blob.windows(needle.len()).any(|window| window == needle))
    }
}

impl ImageSource for Memory {
    fn root(&self) -> Result<RawManifest, PortError> {
        self.inside.lock().unwrap().root.clone().ok_or_else(missing)
    }

    fn manifest(&self, id: &BlobId) -> Result<RawManifest, PortError> {
        self.inside
            .lock()
            .unwrap()
            .manifests
            .get(&id.digest)
            .cloned()
            .ok_or_else(missing)
    }

    fn blob(&self, id: &BlobId) -> Result<Box<dyn BlobReader + '_>, PortError> {
        let inside = self.inside.lock().unwrap();
        let bytes = inside.blobs.get(&id.digest).cloned().ok_or_else(missing)?;
        Ok(Box::new(Reader { bytes, at: 0 }))
    }

    fn referrers(&self, about: About) -> Result<Vec<Referrer>, PortError> {
        let documents = self.documents().into_iter();
        let matching = documents.filter(|(other, _)| *other == about);
        Ok(matching.map(|(_, referrer)| referrer).collect())
    }

    fn tagged(&self, tag: &str) -> Result<Option<RawManifest>, PortError> {
        Ok(self.inside.lock().unwrap().tags.get(tag).cloned())
    }
}

struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl BlobReader for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PortError> {
        let count = buffer.len().min(self.bytes.len() - self.at).min(10_007);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

impl ImageTarget for Memory {
    fn holds(&self, id: &BlobId) -> Result<bool, PortError> {
        Ok(self.inside.lock().unwrap().blobs.contains_key(&id.digest))
    }

    fn write_blob(&self) -> Result<Box<dyn BlobWriter + '_>, PortError> {
        self.inside.lock().unwrap().begun += 1;
        Ok(Box::new(Writer {
            memory: self,
            bytes: Vec::new(),
        }))
    }

    fn write_manifest(&self, manifest: &RawManifest) -> Result<(), PortError> {
        self.put_manifest(manifest.clone());
        Ok(())
    }

    fn publish(&self, root: &RawManifest) -> Result<(), PortError> {
        self.set_root(root.clone());
        Ok(())
    }

    fn attach(
        &self,
        about: About,
        document: &RawManifest,
        artifact_type: &str,
    ) -> Result<(), PortError> {
        if self.inside.lock().unwrap().keeps_no_documents {
            return Err(missing());
        }
        if let About::Manifest(subject) = about {
            let inside = self.inside.lock().unwrap();
            assert!(
                inside.manifests.contains_key(&subject),
                "the subject comes first"
            );
        }
        let known =
            |(other, referrer): &(About, Referrer)| *other == about && referrer.id == document.id();
        if !self.documents().iter().any(known) {
            self.list(about, document, artifact_type);
        }
        Ok(())
    }
}

struct Writer<'a> {
    memory: &'a Memory,
    bytes: Vec<u8>,
}

impl BlobWriter for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, digest: &Digest) -> Result<(), PortError> {
        assert_eq!(Digest::of(&self.bytes), *digest, "a wrong name for a blob");
        let mut inside = self.memory.inside.lock().unwrap();
        inside.finished += 1;
        inside.blobs.insert(*digest, self.bytes);
        Ok(())
    }
}
