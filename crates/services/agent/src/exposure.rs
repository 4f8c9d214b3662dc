//! Hands inside containers: what was given ends at once, and what they could see goes on record.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use evidence::{ContainerRef, request::Hand};
use tokio::{sync::watch, time::sleep};

use crate::{
    agent::Agent,
    backoff::BackOff,
    error::AgentError,
    ports::{Connector, Gate, Probe, SeenHand},
};

/// Which containers a hand got into, and when in the order of all of them.
#[derive(Debug)]
pub struct Hands {
    count: watch::Sender<u64>,
    /// LOCK: for look-ups only.
    last: Mutex<BTreeMap<(String, String), u64>>,
}

impl Default for Hands {
    fn default() -> Self {
        Self {
            count: watch::Sender::new(0),
            last: Mutex::default(),
        }
    }
}

impl Hands {
    /// A hand got into this container: everyone who watches is told.
    pub fn touch(&self, container: &ContainerRef) {
        self.count.send_modify(|count| {
            *count += 1;
            let mut last = self.lock();
            if last.len() >= MOST_REMEMBERED {
                let old = count.saturating_sub(MOST_REMEMBERED as u64 / 2);
                last.retain(|_, touched| *touched > old);
            }
            last.insert(key(container), *count);
        });
    }

    /// Watches for hands from now on.
    pub fn watch(self: &Arc<Self>) -> HandWatch {
        let count = self.count.subscribe();
        let since = *count.borrow();
        HandWatch {
            hands: Arc::clone(self),
            count,
            since,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), u64>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees hands that get into containers after it was made.
#[derive(Debug, Clone)]
pub struct HandWatch {
    hands: Arc<Hands>,
    count: watch::Receiver<u64>,
    since: u64,
}

impl HandWatch {
    /// Whether a hand got into this container since the watch began.
    pub fn saw(&self, container: Option<&ContainerRef>) -> bool {
        let last = container.and_then(|container| self.hands.lock().get(&key(container)).copied());
        last.is_some_and(|last| last > self.since)
    }

    /// Returns when a hand got into this container; waits for ever where there is no container.
    pub async fn touched(&mut self, container: Option<&ContainerRef>) {
        loop {
            self.count.borrow_and_update();
            if self.saw(container) {
                return;
            }
            // INVARIANT: the sender lives in `hands`, which this holds.
            if self.count.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl<C: Connector, P: Probe> Agent<C, P> {
    /// Ends what was given to containers that a hand got into, and puts on record what hands that nobody asked about could see,
    /// for ever. Without a start gate there is nothing to do.
    pub async fn watch_hands(self: Arc<Self>) {
        let Some(gate) = self.probe.gate() else {
            return std::future::pending().await;
        };
        loop {
            match gate.next_hand().await {
                SeenHand::LetIn(container) => self.hands.touch(&container),
                SeenHand::Unasked(container) => {
                    self.hands.touch(&container);
                    let agent = Arc::clone(&self);
                    tokio::spawn(async move { agent.report(&container).await });
                }
            }
        }
    }

    /// Tries until it is on record. The container is marked and its streams have ended already.
    async fn report(&self, container: &ContainerRef) {
        let mut back_off = BackOff::new();
        loop {
            match self.report_once(container).await {
                Ok(()) => return,
                Err(AgentError::Banned) => return,
                Err(error) => tracing::warn!(
                    %error,
                    container = container.id,
                    "a hand inside a container is not on record yet"
                ),
            }
            sleep(back_off.pause() + LEAST_PAUSE).await;
        }
    }

    async fn report_once(&self, container: &ContainerRef) -> Result<(), AgentError> {
        let Some(gate) = self.probe.gate() else {
            return Ok(());
        };
        let _turn = self.turns.of(container).await;
        let inside = gate.inside(container, &[]).await?;
        let nothing = inside.images.is_empty()
            && inside.held.secrets.is_empty()
            && inside.held.leases.is_empty();
        if !nothing {
            match self.ask_hand(Hand::Seen, Vec::new(), inside).await {
                // A denial is on record with the container all the same.
                Ok(_) | Err(AgentError::Denied { .. }) => {}
                Err(error) => return Err(error),
            }
            gate.forget_leases(container).await?;
        }
        Ok(gate.reported(container).await?)
    }
}

fn key(container: &ContainerRef) -> (String, String) {
    (container.runtime_namespace.clone(), container.id.clone())
}

/// Each was told to everyone who watched; nobody watches from so long ago.
const MOST_REMEMBERED: usize = 16 * 1024;
const LEAST_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn container(id: &str) -> ContainerRef {
        ContainerRef {
            runtime_namespace: "default".into(),
            id: id.into(),
        }
    }

    async fn sees(watch: &mut HandWatch, id: &str) -> bool {
        let container = container(id);
        let touched = watch.touched(Some(&container));
        timeout(Duration::from_millis(20), touched).await.is_ok()
    }

    #[tokio::test]
    async fn a_watch_sees_later_hands_in_its_container_and_no_others() {
        let hands = Arc::new(Hands::default());
        hands.touch(&container("app"));
        let mut watch = hands.watch();
        assert!(!sees(&mut watch, "app").await, "that was before");
        hands.touch(&container("other"));
        assert!(!sees(&mut watch, "app").await);
        hands.touch(&container("app"));
        hands.touch(&container("other"));
        assert!(sees(&mut watch, "app").await);
        assert!(
            timeout(Duration::from_millis(20), watch.touched(None))
                .await
                .is_err()
        );
    }

    #[test]
    fn what_is_remembered_has_a_limit_and_the_newest_stay() {
        let hands = Hands::default();
        for number in 0..=MOST_REMEMBERED {
            hands.touch(&container(&number.to_string()));
        }
        let last = hands.lock();
        assert!(last.len() <= MOST_REMEMBERED);
        let newest = ("default".to_owned(), MOST_REMEMBERED.to_string());
        assert!(last.contains_key(&newest));
    }
}
