//! Tokens: what a registry's token server gives for a name and a password, or for a token that buys others.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::client::Client;
use super::credentials::Login;
use crate::error::RegistryError;

/// What the registry said that a token must be for.
pub(super) struct Demand {
    pub(super) service: Option<String>,
    pub(super) scope: Option<String>,
}

impl Client {
    /// Buys a token at `realm`.
    pub(super) async fn token(
        &self,
        realm: Url,
        demand: &Demand,
    ) -> Result<Zeroizing<String>, RegistryError> {
        let answer = self
            .patiently(|| async {
                self.ask_for_token(&realm, demand)?
                    .send()
                    .await
                    .map_err(|source| self.network(source))
            })
            .await?;
        if answer.status() != StatusCode::OK {
            return Err(self.failure(answer).await);
        }
        let body = Zeroizing::new(self.body(answer, TOKEN_LIMIT).await?);
        given(&body).map_err(|what| self.protocol(what))
    }

    fn ask_for_token(&self, realm: &Url, demand: &Demand) -> Result<RequestBuilder, RegistryError> {
        let Demand { service, scope } = demand;
        let parameters = [("service", service), ("scope", scope)];
        let given = parameters
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let mut url = realm.clone();
        Ok(match self.login() {
            // The form of OAuth 2 (RFC 6749 section 6): what is secret goes into the body.
            Some(Login::IdentityToken(token)) => {
                let mut form = url.clone();
                form.set_query(None);
                form.query_pairs_mut()
                    .extend_pairs([("grant_type", "refresh_token"), ("client_id", "bailiwick")])
                    .extend_pairs(given)
                    .append_pair("refresh_token", token);
                let body = form.query().unwrap_or_default().to_owned();
                self.http()
                    .post(url)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(body)
            }
            Some(Login::Password { name, password }) => {
                url.query_pairs_mut().extend_pairs(given);
                let header = self.header(&basic(name, password))?;
                self.http().get(url).header(AUTHORIZATION, header)
            }
            None => {
                url.query_pairs_mut().extend_pairs(given);
                self.http().get(url)
            }
        })
    }

    pub(super) fn header(&self, text: &str) -> Result<HeaderValue, RegistryError> {
        let mut header =
            HeaderValue::from_str(text).map_err(|_| self.protocol("its token is no text"))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

pub(super) fn basic(name: &str, password: &str) -> Zeroizing<String> {
    use base64::Engine;
    let pair = Zeroizing::new(format!("{name}:{password}"));
    let encoded = Zeroizing::new(base64::prelude::BASE64_STANDARD.encode(pair.as_bytes()));
    Zeroizing::new(format!("Basic {}", *encoded))
}

/// The token in an answer.
fn given(body: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    // The cause would tell parts of the token.
    let mut given: Given = serde_json::from_slice(body).map_err(|_| "its token can't be read")?;
    let token = given.token.take().or_else(|| given.access_token.take());
    token
        .map(Zeroizing::new)
        .filter(|token| !token.is_empty())
        .ok_or("it gave no token")
}

#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
}

impl Drop for Given {
    fn drop(&mut self) {
        self.token.zeroize();
        self.access_token.zeroize();
    }
}

const TOKEN_LIMIT: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_read_under_either_name() {
        for (body, token) in [
            (r#"{"token":"a"}"#, Some("a")),
            (r#"{"access_token":"b","expires_in":60}"#, Some("b")),
            (r#"{"token":"a","access_token":"b"}"#, Some("a")),
            (r#"{"token":null,"access_token":"b"}"#, Some("b")),
            (r#"{"token":""}"#, None),
            (r#"{"token":"","access_token":"b"}"#, None),
            (r#"{"token":"a","token":"b"}"#, None),
            (r#"{"token":["a"]}"#, None),
            (r#"{"Token":"a"}"#, None),
            (r#"{"token":"a"} x"#, None),
            ("{}", None),
            ("", None),
        ] {
            let found = given(body.as_bytes()).ok();
            assert_eq!(found.as_ref().map(|token| token.as_str()), token, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = given(&body);
        }

        #[test]
        fn no_json_gives_an_empty_token(
            body in r#"\{("(token|access_token|expires_in|Token)":("[a-z\\u00n"]{0,6}"|null|-?[0-9]{1,25}|\[\]|\{\}),?){0,4}\}?"#,
        ) {
            if let Ok(token) = given(body.as_bytes()) {
                prop_assert!(!token.is_empty());
            }
        }

        #[test]
        fn what_is_given_is_what_is_sent(token in ".{1,64}") {
            let body = serde_json::json!({"access_token": token}).to_string();
            let found = given(body.as_bytes()).unwrap();
            prop_assert_eq!(found.as_str(), token);
        }
    }
}
