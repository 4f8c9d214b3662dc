//! Private keys that the operator put on this node, and those that the runtime's client sent along. They are read when the
//! first packet is met that one of them might open.

use std::{cell::OnceCell, path::Path};

use evidence::request::LayerDescriptor;
use images::Keys;
use oci_crypt::{KeyPacket, Opening, PrivateOptions};

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
                Opening::Opened(options) => return self.opened(options, layer),
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
