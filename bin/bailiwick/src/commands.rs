//! One module per command; `main` has the table.

pub(crate) mod agent;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod lab;
pub(crate) mod people;
pub(crate) mod plugin;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod svid;
pub(crate) mod trust;
