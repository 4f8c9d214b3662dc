#![doc = include_str!("../README.md")]

mod contest;
mod keys;
mod layout;
mod machine;
mod peers;
mod process;
mod spread;

pub use contest::{Better, Limits, Rounds, Side, alternate};
pub use keys::KeyPair;
pub use layout::{Content, Layout, LayoutError, Packing, system_layers};
pub use machine::{in_memory, introduce, layer_mebibytes, own_cpu, pin_to_one_core, start};
pub use peers::{
    GoOcicrypt, PeerError, Primitive, Skopeo, imgcrypt_decoder, openssl_speed, skopeos,
};
pub use process::{ProcessError, Usage, measure};
pub use spread::Spread;
