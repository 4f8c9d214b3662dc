//! Key providers of ocicrypt, as `OCICRYPT_KEYPROVIDER_CONFIG` in the stream processor's `env` names them. The file is read when
//! a packet is met that a provider might open, and after no key at hand opened the layer.

use std::{cell::OnceCell, collections::BTreeMap, path::Path, time::Duration};

use evidence::request::LayerDescriptor;
use images::{ServiceKey, ServiceOpener};
use keyprovider::Providers;
use oci_crypt::{KeyPacket, Opening, PacketOpener, Scheme};

use super::{
    folder::told,
    keys::{BindingRule, KeySource, LayerSecret, PlaceSource, places_by},
    refusal::Refusal,
};

/// The providers of a configuration.
pub(super) struct ProviderKeys<'a> {
    /// Its file.
    pub(super) config: &'a Path,
    /// How long one may take for an answer.
    pub(super) patience: Duration,
    /// What the runtime's client wrote for them.
    pub(super) arguments: &'a BTreeMap<String, Vec<String>>,
    /// The agent, where one is.
    pub(super) agent: Option<&'a dyn PlaceSource>,
    /// Those that could be asked.
    pub(super) read: OnceCell<Result<Asked, String>>,
}

/// Who is asked.
pub(super) struct Asked {
    opener: ServiceOpener,
    names: Vec<String>,
}

impl ProviderKeys<'_> {
    fn read(&self) -> Result<&Asked, Refusal> {
        let read = self.read.get_or_init(|| {
            let providers = Providers::read(self.config)
                .map_err(|error| format!("`{}`: {}", self.config.display(), told(&error)))?;
            let services = providers.within(self.patience).all();
            let names = services.iter().map(|service| service.name().to_owned());
            let names: Vec<String> = names.collect();
            let keys = services.into_iter().map(|service| {
                let arguments = self.arguments.get(service.name());
                ServiceKey {
                    arguments: arguments.cloned().unwrap_or_default(),
                    service,
                }
            });
            Ok(Asked {
                opener: ServiceOpener::new(keys.collect()),
                names,
            })
        });
        read.as_ref().map_err(|why| Refusal::Providers(why.clone()))
    }
}

impl KeySource for ProviderKeys<'_> {
    fn open(
        &self,
        packet: &KeyPacket,
        layer: &LayerDescriptor,
    ) -> Result<Option<LayerSecret>, Refusal> {
        let scheme = packet.scheme();
        let Some(name) = provider(&scheme) else {
            return Ok(None);
        };
        match self.read()?.opener.open(packet) {
            Opening::NotOurs => Ok(None),
            Opening::Failed(source) => Err(Refusal::Packet {
                key: format!("provider:{name}"),
                scheme,
                source,
            }),
            Opening::Opened(options) => {
                let places = places_by(self.agent, &options, layer)?;
                Ok(Some(LayerSecret {
                    options,
                    places,
                    binding: BindingRule::IfThere,
                }))
            }
        }
    }

    /// So that all packets for one provider are asked about at once.
    fn expect(&self, packets: &[KeyPacket]) {
        let is_wanted = packets
            .iter()
            .any(|packet| provider(&packet.scheme()).is_some());
        if is_wanted && let Ok(asked) = self.read() {
            asked.opener.expect(packets);
        }
    }

    fn tried(&self) -> Vec<String> {
        let asked = self.read.get().and_then(|read| read.as_ref().ok());
        let names = asked
            .map(|asked| asked.names.as_slice())
            .unwrap_or_default();
        names
            .iter()
            .map(|name| format!("provider:{name}"))
            .collect()
    }
}

/// The provider that a packet is for. Ours is in the same slot, and is the agent's.
fn provider(scheme: &Scheme) -> Option<&str> {
    match scheme.as_str() {
        Scheme::BAILIWICK => None,
        name => name.strip_prefix("provider."),
    }
}
