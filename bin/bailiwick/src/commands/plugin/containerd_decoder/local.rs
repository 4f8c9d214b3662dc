//! Private keys that the operator put on this node, and those that the runtime's client sent along. They are read when the
//! first packet is met that one of them might open.

use std::{cell::OnceCell, path::Path};

use evidence::request::LayerDescriptor;
use images::Keys;
use oci_crypt::{Bound, KeyPacket, Opening, PrivateOptions};

use super::{
    folder::{KeyFile, Meaning, add_folder, told},
    keys::{BindingRule, KeySource, LayerSecret, PlaceSource, places_by},
    refusal::{Refusal, Unused},
    sent::Sent,
};

/// All of them.
pub(super) struct LocalKeys<'a> {
    folder: Option<&'a Path>,
    sent: &'a Sent,
    agent: Option<&'a dyn PlaceSource>,
    read: OnceCell<Read>,
    /// All of the layer.
    packets: OnceCell<Vec<KeyPacket>>,
}

#[derive(Default)]
struct Read {
    keys: Keys,
    unused: Vec<Unused>,
    /// Why the folder was not read.
    broken: Option<String>,
}

impl<'a> LocalKeys<'a> {
    /// Keys of a folder and of a client. The agent, where one is, tells where layers are listed.
    pub(super) fn new(
        folder: Option<&'a Path>,
        sent: &'a Sent,
        agent: Option<&'a dyn PlaceSource>,
    ) -> Self {
        Self {
            folder,
            sent,
            agent,
            read: OnceCell::new(),
            packets: OnceCell::new(),
        }
    }

    /// The keys that are not understood, as far as keys were read.
    pub(super) fn unused(&self) -> Vec<Unused> {
        self.read
            .get()
            .map(|read| read.unused.clone())
            .unwrap_or_default()
    }

    fn read(&self) -> &Read {
        self.read.get_or_init(|| {
            let mut read = Read::default();
            read.unused = self.sent.add_to(&mut read.keys);
            match self.folder.map(|folder| add_folder(&mut read.keys, folder)) {
                None => {}
                Some(Ok(files)) => read.unused.extend(files.into_iter().filter_map(unused)),
                Some(Err(error)) => read.broken = Some(told(&error)),
            }
            read
        })
    }

    /// PKCS#11 packets may have had no room for the binding, and others of the same layer have: the fullest that opens counts.
    fn fullest(&self, packet: &KeyPacket, options: PrivateOptions) -> PrivateOptions {
        if !matches!(packet, KeyPacket::Pkcs11(_)) {
            return options;
        }
        let openers = self.read().keys.openers();
        let others = self.packets.get().map(Vec::as_slice).unwrap_or_default();
        others.iter().fold(options, |best, other| {
            let says_all = matches!(best.bound(), Bound::Full(_));
            if says_all || other == packet || matches!(other, KeyPacket::Bailiwick(_)) {
                return best;
            }
            let opened = openers.iter().find_map(|opener| match opener.open(other) {
                Opening::Opened(options) => Some(options),
                Opening::NotOurs | Opening::Failed(_) => None,
            });
            match opened {
                Some(fuller) if says(fuller.bound()) > says(best.bound()) => fuller,
                _ => best,
            }
        })
    }

    fn opened(
        &self,
        options: PrivateOptions,
        layer: &LayerDescriptor,
    ) -> Result<Option<LayerSecret>, Refusal> {
        let places = places_by(self.agent, &options, layer)?;
        Ok(Some(LayerSecret {
            options,
            places,
            binding: BindingRule::IfThere,
        }))
    }
}

impl KeySource for LocalKeys<'_> {
    fn open(
        &self,
        packet: &KeyPacket,
        layer: &LayerDescriptor,
    ) -> Result<Option<LayerSecret>, Refusal> {
        if matches!(packet, KeyPacket::Bailiwick(_)) {
            return Ok(None);
        }
        let read = self.read();
        let mut refusal = None;
        for (key, opener) in read.keys.named_openers() {
            match opener.open(packet) {
                Opening::NotOurs => {}
                Opening::Opened(options) => {
                    return self.opened(self.fullest(packet, options), layer);
                }
                Opening::Failed(source) => {
                    refusal.get_or_insert(Refusal::Packet {
                        scheme: packet.scheme(),
                        key: key.to_owned(),
                        source,
                    });
                }
            }
        }
        match (refusal, self.folder, &read.broken) {
            (Some(refusal), ..) => Err(refusal),
            (None, Some(folder), Some(why)) => Err(Refusal::Keys {
                path: folder.to_owned(),
                why: why.clone(),
            }),
            (None, ..) => Ok(None),
        }
    }

    fn expect(&self, packets: &[KeyPacket]) {
        let _ = self.packets.set(packets.to_vec());
    }

    /// A key provider may still open the layer.
    fn has_the_last_word(&self) -> bool {
        false
    }

    fn tried(&self) -> Vec<String> {
        let Some(read) = self.read.get() else {
            return Vec::new();
        };
        let mut names: Vec<String> = Vec::new();
        // The last one stands for pairs of the others.
        if let Some((_, named)) = read.keys.named_openers().split_last() {
            names.extend(named.iter().map(|(name, _)| (*name).to_owned()));
        }
        names.dedup();
        names
    }
}

fn unused(file: KeyFile) -> Option<Unused> {
    match file.meaning {
        Meaning::Unused { why } => Some(Unused {
            name: file.name.display().to_string(),
            why,
        }),
        _ => None,
    }
}

/// How much a binding says of where a layer belongs.
fn says(bound: &Bound) -> u8 {
    match bound {
        Bound::Unbound => 0,
        Bound::Hash(_) => 1,
        Bound::Full(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD as B64};
    use jose::{jwe::EncryptionKey, key_file::parse_public};
    use oci_crypt::{JweWrapper, OaepHash, PacketWrapper, TokenKey, TokenKeyError};
    use zeroize::Zeroizing;

    use super::*;

    const KEY: &str = r#"{"symkey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","cipheroptions":{"nonce":"AAECAwQFBgcICQoLDA0ODw=="}"#;

    /// A token whose key had no room for more.
    struct Small;

    impl TokenKey for Small {
        fn decrypt(&self, _: OaepHash, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, TokenKeyError> {
            Ok(Zeroizing::new(format!("{KEY}}}").into_bytes()))
        }
    }

    #[test]
    fn a_packet_without_room_does_not_hide_the_binding_of_another() {
        let digest = estate::Digest::of(b"layer");
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        let bound = format!(
            r#"{KEY},"bailiwick":{{"v":1,"ciphertext":"{digest}","size":5,"mediaType":"{media_type}","diffId":null,"index":0,"of":1,"config":"{digest}"}}}}"#
        );
        let bound = PrivateOptions::parse(bound.as_bytes()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let public = parse_public(key.public_key_pem().as_bytes()).unwrap();
        let full = JweWrapper::new(vec![EncryptionKey::from_jwk(&public).unwrap()]);
        let full = full.wrap(&bound).unwrap();
        let blob = B64.encode([1; 256]);
        let short = KeyPacket::Pkcs11(
            format!(r#"{{"version":0,"recipients":[{{"version":0,"blob":"{blob}"}}]}}"#)
                .into_bytes(),
        );
        let sent = Sent::default();
        let layer = LayerDescriptor {
            digest,
            size: 5,
            media_type: format!("{media_type}+encrypted"),
        };
        for packets in [vec![short.clone(), full], vec![short.clone()]] {
            let local = LocalKeys::new(None, &sent, None);
            let mut read = Read::default();
            read.keys.add_token_key(Small);
            let private = key.serialize_pem();
            read.keys.add_private_key(private.as_bytes(), None).unwrap();
            assert!(local.read.set(read).is_ok());
            local.expect(&packets);
            let secret = local.open(&short, &layer).ok().flatten().unwrap();
            assert_eq!(secret.options.bound().is_bound(), packets.len() == 2);
        }
    }
}
