//! The node agent: attests its node, measures the processes on it, and carries what they are given.
//!
//! [`Agent`] is the whole of it; what it needs of the world stands in [`ports`].

mod agent;
mod ask;
mod attest;
mod backoff;
mod error;
mod exposure;
mod gate;
mod held;
pub mod ports;
mod run;
mod session;
mod svid;
mod witness;

pub use agent::{Agent, AgentConfig, AgentStanding, Delivered, JwtSvid, X509Svid};
pub use error::AgentError;
pub use exposure::{HandWatch, Hands};
pub use gate::{GateAnswer, GateOperation, GateQuestion};
