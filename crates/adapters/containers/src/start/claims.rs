//! The list of opened layers, as the agent writes it: claimed before a key is asked for, withdrawn if none came.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use agent::ports::{Claim, GatedLayer};

use super::places::Found;
use crate::gate::{Gated, GatedError, GatedLayer as Entry};

/// The one writer of `gated.json`.
pub(super) struct Claims {
    path: PathBuf,
    /// LOCK: held while the file is read, changed and written.
    open: Mutex<Open>,
}

/// Questions for keys whose answers are not there yet.
#[derive(Default)]
struct Open {
    claimed: BTreeMap<GatedLayer, usize>,
    /// What was not in the list before, and for which no key has come.
    fresh: BTreeSet<GatedLayer>,
    /// How many were made.
    made: u64,
}

impl Claims {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: Mutex::default(),
        }
    }

    pub(super) fn read(&self) -> Result<Gated, GatedError> {
        Gated::read(&self.path)
    }

    /// Writes layers down, as not known where: a layer that is opened again is unpacked again, into another place.
    pub(super) fn claim(&self, layers: BTreeSet<GatedLayer>) -> Result<Claim, GatedError> {
        let mut open = self.lock();
        open.made += 1;
        let mut gated = self.read()?;
        let mut fresh = BTreeSet::new();
        let mut changed = false;
        for layer in &layers {
            let known = gated.layers().iter().find(|entry| is(entry, layer));
            match known.map(|entry| entry.places.is_some()) {
                Some(false) => continue,
                Some(true) => gated.retain(|entry| !is(entry, layer)),
                None => {
                    fresh.insert(layer.clone());
                }
            }
            changed |= gated.add(Entry {
                chain: layer.chain,
                config: layer.config,
                image: layer.image.clone(),
                places: None,
            });
        }
        if changed {
            gated.write(&self.path)?;
        }
        open.fresh.extend(fresh);
        for layer in &layers {
            *open.claimed.entry(layer.clone()).or_default() += 1;
        }
        Ok(Claim(layers))
    }

    /// A key came: what was claimed stays.
    pub(super) fn confirm(&self, claim: Claim) {
        let mut open = self.lock();
        for layer in claim.0 {
            open.let_go(&layer);
            open.fresh.remove(&layer);
        }
    }

    /// No key came: what only this claim put into the list is taken out of it.
    pub(super) fn withdraw(&self, claim: Claim) -> Result<(), GatedError> {
        let mut open = self.lock();
        let mut unclaimed = BTreeSet::new();
        for layer in claim.0 {
            if open.let_go(&layer) && open.fresh.remove(&layer) {
                unclaimed.insert(layer);
            }
        }
        if unclaimed.is_empty() {
            return Ok(());
        }
        let mut gated = self.read()?;
        gated.retain(|entry| !unclaimed.iter().any(|layer| is(entry, layer)));
        gated.write(&self.path)
    }

    /// How many claims were made so far.
    pub(super) fn made(&self) -> u64 {
        self.lock().made
    }

    /// Says where the files of chains lie. That they lie nowhere holds only if nothing was claimed since it was looked for,
    /// when `made` claims were made: what is claimed is about to be unpacked.
    pub(super) fn place(&self, found: &Found, made: u64) -> Result<(), GatedError> {
        let open = self.lock();
        let mut gated = self.read()?;
        let mut changed = false;
        for (chain, places) in &found.places {
            changed |= gated.set_places(*chain, places);
        }
        for chain in found.nowhere.iter().filter(|_| open.made == made) {
            changed |= gated.set_places(*chain, &[]);
        }
        if changed {
            gated.write(&self.path)?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Whether nobody claims the layer any more.
    fn let_go(&mut self, layer: &GatedLayer) -> bool {
        match self.claimed.get_mut(layer) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => {
                self.claimed.remove(layer);
                true
            }
        }
    }
}

fn is(entry: &Entry, layer: &GatedLayer) -> bool {
    (entry.chain, entry.config) == (layer.chain, layer.config) && entry.image == layer.image
}

#[cfg(test)]
mod tests {
    use estate::Digest;

    use super::*;

    fn layers(names: &[&str]) -> BTreeSet<GatedLayer> {
        let layer = |name: &&str| GatedLayer {
            chain: Digest::of(name),
            config: Digest::of("config"),
            image: "medrec".parse().unwrap(),
        };
        names.iter().map(layer).collect()
    }

    fn claims() -> (tempfile::TempDir, Claims) {
        let folder = tempfile::tempdir().unwrap();
        let claims = Claims::new(folder.path().join("gated.json"));
        (folder, claims)
    }

    fn listed(claims: &Claims) -> Vec<Digest> {
        let gated = claims.read().unwrap();
        gated.layers().iter().map(|layer| layer.chain).collect()
    }

    fn at(chain: &str, place: &str) -> Found {
        Found {
            places: [(Digest::of(chain), vec![place.into()])].into(),
            ..Found::default()
        }
    }

    /// A pull that failed after its key came leaves nothing on the disk, and must not make each container wait for the agent.
    #[test]
    fn what_was_never_unpacked_is_nowhere_unless_it_is_claimed_meanwhile() {
        let (_folder, claims) = claims();
        let places = || claims.read().unwrap().layers()[0].places.clone();
        let nowhere = Found {
            nowhere: [Digest::of("a")].into(),
            ..Found::default()
        };
        claims.confirm(claims.claim(layers(&["a"])).unwrap());
        let before = claims.made();
        let again = claims.claim(layers(&["a"])).unwrap();
        claims.place(&nowhere, before).unwrap();
        assert_eq!(places(), None, "it may be unpacked by now");
        claims.confirm(again);
        claims.place(&nowhere, claims.made()).unwrap();
        assert_eq!(places(), Some(Vec::new()));
        claims.confirm(claims.claim(layers(&["a"])).unwrap());
        assert_eq!(places(), None);
        claims.place(&at("a", "/snapshots/1/fs"), 0).unwrap();
        assert_eq!(places().unwrap().len(), 1);
    }

    #[test]
    fn a_claim_is_on_the_disk_before_it_is_given_and_outlives_its_writer() {
        let (folder, claims) = claims();
        let claim = claims.claim(layers(&["a", "b"])).unwrap();
        assert_eq!(listed(&claims).len(), 2);
        claims.confirm(claim);
        let later = Claims::new(folder.path().join("gated.json"));
        assert_eq!(listed(&later).len(), 2);
    }

    #[test]
    fn what_no_key_came_for_is_withdrawn_and_nothing_else() {
        let (_folder, claims) = claims();
        let first = claims.claim(layers(&["a"])).unwrap();
        claims.confirm(first);
        let second = claims.claim(layers(&["a", "b"])).unwrap();
        claims.withdraw(second).unwrap();
        assert_eq!(listed(&claims), [Digest::of("a")]);
    }

    /// Two layers are opened at once; the key of one of them came.
    #[test]
    fn a_withdrawal_never_takes_what_another_claim_got_a_key_for() {
        for confirmed_first in [true, false] {
            let (_folder, claims) = claims();
            let refused = claims.claim(layers(&["a"])).unwrap();
            let permitted = claims.claim(layers(&["a"])).unwrap();
            if confirmed_first {
                claims.confirm(permitted);
                claims.withdraw(refused).unwrap();
            } else {
                claims.withdraw(refused).unwrap();
                assert_eq!(listed(&claims).len(), 1);
                claims.confirm(permitted);
            }
            assert_eq!(listed(&claims), [Digest::of("a")]);
        }
    }

    #[test]
    fn two_refusals_leave_nothing() {
        let (_folder, claims) = claims();
        let both = [(); 2].map(|()| claims.claim(layers(&["a"])).unwrap());
        for claim in both {
            claims.withdraw(claim).unwrap();
        }
        assert!(listed(&claims).is_empty());
    }

    #[test]
    fn a_layer_that_is_opened_again_is_nowhere_until_it_is_found() {
        let (_folder, claims) = claims();
        let claim = claims.claim(layers(&["a"])).unwrap();
        claims.confirm(claim);
        claims.place(&at("a", "/snapshots/1/fs"), 0).unwrap();
        assert!(claims.read().unwrap().layers()[0].places.is_some());
        let again = claims.claim(layers(&["a"])).unwrap();
        assert!(claims.read().unwrap().layers()[0].places.is_none());
        claims.withdraw(again).unwrap();
        assert_eq!(listed(&claims).len(), 1);
    }

    #[test]
    fn a_list_that_can_not_be_read_or_written_claims_nothing() {
        let (folder, claims) = claims();
        std::fs::write(folder.path().join("gated.json"), "?").unwrap();
        assert!(claims.claim(layers(&["a"])).is_err());
        let nowhere = Claims::new("/nowhere/gated.json".into());
        assert!(nowhere.claim(layers(&["a"])).is_err());
    }
}
