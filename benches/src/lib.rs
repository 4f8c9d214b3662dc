#![doc = include_str!("../README.md")]

mod contest;
mod layout;
mod machine;
mod peers;
mod process;
mod spread;

pub use contest::{Better, Limits, Rounds, Side, alternate};
pub use layout::{Content, Layout, LayoutError, system_layers};
pub use machine::{in_memory, introduce, own_cpu, start};
pub use peers::{GoOcicrypt, PeerError, current_skopeo, imgcrypt_decoder, openssl_speed};
pub use process::{ProcessError, Usage, measure};
pub use spread::Spread;
