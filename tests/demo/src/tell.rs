//! What the demo says: one line per step, with the command that does it and its time.

use std::time::{Duration, Instant};

/// Says what happens, or is silent in tests.
#[derive(Clone, Copy, Debug)]
pub struct Tell {
    aloud: bool,
}

impl Tell {
    /// Prints.
    #[must_use]
    pub fn aloud() -> Self {
        Self { aloud: true }
    }

    /// Prints nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self { aloud: false }
    }

    /// Begins a chapter.
    pub fn chapter(self, title: &str) {
        if self.aloud {
            println!("\n{title}");
        }
    }

    /// One step: its time, the command, what came of it.
    pub fn step(self, took: Duration, command: &str, outcome: &str) {
        if self.aloud {
            println!("{:>7.2}s  {command}", took.as_secs_f64());
            for line in outcome.lines() {
                println!("          {line}");
            }
        }
    }
}

/// A clock that starts now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since(Instant);

impl Since {
    /// Starts.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the demo tells how long real parts take"
    )]
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// How long ago that was.
    #[must_use]
    pub(crate) fn took(self) -> Duration {
        self.0.elapsed()
    }
}
