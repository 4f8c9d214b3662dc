//! When a request is made again, and how long we wait before.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

/// How much is borne with registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often one step is tried again after it failed; a transfer that got further begins to count anew.
    pub retries: u32,
    /// The wait before the first of them; it doubles with each.
    pub first_wait: Duration,
    /// No wait is longer, whatever the registry asks for: then the step fails instead.
    pub longest_wait: Duration,
    /// How long a registry may say nothing.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            retries: 4,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            silence: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// The wait before retry number `retry`, 0 the first; `None` when it is time to give up.
    pub(super) fn wait(self, retry: u32, asked: Option<Duration>) -> Option<Duration> {
        if retry >= self.retries {
            return None;
        }
        let doubled = self.first_wait.saturating_mul(2_u32.saturating_pow(retry));
        match asked {
            // Coming back sooner than asked would only be refused again.
            Some(asked) if asked > self.longest_wait => None,
            Some(asked) => Some(asked.max(self.first_wait)),
            None => Some(doubled.min(self.longest_wait)),
        }
    }
}

/// Whether another try may end better.
pub(super) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The wait that an answer asks for, in seconds; a date, the other form, would need the registry's clock.
pub(super) fn asked_wait(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let patience = Patience {
            retries: 4,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(3),
            silence: Duration::ZERO,
        };
        let seconds = |retry, asked: Option<u64>| {
            patience
                .wait(retry, asked.map(Duration::from_secs))
                .map(|wait| wait.as_secs())
        };
        assert_eq!(
            [0, 1, 2, 3, 4].map(|retry| seconds(retry, None)),
            [Some(1), Some(2), Some(3), Some(3), None]
        );
        assert_eq!(
            [0, 2, 3, 4].map(|asked| seconds(0, Some(asked))),
            [Some(1), Some(2), Some(3), None]
        );
        assert_eq!(seconds(u32::MAX, Some(0)), None);
    }
}
