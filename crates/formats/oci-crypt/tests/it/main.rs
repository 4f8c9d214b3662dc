//! A layer as its users treat it, and as its attackers do.
#![expect(clippy::unwrap_used, reason = "test code")]

mod attacks;
mod layers;
mod support;
