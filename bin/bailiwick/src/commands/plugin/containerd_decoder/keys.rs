//! Where a layer's key comes from: the agent, which asks the server; or private keys that the operator put on this node.

use std::{
    fs,
    path::{Path, PathBuf},
};

use custody::ReleaseInfo;
use estate::{Digest, ImageSetName};
use evidence::{
    Confirmation,
    request::{Canonical, LayerDescriptor, LayerUse, OpenRequest},
};
use hpke_xwing::{PrivateKey, Suite};
use jose::jwe::DecryptionKey;
use oci_crypt::{
    BailiwickPacket, Digest as OciDigest, JweOpener, KeyPacket, Opening, PacketOpener,
    PrivateOptions, SeenPlace,
};
use rpc::{
    key_socket::{KeyClient, KeyRequest},
    released::Trust,
};
use zeroize::Zeroizing;

use super::refusal::Refusal;

/// Gives the key of a layer.
pub(super) trait KeySource {
    /// Tries a packet; `None` when it is for others.
    fn open(
        &self,
        packet: &KeyPacket,
        layer: &LayerDescriptor,
    ) -> Result<Option<LayerSecret>, Refusal>;
}

/// A layer's key and what its giver knows of where the layer belongs.
pub(super) struct LayerSecret {
    /// The key.
    pub(super) options: PrivateOptions,
    /// Where the node's content store lists the layer.
    pub(super) places: Places,
    /// Whether a key without a binding is refused.
    pub(super) binding: BindingRule,
}

/// Where a layer is listed.
#[derive(Debug, Clone)]
pub(super) enum Places {
    /// Every place in the node's content store.
    Known(Vec<SeenPlace>),
    /// Nobody is there who could tell.
    Unknown,
}

/// Tells where a layer is listed on this node.
pub(super) trait PlaceSource {
    /// Every place.
    fn places_of(&self, layer: &LayerDescriptor) -> Result<Vec<SeenPlace>, Refusal>;
}

impl PlaceSource for KeyClient {
    fn places_of(&self, layer: &LayerDescriptor) -> Result<Vec<SeenPlace>, Refusal> {
        let uses = self.layer_uses(layer.digest).map_err(Refusal::Places)?;
        Ok(uses.iter().map(place).collect())
    }
}

/// What is asked of a key's binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BindingRule {
    /// There must be one: every packet of ours has it.
    Required,
    /// Peers make none.
    IfThere,
}

/// Keys by way of the agent.
pub(super) struct AgentKeys {
    /// The agent's socket.
    pub(super) client: KeyClient,
    /// Whose receipts count.
    pub(super) trust: Trust,
}

impl KeySource for AgentKeys {
    fn open(
        &self,
        packet: &KeyPacket,
        layer: &LayerDescriptor,
    ) -> Result<Option<LayerSecret>, Refusal> {
        match packet {
            KeyPacket::Bailiwick(packet) => self.ask(packet, layer).map(Some),
            KeyPacket::Jwe(_) | KeyPacket::Pkcs7(_) | KeyPacket::Foreign(_) => Ok(None),
        }
    }
}

impl AgentKeys {
    fn ask(
        &self,
        packet: &BailiwickPacket,
        layer: &LayerDescriptor,
    ) -> Result<LayerSecret, Refusal> {
        let image: ImageSetName = packet
            .resource()
            .parse()
            .map_err(|_| Refusal::Packet(oci_crypt::PacketError::Malformed { part: "resource" }))?;
        let key = PrivateKey::generate(Suite::XWing).map_err(|_| Refusal::NoRandomness)?;
        let bytes = packet.to_bytes();
        let cnf = Confirmation::of(key.public_key());
        let request = KeyRequest::new(&bytes, image.clone(), layer.clone(), cnf);
        let answer = self.client.open(&request).map_err(Refusal::Agent)?;
        let mut places = Vec::new();
        let is_ours = |canonical: &[u8]| match OpenRequest::from_canonical(canonical) {
            Ok(asked)
                if asked.image == image
                    && asked.packet == Digest::of(&bytes)
                    && asked.layer == *layer =>
            {
                places = asked.uses.iter().map(place).collect();
                true
            }
            _ => false,
        };
        let opened = answer
            .open(&self.trust, &key, ReleaseInfo::Open, is_ours)
            .map_err(Refusal::Untrusted)?;
        let options = PrivateOptions::parse(&opened).map_err(Refusal::Options)?;
        Ok(LayerSecret {
            options,
            places: Places::Known(places),
            binding: BindingRule::Required,
        })
    }
}

fn place(usage: &LayerUse) -> SeenPlace {
    let digest = |digest: &Digest| OciDigest::from_sha256(*digest.as_bytes());
    SeenPlace {
        index: usage.index,
        of: usage.of,
        config: digest(&usage.config),
        diff_id: usage.diff_id.as_ref().map(digest),
    }
}

/// Private keys for JWE packets: a folder, and what a client sent along. Read only when such a packet is met.
pub(super) struct JweKeys {
    /// The folder.
    pub(super) folder: Option<PathBuf>,
    /// Keys that came with the payload.
    pub(super) sent: Vec<Zeroizing<Vec<u8>>>,
    /// The agent, where one is. It knows nothing of these keys, and a registry can take its packet away to keep it out; so it
    /// is asked where a layer is listed whose key is bound to an image.
    pub(super) agent: Option<Box<dyn PlaceSource>>,
}

impl KeySource for JweKeys {
    fn open(
        &self,
        packet: &KeyPacket,
        layer: &LayerDescriptor,
    ) -> Result<Option<LayerSecret>, Refusal> {
        if !matches!(packet, KeyPacket::Jwe(_)) {
            return Ok(None);
        }
        match JweOpener::new(self.read()?).open(packet) {
            Opening::NotOurs => Ok(None),
            Opening::Failed(error) => Err(Refusal::Packet(error)),
            Opening::Opened(options) => {
                let places = match &self.agent {
                    Some(agent) if options.bound().is_bound() => {
                        Places::Known(agent.places_of(layer)?)
                    }
                    _ => Places::Unknown,
                };
                Ok(Some(LayerSecret {
                    options,
                    places,
                    binding: BindingRule::IfThere,
                }))
            }
        }
    }
}

impl JweKeys {
    fn read(&self) -> Result<Vec<DecryptionKey>, Refusal> {
        let sent = self
            .sent
            .iter()
            .filter_map(|key| jose::key_file::parse_private(key).ok());
        let mut keys: Vec<_> = sent.collect();
        if let Some(folder) = &self.folder {
            keys.extend(read_folder(folder)?);
        }
        Ok(keys)
    }
}

/// Every private key in the folder. Certificates and public keys may lie beside; links out of the folder are not followed.
fn read_folder(folder: &Path) -> Result<Vec<DecryptionKey>, Refusal> {
    let refused = |path: &Path, why: String| Refusal::Keys {
        path: path.to_owned(),
        why,
    };
    let entries = fs::read_dir(folder).map_err(|error| refused(folder, error.to_string()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| refused(folder, error.to_string()))?
            .path();
        let about =
            fs::symlink_metadata(&path).map_err(|error| refused(&path, error.to_string()))?;
        if about.is_file() && about.len() <= LARGEST_KEY_FILE {
            files.push(path);
        }
        if files.len() > MOST_KEY_FILES {
            return Err(refused(
                folder,
                format!("it has more than {MOST_KEY_FILES} files"),
            ));
        }
    }
    files.sort();
    let mut keys = Vec::new();
    for path in files {
        let text = fs::read(&path)
            .map(Zeroizing::new)
            .map_err(|error| refused(&path, error.to_string()))?;
        keys.extend(jose::key_file::parse_private(&text).ok());
    }
    Ok(keys)
}

const LARGEST_KEY_FILE: u64 = 64 * 1024;
const MOST_KEY_FILES: usize = 256;
