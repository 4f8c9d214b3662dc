//! The attacks, by what they touch.

mod bytes;
mod documents;
mod options;
mod places;

use super::bench::Attack;

/// All of them, in the order of the table.
pub(crate) fn all() -> Vec<Attack> {
    [
        bytes::attacks(),
        options::attacks(),
        places::attacks(),
        documents::attacks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
