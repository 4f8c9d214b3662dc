//! The command line as people and scripts meet it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod attacks_table;
mod cases;
mod changes;
mod deceived;
mod decoder;
mod exec;
mod house;
mod images;
mod images_answers;
mod images_flags;
mod key_provider;
mod oci_runtime;
mod people;
mod promotions;
mod randomness;
mod runner;
mod server_init;
mod svid;
mod tampering;
mod workload;
