//! What a registry wants to see before it answers: the header `WWW-Authenticate` (RFC 9110 section 11.6.1).

/// A demand for credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from another place.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The best of the demands in one header; `None` when none of them is known here.
    pub(super) fn parse(header: &str) -> Option<Self> {
        if header.len() > HEADER_LIMIT {
            return None;
        }
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameters = parameters(rest)?;
        let find = |name: &str| {
            let mut found = parameters
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name));
            let first = found.next().map(|(_, value)| value.clone());
            if found.next().is_some() {
                Err(())
            } else {
                Ok(first)
            }
        };
        Some(Self::Bearer {
            realm: find("realm").ok()??,
            service: find("service").ok()?,
            scope: find("scope").ok()?,
        })
    }
}

/// `name="value"` or `name=token`, separated by commas.
fn parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                let (value, after) = after.split_at_checked(end)?;
                (value.trim().to_owned(), after)
            }
        };
        found.push((name.trim().to_owned(), value));
        rest = match after.trim_start().strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if after.trim().is_empty() => "",
            None => return None,
        };
    }
    Some(found)
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

const HEADER_LIMIT: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_challenges_are_read() {
        let header = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        assert_eq!(
            Challenge::parse(header),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".to_owned(),
                service: Some("registry.example".to_owned()),
                scope: Some("repository:a/b:pull,push".to_owned()),
            })
        );
        assert_eq!(
            Challenge::parse(r#"basic realm="x""#),
            Some(Challenge::Basic)
        );
        assert_eq!(
            Challenge::parse(r#"BEARER Realm=r , error="a\"b""#),
            Some(Challenge::Bearer {
                realm: "r".to_owned(),
                service: None,
                scope: None
            })
        );
    }

    #[test]
    fn odd_challenges_are_not_ours() {
        for odd in [
            "",
            "Negotiate abc",
            "Bearer",
            r#"Bearer realm="x"#,
            r#"Bearer realm="a" realm="b""#,
            r#"Bearer realm="a",realm="b""#,
            "Bearer service=x",
        ] {
            assert_eq!(Challenge::parse(odd), None, "{odd}");
        }
        assert_eq!(
            Challenge::parse(&format!("Bearer realm={}", "x".repeat(10_000))),
            None
        );
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "(Bearer |Basic )?[ -~é]{0,80}") {
            let _ = Challenge::parse(&text);
        }
    }
}
