//! The real clock and the real randomness: everything below gets them as arguments.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use estate::Timestamp;

/// The operating system's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl SystemClock {
    /// Now.
    pub(crate) fn timestamp(self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where the real time comes in"
        )]
        let now = SystemTime::now();
        let millis = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

impl server::ports::Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.timestamp()
    }
}

impl agent::ports::Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.timestamp()
    }
}

/// Time since this value was made, by the clock that nobody sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemTicks(Instant);

impl SystemTicks {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where the steady clock comes in"
        )]
        let now = Instant::now();
        Self(now)
    }
}

impl server::ports::Monotonic for SystemTicks {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The cryptographic library's generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemEntropy;

impl ledger::Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // The library's generator aborts the process rather than return short; an error here can't be answered safely.
        if aws_lc_rs::rand::fill(bytes).is_err() {
            std::process::abort();
        }
    }
}
