//! Keys of layers, opened once: a private operation takes a millisecond, or a question to somebody else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use estate::Digest;
use oci_crypt::{KeyPacket, Opening, PacketOpener};

use super::{OpenedLayer, Unbound, open_all};
use crate::config::Config;
use crate::error::ImageError;
use crate::manifest::Manifest;

type Layers = Vec<Option<OpenedLayer>>;

/// Opens the keys of manifests. What was opened when a manifest was checked is kept until it is converted.
pub(crate) struct KeyRing<'a> {
    openers: &'a [&'a dyn PacketOpener],
    unbound: Unbound,
    kept: Mutex<HashMap<Digest, Layers>>,
}

impl<'a> KeyRing<'a> {
    pub(crate) fn new(openers: &'a [&'a dyn PacketOpener], unbound: Unbound) -> Self {
        Self {
            openers,
            unbound,
            kept: Mutex::default(),
        }
    }

    /// Opens the keys, shows them and keeps them.
    pub(crate) fn check<T>(
        &self,
        manifest: &Manifest,
        config: &Config,
        look: impl FnOnce(&[Option<OpenedLayer>]) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let opened = open_all(manifest, config, self.openers, self.unbound)?;
        let found = look(&opened)?;
        let mut kept = self.kept();
        // An index can list any number of manifests: of those beyond the bound the keys are opened twice.
        if kept.values().map(Vec::len).sum::<usize>() + opened.len() <= MOST_KEPT {
            kept.insert(manifest.id.digest, opened);
        }
        Ok(found)
    }

    /// The keys of a manifest. Its digest names the configuration and the packets, so what was checked before holds.
    pub(crate) fn take(&self, manifest: &Manifest, config: &Config) -> Result<Layers, ImageError> {
        let kept = self.kept().remove(&manifest.id.digest);
        match kept {
            Some(opened) => Ok(opened),
            None => open_all(manifest, config, self.openers, self.unbound),
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Digest, Layers>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries first whoever opened the last packet: the layers of an image are mostly encrypted to the same keys.
pub(crate) struct LastFirst<'a> {
    openers: &'a [&'a dyn PacketOpener],
    last: AtomicUsize,
}

impl<'a> LastFirst<'a> {
    pub(crate) fn new(openers: &'a [&'a dyn PacketOpener]) -> Self {
        Self {
            openers,
            last: AtomicUsize::new(0),
        }
    }

    /// Everybody, in the order to try them now.
    pub(crate) fn noting(&self) -> Vec<Noting<'_>> {
        let mut order: Vec<_> = self
            .openers
            .iter()
            .enumerate()
            .map(|(number, opener)| Noting {
                opener: *opener,
                number,
                last: &self.last,
            })
            .collect();
        let last = self.last.load(Ordering::Relaxed);
        if let Some(until_last) = order.get_mut(..=last) {
            until_last.rotate_right(1);
        }
        order
    }
}

/// Notes that it opened something.
pub(crate) struct Noting<'a> {
    opener: &'a dyn PacketOpener,
    number: usize,
    last: &'a AtomicUsize,
}

impl PacketOpener for Noting<'_> {
    fn open(&self, packet: &KeyPacket) -> Opening {
        let opening = self.opener.open(packet);
        if matches!(opening, Opening::Opened(_)) {
            self.last.store(self.number, Ordering::Relaxed);
        }
        opening
    }

    fn expect(&self, packets: &[KeyPacket]) {
        self.opener.expect(packets);
    }
}

/// Layers whose keys are kept: less than a mebibyte.
const MOST_KEPT: usize = 1024;
