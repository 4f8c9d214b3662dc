//! Judges from outside.
#![expect(clippy::unwrap_used, reason = "test code")]

mod openssl;
