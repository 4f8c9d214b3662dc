//! What a container holds: the node names it, and counts only as far as the server's own rows and leaves agree.

use std::collections::BTreeSet;

use estate::{DataSetName, LeaseId, SecretName};
use ledger::{Act, LeaseOutcome};

use super::Asked;
use crate::{
    ports::{DatabaseAccounts, Search, Store, StoreError},
    server::Server,
};

/// What is touched by a hand inside a container.
#[derive(Default)]
pub(super) struct Concerned {
    /// Whose data.
    pub(super) datasets: BTreeSet<DataSetName>,
    /// Leases that have not ended.
    pub(super) leases: Vec<LeaseId>,
    /// Secrets, with the version that the node read last.
    pub(super) secrets: Vec<(SecretName, u64)>,
    /// Names that the node has no right to, or that nothing is known of: a count, because a node's words fill no ledger.
    pub(super) unknown: usize,
    /// Names beyond the limit, not looked at.
    pub(super) beyond: usize,
}

impl Concerned {
    /// As the leaf says it.
    pub(super) fn describe(&self, act: Act) -> Act {
        let Self {
            datasets,
            leases,
            secrets,
            unknown,
            beyond,
        } = self;
        let mut act = act;
        let lists = [
            ("datasets", texts(datasets)),
            ("leases", texts(leases)),
            ("secrets", texts(secrets.iter().map(|(name, _)| name))),
        ];
        for (name, list) in lists {
            if !list.is_empty() {
                act = act.field(name, list);
            }
        }
        for (name, count) in [("unknown", *unknown), ("beyond", *beyond)] {
            if count > 0 {
                act = act.field(name, count);
            }
        }
        act
    }
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Looks at what the node names, and at the container's own image.
    pub(super) async fn concerned(&self, asked: &Asked<'_>) -> Result<Concerned, StoreError> {
        let mut found = Concerned::default();
        found
            .datasets
            .extend(asked.set.map(|set| set.dataset.clone()));
        let (estate, body) = (&asked.at.world.estate, asked.body);
        for image in bounded(&body.images, &mut found.beyond) {
            match estate.image_set(image) {
                Some(set) => {
                    found.datasets.insert(set.dataset.clone());
                }
                None => found.unknown += 1,
            }
        }
        for lease in bounded(&body.held.leases, &mut found.beyond) {
            self.add_lease(asked, lease, &mut found).await?;
        }
        for secret in bounded(&body.held.secrets, &mut found.beyond) {
            self.add_secret(asked, secret, &mut found).await?;
        }
        Ok(found)
    }

    /// A lease of another node is nothing that this one could end.
    async fn add_lease(
        &self,
        asked: &Asked<'_>,
        id: &LeaseId,
        found: &mut Concerned,
    ) -> Result<(), StoreError> {
        let row = self.store.lease(id).await?;
        let Some(row) = row.filter(|row| row.node == asked.at.node.facts.name) else {
            found.unknown += 1;
            return Ok(());
        };
        found.datasets.insert(row.dataset);
        if row.outcome != Some(LeaseOutcome::Ended) {
            found.leases.push(row.id);
        }
        Ok(())
    }

    /// A secret counts if the log says that this node read it; as exposed, if it read the newest version.
    async fn add_secret(
        &self,
        asked: &Asked<'_>,
        name: &SecretName,
        found: &mut Concerned,
    ) -> Result<(), StoreError> {
        let row = self.store.secret(name).await?;
        let read = self.last_read(asked, name).await?;
        let (Some(row), Some(read)) = (row, read) else {
            found.unknown += 1;
            return Ok(());
        };
        found.datasets.insert(row.dataset);
        // What was read before the newest version was put is an older one, which has been replaced already.
        if self
            .put_at(name, row.version)
            .await?
            .is_none_or(|put| put < read)
        {
            found.secrets.push((name.clone(), row.version));
        }
        Ok(())
    }

    /// The leaf of the node's newest read of a secret.
    async fn last_read(
        &self,
        asked: &Asked<'_>,
        name: &SecretName,
    ) -> Result<Option<u64>, StoreError> {
        let fields = [
            ("target", format!("Secret::\"{name}\"")),
            ("node", asked.at.node.facts.name.to_string()),
            ("kind", "read".to_owned()),
            ("outcome", "granted".to_owned()),
        ];
        let newest = self.store.search(search(fields, 1)).await?;
        Ok(newest.first().map(|entry| entry.index))
    }

    /// The leaf that put a version. Later tries to put it again were refused, so the oldest counts.
    async fn put_at(&self, name: &SecretName, version: u64) -> Result<Option<u64>, StoreError> {
        let fields = [
            ("target", format!("secret `{name}`")),
            ("kind", "secret-put".to_owned()),
            ("version", version.to_string()),
        ];
        let all = self.store.search(search(fields, 1000)).await?;
        Ok(all.last().map(|entry| entry.index))
    }
}

fn search<const N: usize>(fields: [(&str, String); N], limit: u32) -> Search {
    Search {
        fields: fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        limit,
        ..Search::default()
    }
}

/// Each name once, no more than so many.
fn bounded<'a, T: Ord>(names: &'a [T], beyond: &mut usize) -> Vec<&'a T> {
    let names: BTreeSet<&T> = names.iter().collect();
    *beyond += names.len().saturating_sub(MOST_NAMES);
    names.into_iter().take(MOST_NAMES).collect()
}

fn texts<T: ToString>(names: impl IntoIterator<Item = T>) -> Vec<String> {
    names.into_iter().map(|name| name.to_string()).collect()
}

/// More than any container holds; each costs a look into the store.
const MOST_NAMES: usize = 256;
