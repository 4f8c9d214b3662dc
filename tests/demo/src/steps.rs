//! The six steps.

pub mod ban;
pub mod estate;
pub mod image;
pub mod refusals;
pub mod service;
pub mod trail;
pub mod widening;
