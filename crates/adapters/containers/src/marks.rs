//! Whether somebody may have had a hand inside a container, from the runtime's events. Events are asynchronous, so this
//! is weak knowledge; whatever was not watched from the beginning counts as touched. Where the start gate marks containers,
//! events add what no gate was asked about.

mod events;
mod watch;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use evidence::ContainerRef;
use tokio::sync::Notify;
use tokio::time::timeout;

use events::Happened;

pub(crate) use watch::watch;

/// What is known since the watch began.
#[derive(Default)]
pub(crate) struct Marks {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    since: Option<SystemTime>,
    touched: HashMap<ContainerRefKey, bool>,
    /// Hands that were seen, and that no start gate was asked about; kept also when nobody watches.
    seen: HashSet<ContainerRefKey>,
}

/// Namespace and id.
type ContainerRefKey = (String, String);

impl Marks {
    /// Whether the container counts as touched. The event of a container that was made a moment ago may still be on its way.
    pub(crate) async fn touched(
        &self,
        container: &ContainerRef,
        created: Option<SystemTime>,
    ) -> bool {
        let key = (container.runtime_namespace.clone(), container.id.clone());
        let seen = timeout(LONGEST_EVENT, async {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                {
                    let state = self.lock();
                    if let Some(touched) = state.touched.get(&key) {
                        return *touched;
                    }
                    if state
                        .since
                        .zip(created)
                        .is_none_or(|(since, created)| created <= since)
                    {
                        return true;
                    }
                }
                changed.await;
            }
        });
        seen.await.unwrap_or(true)
    }

    /// Whether a hand was seen that no start gate was asked about. Unlike [`Marks::touched`], what was not watched is no.
    pub(crate) fn saw(&self, container: &ContainerRef) -> bool {
        let key = (container.runtime_namespace.clone(), container.id.clone());
        self.lock().seen.contains(&key)
    }

    /// A hand is let in, or was seen.
    pub(crate) fn see(&self, container: &ContainerRef) {
        let key = (container.runtime_namespace.clone(), container.id.clone());
        self.lock().seen.insert(key);
    }

    pub(crate) async fn watching(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.lock().since.is_some() {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, now: SystemTime) {
        self.lock().since.get_or_insert(now);
        self.changed.notify_waiters();
    }

    /// Every container that is known counts as touched.
    fn touch_all(&self) {
        self.lock()
            .touched
            .values_mut()
            .for_each(|touched| *touched = true);
        self.changed.notify_waiters();
    }

    /// A hand was seen that may be in any container; tells in which.
    fn see_all(&self) -> Vec<ContainerRef> {
        let mut state = self.lock();
        let State { touched, seen, .. } = &mut *state;
        seen.extend(touched.keys().cloned());
        let names = seen.iter().cloned();
        names
            .map(|(runtime_namespace, id)| ContainerRef {
                runtime_namespace,
                id,
            })
            .collect()
    }

    /// What happens while nobody watches is not known.
    fn forget(&self) {
        let mut state = self.lock();
        *state = State {
            seen: std::mem::take(&mut state.seen),
            ..State::default()
        };
        drop(state);
        self.changed.notify_waiters();
    }

    fn apply(&self, happened: Happened) {
        let mut state = self.lock();
        match happened {
            // A second creation under the same name, without an end of the first, wipes nothing.
            Happened::Created(key) => {
                state.touched.entry(key).or_insert(false);
            }
            Happened::Changed(key) | Happened::Hand(key) => {
                state.touched.insert(key, true);
            }
            Happened::Removed(key) => {
                state.touched.remove(&key);
                state.seen.remove(&key);
            }
            Happened::Unpacked(_) => {}
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

const LONGEST_EVENT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
