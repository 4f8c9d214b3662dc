//! Encrypts, decrypts and inspects container images; the order of steps, between ports that read and write them.
//!
//! [`encrypt`], [`decrypt`] and [`inspect`] are the three doors. What lies behind [`ImageSource`] is trusted with
//! nothing; [`ImageTarget`] shows nothing under its final name before all of it was checked.

mod checks;
mod ciphering;
mod config;
mod copy;
mod decrypt;
mod diff_id;
mod encrypt;
mod error;
mod hash;
mod identify;
mod inspect;
mod json;
mod jwe_recipients;
mod manifest;
pub mod media;
mod nowhere;
mod packets;
mod parallel;
mod pipeline;
mod ports;
mod progress;
mod rebind;
mod recipients;
mod recipients_edit;
mod referrers;
mod rekey;
mod sealed;
mod select;
mod services;
mod signed;
mod statement;
mod statement_carry;
mod suspects;
mod tree;
mod verify;
mod walk;
mod wrapping;

pub use custody::{KeyDocument, KeyDocumentError, KeyUse, RootPin};
pub use decrypt::{
    BoundContent, DECRYPTED_FROM, DecryptOptions, Decrypted, Provenance, Unbound, UnknownPacking,
    decrypt, decrypt_from, preview_decrypt,
};
pub use diff_id::UnpackedLimit;
pub use encrypt::{EncryptOptions, Encrypted, Preview, encrypt, encrypt_with, preview_encrypt};
pub use error::{ImageError, Kind};
pub use identify::{Identified, identify};
pub use inspect::{
    Binding, CertificateReport, ImageReport, JweKeyReport, LayerReport, PgpHolderReport,
    PublicReport, RecipientReport, Report, TokenKeyReport, inspect,
};
pub use json::RawObject;
pub use manifest::RawManifest;
pub use packets::{Selector, SelectorError};
pub use ports::{
    BlobId, BlobReader, BlobWriter, Configured, ImageSource, ImageTarget, KeyService,
    MANIFEST_LIMIT, PortError,
};
pub use progress::{Progress, Silent};
pub use rebind::{Moved, Rebound, preview_rebind, rebind, rebind_within};
pub use recipients::{Keys, RecipientError, Recipients, opener_of_key_files};
pub use recipients_edit::{Plan, RecipientsEdit, RecipientsEdited, edit_recipients};
pub use referrers::{About, Referrer, Unusable, subject_of};
pub use rekey::{RekeyOptions, Rekeyed, preview_rekey, rekey};
pub use select::{LayerChoice, Platform, PlatformError};
pub use services::{ServiceKey, ServiceOpener};
pub use signed::{
    Document, NamedKey, Refusal, Refused, Signature, SignedBy, SignedError, SignedImage,
    verify_signed,
};
pub use statement::{ImageStatement, StatementError};
pub use statement_carry::{Signed, Signing, carry_statements, sign};
pub use suspects::{SuspectPlace, SuspectReason, SuspectReport};
pub use verify::{Extent, Verification, VerifiedImage, VerifiedLayer, VerifyOptions, verify};
