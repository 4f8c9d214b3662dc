//! Pauses between attempts: growing, and never the same on two nodes.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Pauses that double from half a second to ten seconds, each cut by up to half.
#[derive(Debug)]
pub(crate) struct BackOff {
    next: Duration,
}

impl BackOff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        whole - jittered(whole / 2)
    }
}

/// Anything from nothing to `most`.
pub(crate) fn jittered(most: Duration) -> Duration {
    // Spreads nodes over time; no secret depends on it.
    let random = RandomState::new().build_hasher().finish();
    most.mul_f64((random % 1000) as f64 / 1000.0)
}

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_bounds() {
        let mut back_off = BackOff::new();
        for most in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            let pause = back_off.pause();
            assert!(
                pause > Duration::from_millis(most / 2 - 1) && pause <= Duration::from_millis(most),
                "{pause:?}"
            );
        }
    }
}
