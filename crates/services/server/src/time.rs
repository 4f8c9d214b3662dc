//! That the server lived, and what its clocks said: a heartbeat each minute, the clocks each hour. A gap between heartbeats
//! is a time in which nothing was recorded; a jump of the wall clock is on record, too.

use std::{sync::Arc, time::Duration};

use estate::Timestamp;
use ledger::{Act, ActKind, Actor, NotRecorded};
use tokio::time::MissedTickBehavior;

use crate::{
    nodes::chain,
    ports::{DatabaseAccounts, Monotonic, Store, StoreError},
    server::Server,
};

/// The server's clocks could not be recorded. Tried again in a minute.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// Fault: the store.
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    /// Fault: the store.
    #[error("the clocks could not be recorded")]
    NotRecorded(#[from] NotRecorded),
}

/// Compares the wall clock with one that nobody sets.
#[derive(Debug, Clone)]
pub struct Timekeeper {
    began: Duration,
    last: Reading,
    /// Whether the reading in `last` is on record.
    told: bool,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    ticks: Duration,
}

impl Timekeeper {
    /// Begins with both clocks as they stand.
    pub fn begin(wall: Timestamp, ticks: Duration) -> Self {
        Self {
            began: ticks,
            last: Reading { wall, ticks },
            told: false,
        }
    }

    fn uptime(&self, ticks: Duration) -> Duration {
        ticks.saturating_sub(self.began)
    }

    /// How much further the wall clock went than the other one since they were recorded last, in milliseconds.
    fn drift(&self, now: Reading) -> i64 {
        let wall = now
            .wall
            .as_millis()
            .saturating_sub(self.last.wall.as_millis());
        let ticks = now.ticks.saturating_sub(self.last.ticks).as_millis();
        wall.saturating_sub(i64::try_from(ticks).unwrap_or(i64::MAX))
    }

    /// At the start, each hour, and at the first heartbeat after a jump: one forth and back must not cancel out.
    fn is_due(&self, now: Reading) -> bool {
        !self.told
            || now.ticks.saturating_sub(self.last.ticks) >= EACH_HOUR
            || jumped(self.drift(now))
    }
}

fn jumped(drift: i64) -> bool {
    drift.saturating_abs() > LARGEST_DRIFT
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Keeps time for ever.
    pub async fn keep_time(self: Arc<Self>, ticks: Arc<dyn Monotonic>) {
        let mut keeper = Timekeeper::begin(self.now(), ticks.elapsed());
        let mut minutes = tokio::time::interval(EACH_MINUTE);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            minutes.tick().await;
            if let Err(error) = self.beat(&mut keeper, ticks.elapsed()).await {
                tracing::warn!(error = %chain(&error), "the heartbeat is not recorded");
            }
        }
    }

    /// One heartbeat, and the clocks when they are due.
    ///
    /// # Errors
    /// [`TimeError`]
    pub async fn beat(&self, keeper: &mut Timekeeper, ticks: Duration) -> Result<(), TimeError> {
        let wall = self.now();
        self.heartbeat(keeper.uptime(ticks), wall).await?;
        let now = Reading { wall, ticks };
        if keeper.is_due(now) {
            let drift = keeper.drift(now);
            let act = Act::new(ActKind::Clock, Actor::Authority)
                .field("wallClock", wall.to_string())
                .field("uptimeSeconds", keeper.uptime(ticks).as_secs())
                .field("driftMillis", drift)
                .field("jumped", jumped(drift));
            let _logged = self.ledger.record(act).await?;
            keeper.last = now;
            keeper.told = true;
        }
        Ok(())
    }

    /// Live is a node that is attested and not banned, and a lease that has not ended.
    async fn heartbeat(&self, uptime: Duration, now: Timestamp) -> Result<(), TimeError> {
        let checkpoint = self.store.checkpoint().await?.unwrap_or_default();
        let size = self
            .own_checkpoint(&checkpoint)
            .map_or(0, |checkpoint| checkpoint.size());
        let nodes = self.store.nodes().await?;
        let live = nodes
            .iter()
            .filter(|node| !node.banned && now < node.not_after);
        let act = Act::new(ActKind::Heartbeat, Actor::Authority)
            .field("treeSize", size)
            .field("uptimeSeconds", uptime.as_secs())
            .field("nodes", live.count())
            .field("leases", self.store.leases(true).await?.len());
        let _logged = self.ledger.record(act).await?;
        Ok(())
    }
}

const EACH_MINUTE: Duration = Duration::from_secs(60);
const EACH_HOUR: Duration = Duration::from_secs(3600);
const LARGEST_DRIFT: i64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, ticks: u64) -> Reading {
        Reading {
            wall: Timestamp::from_millis(wall),
            ticks: Duration::from_millis(ticks),
        }
    }

    #[test]
    fn drift_is_what_the_wall_clock_is_ahead() {
        let keeper = Timekeeper::begin(Timestamp::from_millis(10_000), Duration::from_secs(5));
        assert_eq!(keeper.drift(at(70_000, 65_000)), 0);
        assert_eq!(keeper.drift(at(72_500, 65_000)), 2_500);
        assert_eq!(keeper.drift(at(9_000, 65_000)), -61_000);
        assert!(keeper.drift(at(i64::MIN, u64::MAX)) < 0);
        assert_eq!(keeper.uptime(Duration::from_secs(65)).as_secs(), 60);
    }

    #[test]
    fn a_second_is_no_jump_and_more_is_either_way() {
        assert!(!jumped(1_000) && !jumped(-1_000));
        assert!(jumped(1_001) && jumped(-1_001) && jumped(i64::MIN));
    }

    #[test]
    fn the_clocks_are_due_at_first_each_hour_and_at_a_jump() {
        let mut keeper = Timekeeper::begin(Timestamp::from_millis(0), Duration::ZERO);
        assert!(keeper.is_due(at(0, 0)));
        keeper.told = true;
        assert!(!keeper.is_due(at(3_599_000, 3_599_000)));
        assert!(keeper.is_due(at(3_600_000, 3_600_000)));
        assert!(keeper.is_due(at(61_001, 60_000)));
        assert!(!keeper.is_due(at(61_000, 60_000)));
    }
}
