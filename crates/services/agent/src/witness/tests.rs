//! The witness against logs that shrink, fork and lie.

use tlog::{Signer, Tree};

use super::*;

#[derive(Default)]
struct Memory(Mutex<Option<String>>);

impl CheckpointStore for Memory {
    fn load(&self) -> Result<Option<String>, CheckpointStoreError> {
        Ok(self.0.lock().unwrap().clone())
    }
    fn save(&self, state: &str) -> Result<(), CheckpointStoreError> {
        *self.0.lock().unwrap() = Some(state.to_owned());
        Ok(())
    }
}

fn signer(seed: u8) -> Signer {
    Signer::from_seed("log.example.lab", &[seed; 32]).unwrap()
}

struct Log {
    leaves: Vec<Vec<u8>>,
    signer: Signer,
}

impl Log {
    fn new(names: &[&str]) -> Self {
        Self {
            leaves: names.iter().map(|name| name.as_bytes().to_vec()).collect(),
            signer: signer(1),
        }
    }

    fn stored(&self, size: usize) -> (Tree, Vec<Hash>) {
        let (mut tree, mut stored) = (Tree::new(), Vec::new());
        for leaf in &self.leaves[..size] {
            stored.extend(
                tree.append(leaf_hash(leaf))
                    .unwrap()
                    .into_iter()
                    .map(|stored| stored.hash),
            );
        }
        (tree, stored)
    }

    fn checkpoint(&self, size: usize) -> String {
        let (tree, _) = self.stored(size);
        let checkpoint = Checkpoint::new("log.example.lab", size as u64, tree.root()).unwrap();
        checkpoint.sign(&self.signer).unwrap().to_string()
    }

    fn receipt(&self, index: u64, size: usize) -> String {
        let (_, stored) = self.stored(size);
        let proof = tlog::inclusion_proof(index, size as u64, &stored[..]).unwrap();
        Receipt::new(index, proof, Note::parse(&self.checkpoint(size)).unwrap()).to_text()
    }

    fn proof(&self, old: u64, new: usize) -> Vec<[u8; 32]> {
        let (_, stored) = self.stored(new);
        let proof = tlog::consistency_proof(old, new as u64, &stored[..]).unwrap();
        proof.iter().map(|hash| *hash.as_bytes()).collect()
    }
}

fn pinned(store: &Arc<Memory>) -> Witness {
    let witness = Witness::new(Arc::clone(store) as Arc<dyn CheckpointStore>, None);
    witness.pin(&signer(1).verifier_key().to_string()).unwrap();
    witness
}

#[test]
fn the_first_key_is_pinned_and_another_is_refused_after_a_restart() {
    let store = Arc::new(Memory::default());
    pinned(&store);
    let again = Witness::new(store as Arc<dyn CheckpointStore>, None);
    let other = signer(2).verifier_key().to_string();
    assert!(matches!(
        again.pin(&other),
        Err(WitnessError::OtherKey { .. })
    ));
    again.pin(&signer(1).verifier_key().to_string()).unwrap();
}

#[test]
fn a_configured_key_is_pinned_before_any_server_spoke() {
    let configured = Some(signer(2).verifier_key());
    let witness = Witness::new(Arc::new(Memory::default()), configured);
    let found = witness.pin(&signer(1).verifier_key().to_string());
    assert!(matches!(found, Err(WitnessError::OtherKey { .. })));
}

#[test]
fn a_receipt_for_another_leaf_is_refused() {
    let log = Log::new(&["a", "b", "c"]);
    let witness = pinned(&Arc::default());
    witness.verify(b"c", &log.receipt(2, 3), 0).unwrap();
    assert!(matches!(
        witness.verify(b"d", &log.receipt(2, 3), 0),
        Err(WitnessError::Receipt(_))
    ));
    assert!(matches!(
        witness.verify(b"c", "c2sp.org/tlog-proof@v1\n", 0),
        Err(WitnessError::Receipt(_))
    ));
}

#[test]
fn an_old_leaf_answers_no_new_question() {
    let log = Log::new(&["a", "b", "c"]);
    let witness = pinned(&Arc::default());
    witness.verify(b"b", &log.receipt(1, 2), 0).unwrap();
    let known = witness.known_size();
    assert!(matches!(
        witness.verify(b"b", &log.receipt(1, 3), known),
        Err(WitnessError::Replayed { .. })
    ));
    witness.verify(b"c", &log.receipt(2, 3), known).unwrap();
}

#[test]
fn a_smaller_tree_is_refused_after_a_restart() {
    let log = Log::new(&["a", "b", "c"]);
    let store = Arc::new(Memory::default());
    let witness = pinned(&store);
    witness.extend(None, &[], &log.checkpoint(3)).unwrap();
    witness.keep().unwrap();

    let again = pinned(&store);
    let [old] = &again.to_prove()[..] else {
        panic!("one tip")
    };
    let found = again.extend(Some(old), &log.proof(2, 2), &log.checkpoint(2));
    assert!(matches!(
        found,
        Err(WitnessError::Inconsistent(tlog::VerifyError::Shrunk { .. }))
    ));
}

#[test]
fn a_forked_tree_is_refused() {
    let (log, fork) = (
        Log::new(&["a", "b", "c", "d"]),
        Log::new(&["a", "x", "c", "d"]),
    );
    let witness = pinned(&Arc::default());
    witness.extend(None, &[], &log.checkpoint(2)).unwrap();
    let old = witness.to_prove().remove(0);
    let found = witness.extend(Some(&old), &fork.proof(2, 4), &fork.checkpoint(4));
    assert!(
        matches!(found, Err(WitnessError::Inconsistent(_))),
        "{found:?}"
    );
    witness
        .extend(Some(&old), &log.proof(2, 4), &log.checkpoint(4))
        .unwrap();
    assert!(witness.is_settled());
    assert!(matches!(
        witness.verify(b"d", &fork.receipt(3, 4), 2),
        Err(WitnessError::Forked { size: 4 })
    ));
}

#[test]
fn a_receipt_of_a_fork_is_found_at_the_next_proof() {
    let (log, fork) = (Log::new(&["a", "b", "c", "d"]), Log::new(&["a", "x", "y"]));
    let witness = pinned(&Arc::default());
    witness.extend(None, &[], &log.checkpoint(2)).unwrap();
    witness.verify(b"y", &fork.receipt(2, 3), 2).unwrap();
    assert!(!witness.is_settled());
    let [proven, seen] = &witness.to_prove()[..] else {
        panic!("two tips")
    };
    witness
        .extend(Some(proven), &log.proof(2, 4), &log.checkpoint(4))
        .unwrap();
    let found = witness.extend(Some(seen), &log.proof(3, 4), &log.checkpoint(4));
    assert!(
        matches!(found, Err(WitnessError::Inconsistent(_))),
        "{found:?}"
    );
}

#[test]
fn a_fork_seen_between_two_honest_receipts_is_found() {
    let (log, fork) = (
        Log::new(&["a", "b", "c", "d", "e"]),
        Log::new(&["a", "x", "y"]),
    );
    let witness = pinned(&Arc::default());
    witness.extend(None, &[], &log.checkpoint(2)).unwrap();
    witness.verify(b"y", &fork.receipt(2, 3), 2).unwrap();
    witness.verify(b"d", &log.receipt(3, 4), 3).unwrap();
    let found: Vec<_> = witness
        .to_prove()
        .iter()
        .map(|tip| {
            witness
                .extend(Some(tip), &log.proof(tip.size, 5), &log.checkpoint(5))
                .is_ok()
        })
        .collect();
    assert_eq!(found, [true, false, true]);
}

#[test]
fn a_first_receipt_is_the_base_of_everything_later() {
    let log = Log::new(&["a", "b", "c", "d"]);
    let witness = pinned(&Arc::default());
    witness.verify(b"a", &log.receipt(0, 1), 0).unwrap();
    let tip = witness.to_prove().remove(0);
    witness
        .extend(Some(&tip), &log.proof(1, 3), &log.checkpoint(3))
        .unwrap();
    assert!(witness.is_settled());
    assert_eq!(witness.known_size(), 3);
}

#[test]
fn what_was_kept_is_read_strictly() {
    for text in [
        "",
        "{}",
        r#"{"v":2,"ledgerKey":"x","proven":null,"seen":[]}"#,
    ] {
        let store = Memory(Mutex::new(Some(text.to_owned())));
        let witness = Witness::new(Arc::new(store), None);
        let found = witness.pin(&signer(1).verifier_key().to_string());
        assert!(matches!(found, Err(WitnessError::Kept)), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn hostile_state_and_receipts_are_refused(text in ".{0,300}", leaf in proptest::collection::vec(0_u8.., 0..50)) {
        let store = Memory(Mutex::new(Some(text.clone())));
        let found = Witness::new(Arc::new(store), None).pin(&signer(1).verifier_key().to_string());
        proptest::prop_assert!(found.is_err());
        let witness = pinned(&Arc::default());
        proptest::prop_assert!(witness.verify(&leaf, &text, 0).is_err());
        proptest::prop_assert!(witness.extend(None, &[], &text).is_err());
    }
}
