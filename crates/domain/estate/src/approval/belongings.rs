//! To whom a name belonged: keys and secrets outlive the version that took their name away, so a name that went does not
//! come back as somebody else's.

use std::collections::BTreeMap;

use super::NotApproved;
use crate::{DataSetName, Estate, ImageSetName, TeamName};

/// The owner of each data set and the data set of each image set that was ever in force: now, or when it went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Belongings {
    datasets: BTreeMap<DataSetName, TeamName>,
    image_sets: BTreeMap<ImageSetName, DataSetName>,
}

impl Belongings {
    /// What is known after `new` followed `old`, the version up to which this is known.
    ///
    /// # Errors
    /// [`NotApproved::Reused`] when a name comes back as somebody else's. Where it changes hands while it stands, both sign.
    pub fn followed_by(mut self, old: &Estate, new: &Estate) -> Result<Self, NotApproved> {
        for dataset in new.datasets() {
            let before = self
                .datasets
                .insert(dataset.name.clone(), dataset.owner.clone());
            let returns = old.dataset(&dataset.name).is_none();
            if let Some(owner) = before.filter(|owner| returns && *owner != dataset.owner) {
                return Err(NotApproved::Reused {
                    what: format!("data set `{}`", dataset.name),
                    whose: format!("team `{owner}`"),
                });
            }
        }
        for set in new.image_sets() {
            let before = self
                .image_sets
                .insert(set.name.clone(), set.dataset.clone());
            let returns = old.image_set(&set.name).is_none();
            if let Some(dataset) = before.filter(|dataset| returns && *dataset != set.dataset) {
                return Err(NotApproved::Reused {
                    what: format!("image set `{}`", set.name),
                    whose: format!("data set `{dataset}`"),
                });
            }
        }
        Ok(self)
    }
}
