//! One module per command; `main` has the table.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod certificate;
pub(crate) mod change;
pub(crate) mod doctor;
pub(crate) mod estate;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod image_key;
pub(crate) mod lab;
pub(crate) mod lease;
pub(crate) mod node;
pub(crate) mod people;
pub(crate) mod person;
pub(crate) mod plugin;
pub(crate) mod policy;
pub(crate) mod secret;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod status;
pub(crate) mod svid;
pub(crate) mod trust;
