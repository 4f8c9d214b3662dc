#![doc = include_str!("../README.md")]

mod contest;
mod layout;
mod machine;
mod process;
mod spread;

pub use contest::{Better, Limits, Rounds, Side, alternate};
pub use layout::{Layout, LayoutError};
pub use machine::{in_memory, introduce, own_cpu, start};
pub use process::{ProcessError, Usage, measure};
pub use spread::Spread;
