#![doc = include_str!("../README.md")]

mod bundle;
mod certificate;
mod id;
mod jwt;
mod time;
mod trust_domain;
mod x509;
mod x509_bundle;

pub use bundle::{Bundle, BundleError, MAX_BUNDLE_BYTES};
pub use certificate::{CertificateError, extension_value, split_der_chain};
pub use id::{IdError, MAX_ID_BYTES, SpiffeId};
pub use jwt::{ClaimsError, JwtClaims, JwtSvid, JwtSvidError, validate_jwt_svid};
pub use time::UnixTime;
pub use trust_domain::{MAX_TRUST_DOMAIN_BYTES, TrustDomain, TrustDomainError};
pub use x509::{MAX_CHAIN, X509Svid, X509SvidError, verify_x509_svid};
pub use x509_bundle::X509Bundle;
