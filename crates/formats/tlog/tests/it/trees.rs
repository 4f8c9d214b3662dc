//! Trees and proofs, compared with the definition in RFC 6962 section 2.1 written down plainly.

use proptest::prelude::*;
use tlog::{
    Hash, MissingHash, Plan, Tile, Tree, consistency_proof, empty_root, inclusion_proof, leaf_hash,
    node_hash, stored_hash_count, tree_hash, verify_consistency, verify_inclusion,
};

const LARGEST: u64 = 67;

/// The Merkle Tree Hash as the RFC defines it.
fn definition(leaves: &[Hash]) -> Hash {
    match leaves.len() {
        0 => empty_root(),
        1 => leaves[0],
        n => {
            let split = n.next_power_of_two() / 2;
            node_hash(definition(&leaves[..split]), definition(&leaves[split..]))
        }
    }
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// The stored hashes of a log with these leaves.
fn store(leaves: &[Hash]) -> Vec<Hash> {
    let mut tree = Tree::new();
    let mut stored: Vec<Hash> = Vec::new();
    for leaf in leaves {
        for node in tree.append(*leaf).unwrap() {
            assert_eq!(node.index, stored.len() as u64);
            stored.push(node.hash);
        }
    }
    assert_eq!(stored.len() as u64, stored_hash_count(leaves.len() as u64));
    stored
}

#[test]
fn roots_are_those_of_the_certificate_transparency_vectors() {
    let entries: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Tree::new();
    for (entry, root) in entries.iter().zip(roots) {
        tree.append(leaf_hash(entry)).unwrap();
        assert_eq!(format!("{:x}", tree.root()), root);
    }
}

#[test]
fn roots_are_what_the_definition_says() {
    let leaves = leaves(LARGEST);
    let stored = store(&leaves);
    for size in 0..=LARGEST {
        let root = definition(&leaves[..size as usize]);
        assert_eq!(tree_hash(size, stored.as_slice()).unwrap(), root);
        let tree = Tree::open(size, stored.as_slice()).unwrap();
        assert_eq!(tree.root(), root);
        assert_eq!(Tree::from_edge(size, tree.edge().to_vec()), Ok(tree));
    }
}

#[test]
fn every_inclusion_is_proved_and_for_its_own_leaf_only() {
    let leaves = leaves(LARGEST);
    let stored = store(&leaves);
    for size in 1..=LARGEST {
        let root = definition(&leaves[..size as usize]);
        for index in 0..size {
            let proof = inclusion_proof(index, size, stored.as_slice()).unwrap();
            for (other, leaf) in leaves.iter().enumerate() {
                let accepted = verify_inclusion(&proof, index, size, *leaf, root).is_ok();
                assert_eq!(
                    accepted,
                    other as u64 == index,
                    "leaf {other} as {index} of {size}"
                );
            }
            for claimed in (0..=LARGEST).filter(|claimed| *claimed != index) {
                assert!(
                    verify_inclusion(&proof, claimed, size, leaves[index as usize], root).is_err()
                );
            }
        }
    }
}

#[test]
fn every_growth_is_proved_and_no_fork_is() {
    let leaves = leaves(LARGEST);
    let stored = store(&leaves);
    let mut forked = leaves.clone();
    forked[0] = leaf_hash(b"forged");
    for new in 0..=LARGEST {
        let new_root = definition(&leaves[..new as usize]);
        for old in 0..=new {
            let old_root = definition(&leaves[..old as usize]);
            let proof = consistency_proof(old, new, stored.as_slice()).unwrap();
            assert_eq!(
                verify_consistency(&proof, old, new, old_root, new_root),
                Ok(()),
                "{old} to {new}"
            );
            if old > 0 {
                let fork = definition(&forked[..old as usize]);
                assert!(
                    verify_consistency(&proof, old, new, fork, new_root).is_err(),
                    "{old} to {new}"
                );
                let fork = definition(&forked[..new as usize]);
                assert!(
                    verify_consistency(&proof, old, new, old_root, fork).is_err(),
                    "{old} to {new}"
                );
            }
        }
    }
}

#[test]
fn a_hash_that_the_store_lacks_is_named() {
    let stored = store(&leaves(3));
    let error = tree_hash(4, stored.as_slice()).unwrap_err();
    assert!(
        matches!(error, tlog::BuildError::Read(MissingHash(6))),
        "{error:?}"
    );
}

#[test]
fn tiles_hold_the_roots_of_the_tiles_below() {
    let leaves = leaves(70_000);
    let stored = store(&leaves);
    let tile = |path: &str| {
        path.parse::<Tile>()
            .unwrap()
            .data(stored.as_slice())
            .unwrap()
    };
    assert_eq!(tile("tile/0/273.p/112").len(), 112 * 32);
    assert_eq!(tile("tile/0/001")[..32], *leaves[256].as_bytes());
    assert_eq!(
        tile("tile/1/001.p/17")[..32],
        *definition(&leaves[65_536..65_792]).as_bytes()
    );
    assert_eq!(
        tile("tile/2/000.p/1"),
        definition(&leaves[..65_536]).as_bytes()
    );
}

#[test]
fn tiles_written_while_growing_are_those_of_the_whole() {
    let whole: std::collections::BTreeSet<String> =
        Tile::grown(0, 70_000).iter().map(Tile::to_string).collect();
    let mut steps = std::collections::BTreeSet::new();
    let mut old = 0;
    for new in [1, 255, 256, 257, 1000, 65_535, 65_536, 65_537, 70_000] {
        steps.extend(Tile::grown(old, new).iter().map(Tile::to_string));
        old = new;
    }
    assert!(whole.is_subset(&steps));
}

proptest! {
    #[test]
    fn a_changed_inclusion_proof_is_refused(
        size in 1..5000u64, seed: u64, at: prop::sample::Index, bit in 0..256usize, kind in 0..4u8,
    ) {
        let leaves = leaves(size);
        let stored = store(&leaves);
        let index = seed % size;
        let root = tree_hash(size, stored.as_slice()).unwrap();
        let mut proof = inclusion_proof(index, size, stored.as_slice()).unwrap();
        prop_assert_eq!(verify_inclusion(&proof, index, size, leaves[index as usize], root), Ok(()));
        prop_assume!(!proof.is_empty());
        let place = at.index(proof.len());
        match kind {
            0 => { proof.remove(place); }
            1 => { proof.insert(place, proof[place]); }
            2 => { proof.push(root); }
            _ => {
                let mut bytes = *proof[place].as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                proof[place] = bytes.into();
            }
        }
        prop_assert!(verify_inclusion(&proof, index, size, leaves[index as usize], root).is_err());
    }

    #[test]
    fn a_changed_consistency_proof_is_refused(
        new in 2..3000u64, seed: u64, at: prop::sample::Index, bit in 0..256usize, kind in 0..3u8,
    ) {
        let stored = store(&leaves(new));
        let old = 1 + seed % (new - 1);
        let root = |size| tree_hash(size, stored.as_slice()).unwrap();
        let mut proof = consistency_proof(old, new, stored.as_slice()).unwrap();
        prop_assert_eq!(verify_consistency(&proof, old, new, root(old), root(new)), Ok(()));
        let place = at.index(proof.len());
        match kind {
            0 => { proof.remove(place); }
            1 => { proof.insert(place, proof[place]); }
            _ => {
                let mut bytes = *proof[place].as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                proof[place] = bytes.into();
            }
        }
        prop_assert!(verify_consistency(&proof, old, new, root(old), root(new)).is_err());
    }

    #[test]
    fn verifiers_bear_any_numbers(
        proof in prop::collection::vec(any::<[u8; 32]>().prop_map(Hash::from), 0..70), a: u64, b: u64,
    ) {
        let hash = leaf_hash(b"x");
        let _ = verify_inclusion(&proof, a, b, hash, hash);
        let _ = verify_consistency(&proof, a, b, hash, hash);
        let _ = Plan::inclusion(a, b);
        let _ = Plan::consistency(a, b);
        prop_assert_eq!(Plan::root(a).is_ok(), a <= tlog::MAX_TREE_SIZE);
    }
}
