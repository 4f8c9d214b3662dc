#![doc = include_str!("../README.md")]

mod build;
mod bundle;
mod checkpoint;
mod hash;
mod key;
mod note;
mod plan;
mod receipt;
mod stored;
mod text;
mod tile;
mod tree;
mod verify;

pub use build::{BuildError, consistency_proof, inclusion_proof, tree_hash};
pub use bundle::{Bundle, BundleError, MAX_ENTRY_BYTES};
pub use checkpoint::{Checkpoint, CheckpointError, VerifiedCheckpoint};
pub use hash::{Hash, HashError, empty_root, leaf_hash, node_hash};
pub use key::{KeyError, Signer, VerifierKey};
pub use note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, NoteSignature};
pub use plan::{Plan, PlanError};
pub use receipt::{Receipt, ReceiptError, VerifiedReceipt};
pub use stored::{
    HashReader, MAX_TREE_SIZE, MissingHash, StoredHash, stored_hash_count, stored_hash_index,
};
pub use tile::{Tile, TileError};
pub use tree::{Tree, TreeError};
pub use verify::{VerifyError, verify_consistency, verify_inclusion};
