//! Providers of every kind: some do their part, others are slow, huge, malformed or hostile.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod command;
mod grpc;
mod ttrpc;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use images::{Configured, KeyService, Kind, PortError};
use keyprovider::Providers;

/// Private options, as far as a provider can tell.
pub(crate) const OPTIONS: &[u8] = br#"{"symkey":"c2VjcmV0IQ==","cipheroptions":{}}"#;

/// The one provider `kms` of a configuration.
pub(crate) fn provider(entry: &str, patience: Duration) -> Arc<dyn KeyService> {
    let text = format!(r#"{{"key-providers":{{"kms":{entry}}}}}"#);
    let providers = Providers::parse(text.as_bytes(), patience).unwrap();
    match providers.find("kms").unwrap() {
        Configured::Yes(provider) => provider,
        Configured::No => panic!("`kms` is not configured"),
    }
}

pub(crate) const PATIENT: Duration = Duration::from_secs(30);

pub(crate) fn wrap(provider: &dyn KeyService) -> Result<Vec<u8>, PortError> {
    provider.wrap(&["Enabled".to_owned()], OPTIONS)
}

/// An error with its causes.
pub(crate) fn told(error: &PortError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The failure is of this kind, says this, and never the key.
pub(crate) fn fails<T>(result: Result<T, PortError>, kind: Kind, says: &str) {
    let Err(error) = result else {
        panic!("it did not fail");
    };
    let text = told(&error);
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(says), "{text}");
    assert!(
        !text.contains("c2VjcmV0") && !text.contains("symkey"),
        "{text}"
    );
}

#[test]
fn a_name_that_nobody_configured_is_an_answer_and_a_broken_entry_an_error() {
    let text = br#"{"key-providers":{"old":{"native":"x"}}}"#;
    let providers = Providers::parse(text, PATIENT).unwrap();
    assert!(matches!(providers.find("kms"), Ok(Configured::No)));
    assert!(providers.find("old").is_err());
    let all = providers.all();
    assert_eq!(all.len(), 1);
    fails(all[0].unwrap(&[], b"packet"), Kind::Usage, "native");
    assert!(Providers::none().all().is_empty());
}
