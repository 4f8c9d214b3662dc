//! A sealed layer with one key of ours and one of somebody else's tools.

use std::collections::BTreeMap;

use hpke_xwing::{PrivateKey, Suite};
use jose::jwe::{DecryptionKey, EncryptionKey};
use oci_crypt::*;

pub(crate) const AUTHORITY: &str = "spiffe://prod.example";
pub(crate) const RESOURCE: &str = "medrec";
pub(crate) const ENCRYPTED: &str = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";

pub(crate) struct Layer {
    pub(crate) plain: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) index: u32,
    pub(crate) config: Digest,
}

pub(crate) struct Keys {
    pub(crate) suite: Suite,
    pub(crate) ours: Vec<u8>,
    pub(crate) developer: DecryptionKey,
}

impl Keys {
    pub(crate) fn new(suite: Suite) -> Self {
        let ours = PrivateKey::generate(suite).unwrap().expose_bytes().to_vec();
        Self {
            suite,
            ours,
            developer: DecryptionKey::generate_ec(jose::Curve::P256).unwrap(),
        }
    }

    pub(crate) fn private(&self) -> PrivateKey {
        PrivateKey::from_bytes(self.suite, &self.ours).unwrap()
    }

    pub(crate) fn opener(&self) -> BailiwickOpener {
        let key = self.private();
        let record = KeyRecord {
            authority: AUTHORITY.to_owned(),
            key_id: KeyId::of(key.public_key()),
            suite: self.suite,
            resource: RESOURCE.to_owned(),
        };
        BailiwickOpener::new(record, key)
    }

    pub(crate) fn wrapper(&self) -> BailiwickWrapper {
        let key = self.private().public_key().clone();
        BailiwickWrapper {
            authority: AUTHORITY.to_owned(),
            resource: RESOURCE.to_owned(),
            key,
        }
    }

    /// Layer `index` of three under a config.
    pub(crate) fn seal(&self, plain: &[u8], index: u32, config: Digest) -> Layer {
        let mut sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
        let mut ciphertext = vec![0; plain.len()];
        sealer.update(plain, &mut ciphertext).unwrap();
        let finished = sealer.finish().unwrap();
        let binding = Binding {
            ciphertext: finished.digest,
            size: finished.size,
            media_type: media_type::plain(ENCRYPTED).unwrap(),
            diff_id: Some(Digest::of(plain)),
            index,
            of: 3,
            config,
        };
        let (public, private) =
            finished.into_options(Digest::of(plain), Bound::Full(Box::new(binding)));
        let developer = JweWrapper::new(vec![
            EncryptionKey::from_jwk(self.developer.public_jwk()).unwrap(),
        ]);
        let annotations =
            seal_annotations(&public, &private, &[&self.wrapper(), &developer]).unwrap();
        Layer {
            plain: plain.to_vec(),
            ciphertext,
            annotations,
            index,
            config,
        }
    }
}

impl Layer {
    /// Opens as `image decrypt` does: key, binding, content.
    pub(crate) fn open(&self, opener: &dyn PacketOpener) -> Result<Vec<u8>, String> {
        let (private, public) = open_layer_key("layer", &self.annotations, &[opener])
            .map_err(|error| format!("key: {error:?}"))?;
        let descriptor = SeenDescriptor {
            digest: Digest::of(&self.ciphertext),
            size: self.ciphertext.len() as u64,
            media_type: ENCRYPTED,
        };
        let place = SeenPlace {
            index: self.index,
            of: 3,
            config: self.config,
            diff_id: Some(Digest::of(&self.plain)),
        };
        let bound = private.bound();
        bound
            .check(&descriptor, Some(&place))
            .map_err(|mismatch| format!("binding: {mismatch}"))?;
        let mut opener =
            LayerOpener::new(private.key(), &public).map_err(|error| error.to_string())?;
        let mut plain = vec![0; self.ciphertext.len()];
        opener
            .update(&self.ciphertext, &mut plain)
            .map_err(|error| error.to_string())?;
        opener
            .finish()
            .map_err(|error| format!("content: {error}"))?;
        Ok(plain)
    }
}
