//! Names in OpenPGP User IDs: by convention `Name (comment) <address>`, by specification any text.

/// Whether a User ID is of this name: its e-mail address, its name without or with the comment, or all of it. Exactly, as
/// peers compare: a name that is part of another must not choose its key.
pub(super) fn is_of(user_id: &str, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    if user_id == name {
        return true;
    }
    let Some((before, address)) = user_id
        .strip_suffix('>')
        .and_then(|rest| rest.rsplit_once('<'))
    else {
        return false;
    };
    let full = before.trim();
    let plain = match full
        .strip_suffix(')')
        .and_then(|rest| rest.rsplit_once('('))
    {
        Some((plain, _comment)) => plain.trim(),
        None => full,
    };
    let unquoted = |text: &str| -> String { text.trim_matches('"').to_owned() };
    address == name || full == name || plain == name || unquoted(plain) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_compared_exactly() {
        let user_id = "Ann Example (work) <ann@example.org>";
        for name in [
            "ann@example.org",
            "Ann Example",
            "Ann Example (work)",
            user_id,
        ] {
            assert!(is_of(user_id, name), "{name}");
        }
        for name in [
            "",
            "Ann",
            "example.org",
            "ann@example.or",
            "ANN@example.org",
            "work",
            "<ann@example.org>",
        ] {
            assert!(!is_of(user_id, name), "{name}");
        }
        assert!(is_of("ann@example.org", "ann@example.org"));
        assert!(is_of("<ann@example.org>", "ann@example.org"));
        assert!(is_of("\"Example, Ann\" <a@b>", "Example, Ann"));
        // No address at all: it does not hide the others of its ring.
        assert!(is_of("host key >of< build (1", "host key >of< build (1"));
        assert!(!is_of("host key >of< build (1", "of"));
    }
}
