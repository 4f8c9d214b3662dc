//! Databases that failed at a sweep are left alone for a while: each try is a leaf, and one that is away for a day must
//! not write a leaf each second.

use std::{collections::BTreeMap, time::Duration};

use estate::{DatabaseName, Timestamp};

/// Pauses by database, doubled with each failure.
#[derive(Debug, Default)]
pub(crate) struct Pauses(BTreeMap<DatabaseName, Pause>);

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: Timestamp,
    length: Duration,
}

impl Pauses {
    /// Whether the database is left alone at `now`. A clock that was set back keeps none out.
    pub(super) fn hold(&self, database: &DatabaseName, now: Timestamp) -> bool {
        let passed = |pause: &Pause| now.since(pause.since);
        self.0
            .get(database)
            .is_some_and(|pause| passed(pause).is_some_and(|passed| passed < pause.length))
    }

    /// The database failed.
    pub(super) fn failed(&mut self, database: &DatabaseName, now: Timestamp) {
        let last = self.0.get(database).map(|pause| pause.length);
        let length = last.map_or(FIRST, |last| (last * 2).min(LONGEST));
        let pause = Pause { since: now, length };
        self.0.insert(database.clone(), pause);
    }

    /// The database did what it was asked.
    pub(super) fn end(&mut self, database: &DatabaseName) {
        self.0.remove(database);
    }
}

const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);
