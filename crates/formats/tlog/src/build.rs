//! Roots and proofs straight from a store that answers at once.

use crate::{Hash, HashReader, Plan, PlanError, empty_root};

/// Why a root or proof could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError<E> {
    /// Fault: the caller, or a reader that answers too much or too little.
    #[error("there is no such root or proof")]
    Plan(#[source] PlanError),
    /// Fault: the store.
    #[error("stored hashes could not be read")]
    Read(#[source] E),
}

/// The root of the tree of `size` leaves.
///
/// # Errors
/// When no tree has that size or the store does not answer.
pub fn tree_hash<R: HashReader + ?Sized>(
    size: u64,
    reader: &R,
) -> Result<Hash, BuildError<R::Error>> {
    let hashes = carry_out(Plan::root(size), reader)?;
    Ok(hashes.first().copied().unwrap_or_else(empty_root))
}

/// The proof that leaf `index` is in the tree of `size` leaves, from the leaf's sibling upwards.
///
/// # Errors
/// When the leaf is not in that tree or the store does not answer.
pub fn inclusion_proof<R: HashReader + ?Sized>(
    index: u64,
    size: u64,
    reader: &R,
) -> Result<Vec<Hash>, BuildError<R::Error>> {
    carry_out(Plan::inclusion(index, size), reader)
}

/// The proof that the tree of `new` leaves begins with the tree of `old` leaves.
///
/// # Errors
/// When `new` is smaller than `old` or the store does not answer.
pub fn consistency_proof<R: HashReader + ?Sized>(
    old: u64,
    new: u64,
    reader: &R,
) -> Result<Vec<Hash>, BuildError<R::Error>> {
    carry_out(Plan::consistency(old, new), reader)
}

fn carry_out<R: HashReader + ?Sized>(
    plan: Result<Plan, PlanError>,
    reader: &R,
) -> Result<Vec<Hash>, BuildError<R::Error>> {
    let plan = plan.map_err(BuildError::Plan)?;
    let hashes = reader.read(&plan.indexes()).map_err(BuildError::Read)?;
    plan.complete(&hashes).map_err(BuildError::Plan)
}
