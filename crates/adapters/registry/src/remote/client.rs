//! One repository of a registry: requests with the credentials that it asks for, and what its answers mean.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Options;
use super::challenge::Challenge;
use super::credentials::Login;
use super::retry::{self, Patience};
use super::token::{Demand, basic};
use super::transport::{self, Rule};
use crate::error::RegistryError;
use crate::reference::{RemoteReference, Version};

/// The repository.
pub(super) struct Client {
    http: reqwest::Client,
    host: String,
    repository: String,
    base: Url,
    rule: Rule,
    login: Option<Login>,
    authorization: Mutex<Option<HeaderValue>>,
    patience: Patience,
}

impl Client {
    pub(super) fn new(
        reference: &RemoteReference,
        options: &Options,
    ) -> Result<Self, RegistryError> {
        let host = reference.host().to_string();
        let rule = Rule::of(reference.host(), options);
        let base = format!(
            "{}://{}/v2/{}/",
            rule.scheme(),
            reference.host().authority(),
            reference.repository().as_str()
        );
        let base = Url::parse(&base).map_err(|_| RegistryError::Protocol {
            host: host.clone(),
            what: "its name makes no address",
        })?;
        Ok(Self {
            http: transport::client(&rule, options)?,
            login: Login::find(options, reference)?,
            patience: options.patience,
            authorization: Mutex::default(),
            host,
            repository: reference.repository().as_str().to_owned(),
            base,
            rule,
        })
    }

    /// An address below the repository. `path` holds no user input but tags and digests, which need no escaping.
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.base
            .join(path)
            .map_err(|_| self.protocol("an address can't be made"))
    }

    /// An address that the registry gave, if it may be asked.
    pub(super) fn given_url(&self, from: &Url, location: &str) -> Result<Url, RegistryError> {
        let url = from
            .join(location)
            .map_err(|_| self.protocol("it gave an address that is none"))?;
        if !self.rule.allows(&url) {
            return Err(RegistryError::NoTls(
                url.host_str().unwrap_or_default().to_owned(),
            ));
        }
        Ok(url)
    }

    /// Sends a request that does no harm when it is made twice; makes it again while the registry can't answer.
    pub(super) async fn send(
        &self,
        url: &Url,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        self.patiently(|| self.send_authorized(url, &request)).await
    }

    /// Does `step` until it succeeds, fails for good, or patience ends; the last answer is the answer.
    pub(super) async fn patiently<F: Future<Output = Result<Response, RegistryError>>>(
        &self,
        step: impl Fn() -> F,
    ) -> Result<Response, RegistryError> {
        let mut tried = 0;
        loop {
            let answer = step().await;
            let asked = match &answer {
                Ok(answer) if retry::may_pass(answer.status()) => retry::asked_wait(answer),
                Err(RegistryError::Unreachable { .. } | RegistryError::Broken { .. }) => None,
                _ => return answer,
            };
            if !self.wait(tried, asked).await {
                return answer;
            }
            tried += 1;
        }
    }

    /// Waits before retry number `retry`; `false` when it is time to give up.
    pub(super) async fn wait(&self, retry: u32, asked: Option<Duration>) -> bool {
        match self.patience.wait(retry, asked) {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                true
            }
            None => false,
        }
    }

    /// Where the registry wants credentials, gets them and sends the request again.
    async fn send_authorized(
        &self,
        url: &Url,
        request: &impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let answer = self.send_once(url, request(&self.http)).await?;
        // Where a redirect led elsewhere, the demand is that of somebody else.
        let ours = self.is_ours(url) && self.is_ours(answer.url());
        if answer.status() != StatusCode::UNAUTHORIZED || !ours {
            return Ok(answer);
        }
        let Some(challenge) = challenge_of(&answer) else {
            return Ok(answer);
        };
        let authorization = self.answer_to(challenge).await?;
        *self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        self.send_once(url, request(&self.http)).await
    }

    /// Sends a request whose body exists only once.
    pub(super) async fn send_once(
        &self,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let known = self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // Credentials for the registry are nobody else's business, wherever it sends us.
        let request = match known.filter(|_| self.is_ours(url)) {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        };
        request.send().await.map_err(|source| self.network(source))
    }

    /// The name of an image for people.
    pub(super) fn name_of(&self, version: &Version) -> String {
        let mark = if matches!(version, Version::Tag(_)) {
            ':'
        } else {
            '@'
        };
        format!("{}/{}{mark}{version}", self.host, self.repository)
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(super) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    pub(super) fn network(&self, source: reqwest::Error) -> RegistryError {
        let host = self.host.clone();
        if source.is_connect() || source.is_timeout() {
            return RegistryError::Unreachable { host, source };
        }
        RegistryError::Broken { host, source }
    }

    pub(super) fn protocol(&self, what: &'static str) -> RegistryError {
        RegistryError::Protocol {
            host: self.host.clone(),
            what,
        }
    }

    /// What an answer that is no success means.
    pub(super) async fn failure(&self, answer: Response) -> RegistryError {
        let status = answer.status();
        let host = self.host.clone();
        let code = status.as_u16();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return RegistryError::Overloaded { host, status: code };
        }
        let body = self.body(answer, REASON_LIMIT).await.unwrap_or_default();
        let reason = reason_in(&body);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied {
                host,
                status: code,
                reason,
            },
            _ => RegistryError::Refused {
                host,
                status: code,
                reason,
            },
        }
    }

    /// The whole body, up to `limit` bytes.
    pub(super) async fn body(
        &self,
        mut answer: Response,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|source| self.network(source))?
        {
            if bytes.len() as u64 + chunk.len() as u64 > limit {
                return Err(RegistryError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    async fn answer_to(&self, challenge: Challenge) -> Result<HeaderValue, RegistryError> {
        match challenge {
            Challenge::Basic => match &self.login {
                Some(Login::Password { name, password }) => self.header(&basic(name, password)),
                Some(Login::IdentityToken(_)) | None => Err(RegistryError::Denied {
                    host: self.host.clone(),
                    status: StatusCode::UNAUTHORIZED.as_u16(),
                    reason: "it wants a name and a password, and none are configured".to_owned(),
                }),
            },
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let realm = self.given_url(&self.base, &realm)?;
                let token = self.token(realm, &Demand { service, scope }).await?;
                self.header(&Zeroizing::new(format!("Bearer {}", *token)))
            }
        }
    }
}

/// Tokens before passwords.
fn challenge_of(answer: &Response) -> Option<Challenge> {
    let mut known: Vec<Challenge> = answer
        .headers()
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|header| Challenge::parse(header.to_str().ok()?))
        .collect();
    let best = known
        .iter()
        .position(|known| *known != Challenge::Basic)
        .unwrap_or(0);
    (!known.is_empty()).then(|| known.swap_remove(best))
}

/// The registry's own words, made harmless for a terminal.
fn reason_in(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let first = serde_json::from_slice::<Errors>(body)
        .ok()
        .and_then(|Errors { errors }| errors.into_iter().next());
    let text = first.map_or_else(
        || "it gives no reason".to_owned(),
        |Reason { code, message }| if message.is_empty() { code } else { message },
    );
    text.chars()
        .take(160)
        .flat_map(char::escape_debug)
        .collect()
}

const REASON_LIMIT: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_reason_is_long_or_speaks_to_the_terminal(message: String, body: Vec<u8>) {
            let text = serde_json::json!({ "errors": [{ "message": message }] }).to_string();
            for reason in [reason_in(text.as_bytes()), reason_in(&body)] {
                proptest::prop_assert!(reason.len() <= 160 * 10 && !reason.contains(char::is_control), "{reason}");
            }
        }
    }

    #[test]
    fn reasons_can_not_draw_on_the_terminal() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[2J\nerror: ok"}]}"#;
        let reason = reason_in(body);
        assert!(
            reason.starts_with("no") && !reason.contains('\u{1b}') && !reason.contains('\n'),
            "{reason}"
        );
        assert_eq!(reason_in(b"<html>"), "it gives no reason");
    }
}
