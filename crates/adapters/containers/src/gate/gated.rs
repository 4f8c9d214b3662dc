//! Which layers were opened on this node, kept by the agent in `gated.json`: written before the key of a layer is released,
//! so that no plaintext lies on the disk that the gate does not know of.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};

use estate::{Digest, ImageSetName};
use rustix::fs::CWD;
use serde::{Deserialize, Serialize};

use super::files::{self, Durable};
use super::rootfs::Beneath;

/// The list is not to be had. The gate lets nothing pass then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatedError {
    /// Fault: this machine, or whoever put something else there.
    #[error("the list of opened layers `{}` can't be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: whoever wrote the file; only the agent does.
    #[error("the list of opened layers `{}` is malformed: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it departs from the format.
        reason: &'static str,
    },
    /// Fault: this machine's disk.
    #[error("the list of opened layers `{}` can't be written", .path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A layer that was opened, by the chain of layers that ends in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatedLayer {
    /// Chain id.
    pub chain: Digest,
    /// The image configuration that the layer is bound to.
    pub config: Digest,
    /// The image set that the layer was opened for.
    pub image: ImageSetName,
    /// Folders in which the layer's files lie; absent while they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<Vec<PathBuf>>,
}

/// The layers that were opened on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gated {
    layers: Vec<GatedLayer>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    layers: Vec<GatedLayer>,
}

/// Whether opened layers lie beneath a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gatedness {
    /// None does.
    NotGated,
    /// These do, and perhaps others.
    Gated(Vec<Digest>),
    /// It takes somebody who knows more.
    CannotTell,
}

impl Gated {
    /// Reads the list. There is none as long as nothing was opened.
    ///
    /// # Errors
    /// [`GatedError`]: never mistaken for "nothing was opened".
    pub fn read(path: &Path) -> Result<Self, GatedError> {
        let bytes = files::read(CWD, path, LARGEST).map_err(|source| GatedError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        match bytes {
            None => Ok(Self::default()),
            Some(bytes) => Self::parse(&bytes).map_err(|reason| GatedError::Malformed {
                path: path.to_owned(),
                reason,
            }),
        }
    }

    /// Replaces the list on the disk, durably and as a whole.
    ///
    /// # Errors
    /// [`GatedError`]: then no key may be released.
    pub fn write(&self, path: &Path) -> Result<(), GatedError> {
        let write = || {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or(io::ErrorKind::InvalidInput)?;
            let document = Document {
                version: 1,
                layers: self.layers.clone(),
            };
            let mut text = serde_json::to_vec_pretty(&document)?;
            if u64::try_from(text.len()).is_ok_and(|length| length < LARGEST) {
                text.push(b'\n');
                files::replace(&files::folder_of(path)?, name, &text, Durable::Yes)
            } else {
                Err(io::ErrorKind::FileTooLarge.into())
            }
        };
        write().map_err(|source| GatedError::Unwritten {
            path: path.to_owned(),
            source,
        })
    }

    /// The layers.
    pub fn layers(&self) -> &[GatedLayer] {
        &self.layers
    }

    /// Adds a layer, or what is newly known of one; tells whether anything is new.
    pub fn add(&mut self, layer: GatedLayer) -> bool {
        let same = |known: &&mut GatedLayer| {
            (known.chain, known.config) == (layer.chain, layer.config) && known.image == layer.image
        };
        match self.layers.iter_mut().find(same) {
            None => self.layers.push(layer),
            Some(known) if layer.places.is_some() && known.places != layer.places => {
                known.places = layer.places;
            }
            Some(_) => return false,
        }
        true
    }

    /// Says where the files of a chain lie; tells whether that is new.
    pub fn set_places(&mut self, chain: Digest, places: &[PathBuf]) -> bool {
        let mut changed = false;
        for layer in self.layers.iter_mut().filter(|layer| layer.chain == chain) {
            if layer.places.as_deref() != Some(places) {
                layer.places = Some(places.to_vec());
                changed = true;
            }
        }
        changed
    }

    /// Keeps the layers for which `keep` holds: those whose files are still there.
    pub fn retain(&mut self, keep: impl FnMut(&GatedLayer) -> bool) {
        self.layers.retain(keep);
    }

    /// Whether opened layers are among what lies beneath a container. With any place unknown, "none" can't be told.
    pub fn chains_under(&self, beneath: &Beneath<'_>) -> Gatedness {
        let found: BTreeSet<Digest> = self
            .layers
            .iter()
            .filter(|layer| {
                layer
                    .places
                    .iter()
                    .flatten()
                    .any(|place| beneath.holds(place))
            })
            .map(|layer| layer.chain)
            .collect();
        let all_known = self.layers.iter().all(|layer| layer.places.is_some());
        match (found.is_empty(), all_known && !beneath.is_unclear()) {
            _ if self.layers.is_empty() => Gatedness::NotGated,
            (false, _) => Gatedness::Gated(found.into_iter().collect()),
            (true, true) => Gatedness::NotGated,
            (true, false) => Gatedness::CannotTell,
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let Document { version, layers } =
            jose::strict_json::from_slice(bytes).map_err(|_| "it is not the expected JSON")?;
        if version != 1 {
            return Err("its version is not 1");
        }
        let places = layers
            .iter()
            .flat_map(|layer| layer.places.iter().flatten());
        for place in places {
            let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
            if !place.is_absolute() || !place.components().all(plain) {
                return Err("a place is no absolute path");
            }
        }
        let mut seen = BTreeSet::new();
        for GatedLayer {
            chain,
            config,
            image,
            places: _,
        } in &layers
        {
            if !seen.insert((chain, config, image)) {
                return Err("a layer stands in it twice");
            }
        }
        Ok(Self { layers })
    }
}

/// 4 MiB: ten thousand layers.
const LARGEST: u64 = 4 << 20;

#[cfg(test)]
mod tests;
