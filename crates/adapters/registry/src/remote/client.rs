//! One repository of a registry: requests with the credentials that it asks for, and what its answers mean.

use std::sync::{Mutex, PoisonError};

use images::MANIFEST_LIMIT;
use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Options;
use super::challenge::Challenge;
use super::credentials::Login;
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
            http: transport::client(rule, options)?,
            login: Login::find(&options.auth_files, reference)?,
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

    /// Sends a request; where the registry wants credentials, gets them and sends it again.
    pub(super) async fn send(
        &self,
        url: &Url,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
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
            Challenge::Basic => {
                let login = self.login.as_ref().ok_or_else(|| RegistryError::Denied {
                    host: self.host.clone(),
                    status: StatusCode::UNAUTHORIZED.as_u16(),
                    reason: "it wants a name and a password, and none are configured".to_owned(),
                })?;
                self.header(&basic(login))
            }
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let mut url = self.given_url(&self.base, &realm)?;
                for (name, value) in [("service", service), ("scope", scope)] {
                    if let Some(value) = value {
                        url.query_pairs_mut().append_pair(name, &value);
                    }
                }
                let token = self.token(url).await?;
                self.header(&Zeroizing::new(format!("Bearer {}", *token)))
            }
        }
    }

    async fn token(&self, url: Url) -> Result<Zeroizing<String>, RegistryError> {
        let mut request = self.http.get(url);
        if let Some(login) = &self.login {
            request = request.header(AUTHORIZATION, self.header(&basic(login))?);
        }
        let answer = request
            .send()
            .await
            .map_err(|source| self.network(source))?;
        if answer.status() != StatusCode::OK {
            return Err(self.failure(answer).await);
        }
        let body = Zeroizing::new(self.body(answer, MANIFEST_LIMIT).await?);
        let Token {
            token,
            access_token,
        } = serde_json::from_slice(&body).map_err(|_| self.protocol("its token can't be read"))?;
        token
            .or(access_token)
            .filter(|token| !token.is_empty())
            .map(Zeroizing::new)
            .ok_or_else(|| self.protocol("it gave no token"))
    }

    fn header(&self, text: &str) -> Result<HeaderValue, RegistryError> {
        let mut header =
            HeaderValue::from_str(text).map_err(|_| self.protocol("its token is no text"))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn basic(login: &Login) -> Zeroizing<String> {
    use base64::Engine;
    let pair = Zeroizing::new(format!("{}:{}", login.name(), login.expose_password()));
    Zeroizing::new(format!(
        "Basic {}",
        base64::prelude::BASE64_STANDARD.encode(pair.as_bytes())
    ))
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
