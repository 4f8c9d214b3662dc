//! Which addresses may be asked at all, and by which client.

use std::fs;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, Url};

use super::{Loopback, Options};
use crate::error::RegistryError;
use crate::reference::Host;

/// The rule for addresses: TLS, or this machine if the registry itself is this machine without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Tls,
    PlainOnLoopback,
}

impl Rule {
    pub(super) fn of(host: &Host, options: &Options) -> Self {
        match options.loopback {
            Loopback::PlainHttp if host.is_loopback() => Self::PlainOnLoopback,
            Loopback::PlainHttp | Loopback::Tls => Self::Tls,
        }
    }

    pub(super) const fn scheme(self) -> &'static str {
        match self {
            Self::Tls => "https",
            Self::PlainOnLoopback => "http",
        }
    }

    /// Whether `url` may be asked: neither an answer nor a redirect leads from TLS to plain text, or off this machine.
    pub(super) fn allows(self, url: &Url) -> bool {
        match (url.scheme(), self) {
            ("https", _) => true,
            ("http", Self::PlainOnLoopback) => is_loopback(url),
            _ => false,
        }
    }
}

/// A client that follows the rule.
pub(super) fn client(rule: Rule, options: &Options) -> Result<Client, RegistryError> {
    let mut builder = Client::builder()
        .user_agent(concat!("bailiwick/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .redirect(Policy::custom(move |attempt| follow(rule, attempt)));
    for path in &options.authorities {
        let pem = fs::read(path).map_err(RegistryError::disk(path, "read"))?;
        let certificates = Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| RegistryError::NoCertificate(path.clone()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(RegistryError::Client)
}

fn follow(rule: Rule, attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS || !rule.allows(attempt.url()) {
        // The redirect itself becomes the answer, which no caller takes for success.
        return attempt.stop();
    }
    attempt.follow()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{host}:{port}")
        .parse::<Host>()
        .is_ok_and(|host| host.is_loopback())
}

const CONNECT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_away_from_tls() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(Rule::Tls.allows(&url("https://cdn.example/x")));
        assert!(Rule::PlainOnLoopback.allows(&url("https://cdn.example/x")));
        assert!(Rule::PlainOnLoopback.allows(&url("http://127.0.0.1:5000/x")));
        assert!(Rule::PlainOnLoopback.allows(&url("http://[::1]:5000/x")));
        for (rule, bad) in [
            (Rule::Tls, "http://127.0.0.1:5000/x"),
            (Rule::Tls, "http://cdn.example/x"),
            (Rule::PlainOnLoopback, "http://cdn.example/x"),
            (Rule::PlainOnLoopback, "http://localhost.example/x"),
            (Rule::PlainOnLoopback, "file:///etc/passwd"),
        ] {
            assert!(!rule.allows(&url(bad)), "{bad}");
        }
    }
}
