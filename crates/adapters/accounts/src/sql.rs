//! The statements that make and end a role. Identifiers are always quoted, literals are made from parsed values only.

use estate::{Grant, Timestamp};
use zeroize::Zeroizing;

use crate::role::RoleName;
use crate::scram::Verifier;

/// Makes the role, or renews what an earlier try made.
pub(crate) fn make(
    role: &RoleName,
    known: Known,
    verifier: &Verifier,
    until: Timestamp,
) -> Zeroizing<String> {
    let (role, verifier) = (identifier(role.as_str()), verifier.expose_text());
    let (verb, rights) = match known {
        Known::No => (
            "CREATE",
            " NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
        ),
        // Only a superuser may name these again, and `is_ours` has looked.
        Known::Yes => ("ALTER", ""),
    };
    let until = literal(&until.to_string());
    Zeroizing::new(format!(
        "{verb} ROLE {role} LOGIN{rights} PASSWORD {} VALID UNTIL {until}",
        literal(&verifier)
    ))
}

/// Whether an earlier try made the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Yes,
    No,
}

/// Gives the role one grant.
pub(crate) fn grant(grant: &Grant, role: &RoleName) -> String {
    let role = identifier(role.as_str());
    match grant {
        Grant::Connect { database } => format!(
            "GRANT CONNECT ON DATABASE {} TO {role}",
            identifier(database.as_str())
        ),
        Grant::Usage { schema } => format!(
            "GRANT USAGE ON SCHEMA {} TO {role}",
            identifier(schema.as_str())
        ),
        Grant::AllTables { privileges, schema } => {
            format!(
                "GRANT {} ON ALL TABLES IN SCHEMA {} TO {role}",
                words(privileges),
                identifier(schema.as_str())
            )
        }
        Grant::Table {
            privileges,
            schema,
            table,
        } => {
            let (schema, table) = (identifier(schema.as_str()), identifier(table.as_str()));
            format!(
                "GRANT {} ON TABLE {schema}.{table} TO {role}",
                words(privileges)
            )
        }
    }
}

/// No new session from here on; and the right to end those that are.
pub(crate) fn close(role: &RoleName) -> String {
    let role = identifier(role.as_str());
    format!("ALTER ROLE {role} NOLOGIN PASSWORD NULL; GRANT {role} TO CURRENT_USER")
}

/// Takes everything from the role, then the role. What it made is dropped, never handed on: a function of its making would otherwise
/// run with the rights of its new owner.
pub(crate) fn drop_role(role: &RoleName) -> String {
    let role = identifier(role.as_str());
    format!("DROP OWNED BY {role}; DROP ROLE {role}")
}

/// One at a time, over all servers: two grants on one object at once would fail. Freed at the end of the transaction.
pub(crate) const LOCK: &str = "SELECT pg_advisory_xact_lock(7094420271094784375)";

/// What is known about a role: its number, and whether it may more than a role of ours.
pub(crate) const LOOK: &str = "SELECT oid, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls \
     OR EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid) FROM pg_roles WHERE rolname = $1";

/// Tells the sessions of a role to end.
pub(crate) const END_SESSIONS: &str =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usesysid = $1";

/// The roles whose names begin as given.
pub(crate) const WITH_PREFIX: &str =
    "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, $1) ORDER BY 1";

/// Whether the login may do its work: make roles, and end the sessions of others.
pub(crate) const ABLE: &str = "SELECT rolsuper OR rolcreaterole, rolsuper OR pg_has_role(oid, 'pg_signal_backend', 'MEMBER') \
     FROM pg_roles WHERE rolname = current_user";

fn words(privileges: &std::collections::BTreeSet<estate::Privilege>) -> String {
    privileges
        .iter()
        .map(|privilege| privilege.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// A quoted identifier: keywords and any letter are safe in it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal. `standard_conforming_strings` is set for the session, so that a backslash is a letter.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scram::{Iterations, Password, Salt, verifier};

    fn role() -> RoleName {
        "bw_417_records".parse().unwrap()
    }

    #[test]
    fn each_kind_of_grant_is_one_statement() {
        for (text, statement) in [
            (
                "CONNECT ON DATABASE medrec",
                r#"GRANT CONNECT ON DATABASE "medrec" TO "bw_417_records""#,
            ),
            (
                "USAGE ON SCHEMA records",
                r#"GRANT USAGE ON SCHEMA "records" TO "bw_417_records""#,
            ),
            (
                "SELECT ON ALL TABLES IN SCHEMA records",
                r#"GRANT SELECT ON ALL TABLES IN SCHEMA "records" TO "bw_417_records""#,
            ),
            (
                "SELECT, UPDATE ON TABLE records.user",
                r#"GRANT SELECT, UPDATE ON TABLE "records"."user" TO "bw_417_records""#,
            ),
        ] {
            assert_eq!(grant(&text.parse().unwrap(), &role()), statement);
        }
    }

    #[test]
    fn a_role_is_made_with_its_end() {
        let password = Password::from_random(&[7; 32]);
        let verifier = verifier(&password, Salt::from_random([8; 16]), Iterations::DEFAULT);
        let until = "2026-11-23T12:00:00Z".parse().unwrap();
        let text = make(&role(), Known::No, &verifier, until);
        assert!(
            text.starts_with("CREATE ROLE \"bw_417_records\" LOGIN NOSUPERUSER"),
            "{}",
            text.as_str()
        );
        assert!(
            text.ends_with("VALID UNTIL '2026-11-23T12:00:00.000Z'"),
            "{}",
            text.as_str()
        );
        assert!(!text.contains(password.expose_password()));
        assert!(
            make(&role(), Known::Yes, &verifier, until)
                .starts_with("ALTER ROLE \"bw_417_records\" LOGIN PASSWORD 'SCRAM")
        );
    }

    /// Reads one quoted token as PostgreSQL does; `None` when the text goes on after it.
    fn unquoted(text: &str, quote: char) -> Option<String> {
        let mut letters = text.strip_prefix(quote)?.chars();
        let mut name = String::new();
        loop {
            match letters.next()? {
                letter if letter != quote => name.push(letter),
                _ => match letters.next() {
                    None => return Some(name),
                    Some(letter) if letter == quote => name.push(quote),
                    Some(_) => return None,
                },
            }
        }
    }

    proptest! {
        #[test]
        fn quoting_keeps_every_letter_inside(text in any::<String>()) {
            prop_assert_eq!(unquoted(&identifier(&text), '"'), Some(text.clone()));
            prop_assert_eq!(unquoted(&literal(&text), '\''), Some(text));
        }
    }
}
