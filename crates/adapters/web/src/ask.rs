//! One request as the handlers see it: who, what, and nothing of HTTP. Whatever is not in the table is refused here.

use std::{fmt::Display, str::FromStr};

use ledger::Actor;
use serde::de::DeserializeOwned;

use crate::{
    access::Caller,
    answer::Failure,
    endpoints::{Endpoint, Query},
};

/// One request.
pub(crate) struct Ask {
    pub(crate) caller: Caller,
    /// Method and path, for leaves and logs.
    pub(crate) line: String,
    parameters: Vec<(String, String)>,
    query: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    /// Takes the parts of a request apart.
    pub(crate) fn new(
        endpoint: &Endpoint,
        caller: Caller,
        path: &str,
        parameters: Vec<(String, String)>,
        query: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Result<Self, Failure> {
        check_query(endpoint, &query)?;
        let path: String = path.chars().take(MAX_PATH).collect();
        let line = format!("{} {path}", endpoint.method.as_str());
        Ok(Self {
            caller,
            line,
            parameters,
            query,
            body,
        })
    }

    /// Who is named in leaves. The router lets nobody unknown through to a handler that asks.
    pub(crate) fn actor(&self) -> Result<Actor, Failure> {
        self.caller.actor().ok_or_else(Failure::unauthenticated)
    }

    /// A parameter of the path.
    pub(crate) fn parameter<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Failure> {
        let found = self
            .parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str());
        found
            .unwrap_or_default()
            .parse()
            .map_err(|error| Failure::malformed(format!("{name}: {error}")))
    }

    /// A query parameter.
    pub(crate) fn query<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Failure> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|error| Failure::malformed(format!("`{name}`: {error}")))
        };
        self.query_all(name).next().map(parse).transpose()
    }

    /// All values of a query parameter.
    pub(crate) fn query_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.query
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body: JSON without doubled or unknown members.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        jose::strict_json::from_slice(&self.body)
            .map_err(|error| Failure::malformed(format!("body: {error}")))
    }

    /// Refuses a body where none is read.
    pub(crate) fn no_body(&self) -> Result<(), Failure> {
        if self.body.is_empty() {
            Ok(())
        } else {
            Err(Failure::malformed("no body is wanted".to_owned()))
        }
    }
}

fn check_query(endpoint: &Endpoint, given: &[(String, String)]) -> Result<(), Failure> {
    for (name, _) in given {
        let quoted = name.chars().take(40).collect::<String>();
        let Some(known) = endpoint.query.iter().find(|query| query.name() == name) else {
            return Err(Failure::malformed(format!(
                "unknown query parameter `{}`",
                quoted.escape_debug()
            )));
        };
        let times = given.iter().filter(|(other, _)| other == name).count();
        if matches!(known, Query::Once(_)) && times > 1 {
            return Err(Failure::malformed(format!(
                "query parameter `{quoted}` is given twice"
            )));
        }
    }
    Ok(())
}

/// As much of a path as stands in a leaf: longer than any name.
const MAX_PATH: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoints::Call;

    fn ask(query: &[(&str, &str)], body: &[u8]) -> Result<Ask, Failure> {
        let query = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let endpoint = Call::Search.endpoint().unwrap();
        Ask::new(
            endpoint,
            Caller::LocalRoot,
            "/v1/audit/search",
            Vec::new(),
            query,
            body.to_vec(),
        )
    }

    #[test]
    fn unknown_and_doubled_query_parameters_are_refused() {
        assert!(ask(&[("limit", "1"), ("field", "a:b"), ("field", "c:d")], b"").is_ok());
        assert!(ask(&[("limit", "1"), ("limit", "2")], b"").is_err());
        assert!(ask(&[("limits", "1")], b"").is_err());
    }

    #[test]
    fn unknown_and_doubled_members_are_refused() {
        let read = |body: &[u8]| ask(&[], body).unwrap().body::<crate::wire::Ban>().is_ok();
        assert!(read(br#"{"reason":"x"}"#));
        assert!(!read(br#"{"reason":"x","force":true}"#));
        assert!(!read(br#"{"reason":"x","reason":"y"}"#));
        assert!(!read(b""));
    }

    proptest::proptest! {
        #[test]
        fn hostile_bodies_are_errors(body: Vec<u8>) {
            let ask = ask(&[], &body).unwrap();
            proptest::prop_assert!(ask.body::<crate::wire::Estate>().is_err());
            proptest::prop_assert!(ask.body::<server::govern::SealedSecret>().is_err());
        }
    }
}
