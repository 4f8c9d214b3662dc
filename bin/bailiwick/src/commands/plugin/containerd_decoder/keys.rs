//! Where a layer's key comes from: the agent, which asks the server; and what else is at hand ([`super::local`],
//! [`super::providers`]).

use custody::ReleaseInfo;
use estate::{Digest, ImageSetName};
use evidence::{
    Confirmation,
    request::{Canonical, LayerDescriptor, LayerUse, OpenRequest},
};
use hpke_xwing::{PrivateKey, Suite};
use oci_crypt::{BailiwickPacket, Digest as OciDigest, KeyPacket, PrivateOptions, SeenPlace};
use rpc::{
    key_socket::{KeyClient, KeyRequest},
    released::Trust,
};

use super::refusal::Refusal;

/// Gives the key of a layer.
pub(super) trait KeySource {
    /// Tries a packet; `None` when it is for others.
    fn open(
        &self,
        packet: &KeyPacket,
        layer: &LayerDescriptor,
    ) -> Result<Option<LayerSecret>, Refusal>;

    /// Tells of all packets of the layer before the first is tried.
    fn expect(&self, packets: &[KeyPacket]) {
        let _ = packets;
    }

    /// Whether sources after it are asked where this one refuses.
    fn has_the_last_word(&self) -> bool {
        true
    }

    /// What was tried, for people to read.
    fn tried(&self) -> Vec<String> {
        Vec::new()
    }
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

/// Where a layer lies whose key came from elsewhere. The agent knows nothing of such keys, and a registry can take its packet
/// away to keep it out; so it is asked where a layer is listed whose key is bound to an image.
pub(super) fn places_by(
    agent: Option<&dyn PlaceSource>,
    options: &PrivateOptions,
    layer: &LayerDescriptor,
) -> Result<Places, Refusal> {
    match agent {
        Some(agent) if options.bound().is_bound() => Ok(Places::Known(agent.places_of(layer)?)),
        _ => Ok(Places::Unknown),
    }
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
            // All others are for keys that the agent knows nothing of.
            _ => Ok(None),
        }
    }
}

impl AgentKeys {
    fn ask(
        &self,
        packet: &BailiwickPacket,
        layer: &LayerDescriptor,
    ) -> Result<LayerSecret, Refusal> {
        let image: ImageSetName = packet.resource().parse().map_err(|_| Refusal::Resource)?;
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
