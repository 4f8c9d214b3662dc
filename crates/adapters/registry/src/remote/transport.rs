//! Which addresses may be asked at all, and by which client.

use std::fs;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, Url};

use super::{Loopback, Options};
use crate::error::RegistryError;
use crate::reference::Host;

/// The rule for addresses: TLS, unless the registry itself is this machine, or the caller asked for no TLS there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    Tls,
    PlainOnLoopback,
    /// Without TLS to this registry, and by TLS to any other place.
    PlainTo(Host),
}

impl Rule {
    pub(super) fn of(host: &Host, options: &Options) -> Self {
        if options.plain_http.contains(host) {
            return Self::PlainTo(host.clone());
        }
        match options.loopback {
            Loopback::PlainHttp if host.is_loopback() => Self::PlainOnLoopback,
            Loopback::PlainHttp | Loopback::Tls => Self::Tls,
        }
    }

    pub(super) const fn scheme(&self) -> &'static str {
        match self {
            Self::Tls => "https",
            Self::PlainOnLoopback | Self::PlainTo(_) => "http",
        }
    }

    /// Whether `url` may be asked: neither an answer nor a redirect leads from TLS to plain text, or off this machine.
    pub(super) fn allows(&self, url: &Url) -> bool {
        match (url.scheme(), self) {
            ("https", _) => true,
            ("http", Self::PlainOnLoopback) => host_of(url).is_some_and(|host| host.is_loopback()),
            ("http", Self::PlainTo(host)) => host_of(url).is_some_and(|asked| {
                asked.authority() == host.authority()
                    || asked.authority() == format!("{}:80", host.authority())
            }),
            _ => false,
        }
    }
}

/// A client that follows the rule.
pub(super) fn client(rule: &Rule, options: &Options) -> Result<Client, RegistryError> {
    let rule = rule.clone();
    let mut builder = Client::builder()
        .user_agent(concat!("bailiwick/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(options.patience.silence)
        .referer(false)
        .redirect(Policy::custom(move |attempt| follow(&rule, attempt)));
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

fn follow(rule: &Rule, attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS || !rule.allows(attempt.url()) {
        // The redirect itself becomes the answer, which no caller takes for success.
        return attempt.stop();
    }
    attempt.follow()
}

fn host_of(url: &Url) -> Option<Host> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{host}:{port}").parse().ok()
}

const CONNECT: Duration = Duration::from_secs(15);
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
        for (rule, bad) in &[
            (Rule::Tls, "http://127.0.0.1:5000/x"),
            (Rule::Tls, "http://cdn.example/x"),
            (Rule::PlainOnLoopback, "http://cdn.example/x"),
            (Rule::PlainOnLoopback, "http://localhost.example/x"),
            (Rule::PlainOnLoopback, "file:///etc/passwd"),
        ] {
            assert!(!rule.allows(&url(bad)), "{bad}");
        }
    }

    #[test]
    fn no_tls_by_request_is_for_that_registry_only() {
        let options = Options {
            plain_http: vec![
                "h.example:5000".parse().unwrap(),
                "i.example".parse().unwrap(),
            ],
            ..Options::default()
        };
        let rule = |host: &str| Rule::of(&host.parse().unwrap(), &options);
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(rule("h.example:5001"), Rule::Tls);
        assert_eq!(rule("h.example"), Rule::Tls);
        assert_eq!(rule("h.example:5000").scheme(), "http");
        for (host, good) in [
            ("h.example:5000", "http://h.example:5000/x"),
            ("h.example:5000", "https://cdn.example/x"),
            ("i.example", "http://i.example/x"),
            ("i.example", "http://i.example:80/x"),
        ] {
            assert!(rule(host).allows(&url(good)), "{good}");
        }
        for bad in [
            "http://h.example/x",
            "http://cdn.example:5000/x",
            "http://127.0.0.1/x",
        ] {
            assert!(!rule("h.example:5000").allows(&url(bad)), "{bad}");
        }
    }
}
