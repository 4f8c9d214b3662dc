//! A private containerd, real images and real containers. Needs root; run by `make test`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod attacks;
mod content;
mod gate;
mod runtime;
