#![doc = include_str!("../README.md")]

pub use attest::{
    BootError, Certification, Clock, Quote, QuoteError, QuoteExpectation, verify_certify,
    verify_quote,
};
pub use credential::{Credential, CredentialError, make_credential};
pub use ek::{CertifiedEk, EkError, ManufacturerRoots, TpmModel, verify_ek_certificate};
pub use event_log::{
    Event, EventLog, EventLogError, MeasuredBoot, MeasuredEvent, PcrSlot, event_type,
};
pub use hash::HashAlgorithm;
pub use pcr::{PcrBank, PcrError, PcrSelection, PcrValues};
pub use public::{Attributes, KeyRole, Name, PublicArea, UnfitKey, template};
pub use wire::ParseError;

mod attest;
mod credential;
mod ek;
mod event_log;
mod hash;
mod kdf;
mod pcr;
mod public;
mod signature;
mod wire;
