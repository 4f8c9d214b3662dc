//! Every parser meets input that was made to break it: an answer always comes, never a panic.

use estate::{
    Ask, CredentialName, DatabaseUrl, Digest, Estate, Grant, ImageSetName, IpPrefix, NodeName,
    PathTemplate, PersonId, SecretName, Span, Timestamp,
};
use proptest::prelude::*;

use crate::example_files;

/// A name that is accepted is written back as it was read.
fn same<T: std::str::FromStr + ToString>(text: &str) -> bool {
    text.parse::<T>()
        .map_or(true, |name| name.to_string() == text)
}

proptest! {
    #[test]
    fn names_are_kept_as_they_are(text in "\\PC{0,140}|[a-zA-Z0-9/@._+-]{0,140}") {
        prop_assert!(same::<NodeName>(&text) && same::<ImageSetName>(&text) && same::<SecretName>(&text));
        prop_assert!(same::<CredentialName>(&text) && same::<PersonId>(&text));
        if text.parse::<SecretName>().is_ok() {
            prop_assert!(text.split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
            prop_assert!(text.len() <= 128 && !text.contains('*'));
        }
    }

    #[test]
    fn digests_have_one_spelling(text in "(sha256:)?[0-9a-fA-F]{60,68}") {
        prop_assert!(same::<Digest>(&text));
    }

    #[test]
    fn times_survive_being_written(millis in -62_167_219_200_000_i64..=253_402_300_799_999) {
        let time = Timestamp::from_millis(millis);
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn texts_like_times_are_answered(text in "[0-9]{2,5}-[0-9]{1,2}-[0-9]{1,2}[Tt ][0-9]{1,2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?([Zz]|[+-][0-9]{2}:[0-9]{2})?|\\PC{0,40}") {
        if let Ok(time) = text.parse::<Timestamp>() {
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }

    #[test]
    fn small_texts_are_answered(text in "\\PC{0,60}|[0-9]{0,22}[smhdwy]?|[0-9a-f:./]{0,50}") {
        if let Ok(span) = text.parse::<Span>() {
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
        prop_assert!(same::<IpPrefix>(&text) || text.contains(':') || text.contains('.'));
        let _ = text.parse::<Ask>();
    }

    #[test]
    fn grants_hold_no_free_sql(text in "(SELECT|INSERT|USAGE|CONNECT|ALL)(, SELECT| GRANT)? ON (ALL TABLES IN SCHEMA|TABLE|SCHEMA|DATABASE) [a-z_.\";, A-Z0-9-]{0,30}") {
        if let Ok(grant) = text.parse::<Grant>() {
            prop_assert_eq!(grant.to_string().parse(), Ok(grant));
            prop_assert!(!text.contains([';', '"', '-']));
        }
    }

    #[test]
    fn addresses_hold_no_password(text in "(postgresql|https|http)://[a-z0-9@:/?#.%=\\[\\]-]{0,40}") {
        if let Ok(url) = text.parse::<DatabaseUrl>() {
            prop_assert!(!text.contains(['@', '?', '#', '%']));
            prop_assert_eq!(url.to_string().parse(), Ok(url));
        }
    }

    #[test]
    fn templates_render_safe_paths(template in "/[a-z]{1,6}(/(\\{(cluster|node|pod\\.name)\\}|[a-z.]{0,4})){0,4}", value in "\\PC{0,12}|[a-z./]{0,8}") {
        if let Ok(parsed) = template.parse::<PathTemplate>() {
            prop_assert_eq!(parsed.to_string(), template);
            if let Some(path) = parsed.render(|_| Some(value.clone())) {
                prop_assert!(path.starts_with('/') && path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != ".."));
            }
        }
    }

    #[test]
    fn any_text_as_any_file_is_answered(index in 0_usize..13, text in "\\PC{0,80}|(\\[{1,2}[a-z.\"]{1,12}\\]{1,2}\n|[a-z]{1,8} = (\"[a-z0-9/:]{0,12}\"|[0-9]{1,20}|\\[\\]|\\{\\}|true)\n){0,8}") {
        let mut files = example_files();
        files.get_mut(index).unwrap().1 = format!("version = 1\n{text}");
        let _ = Estate::parse(&files);
    }

    #[test]
    fn the_example_with_a_byte_changed_is_answered(index in 0_usize..13, at in 0_usize..4000, byte in any::<char>()) {
        let mut files = example_files();
        let text = &mut files.get_mut(index).unwrap().1;
        let at = text.char_indices().map(|(at, _)| at).nth(at % text.chars().count().max(1)).unwrap_or(0);
        let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
        text.replace_range(at..end, &byte.to_string());
        if let Err(error) = Estate::parse(&files) {
            prop_assert!(error.line() >= 1 && !error.to_string().is_empty());
        }
    }

    #[test]
    fn any_path_is_answered(path in "\\PC{0,40}|(policies|keys|events|tests)/[a-z./]{0,12}(\\.cedar|\\.toml)?") {
        let _ = Estate::parse(&[(path.as_str(), "")]);
    }
}

#[test]
fn deep_and_huge_files_are_refused() {
    let deep = format!(
        "version = 1\nx = {}{}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(Estate::parse(&[("people.toml", deep.as_str())]).is_err());
    let huge = "#".repeat(4 * 1024 * 1024 + 1);
    assert!(Estate::parse(&[("people.toml", huge.as_str())]).is_err());
}
