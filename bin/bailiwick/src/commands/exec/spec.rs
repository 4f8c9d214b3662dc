//! What is asked for on the command line of `exec`, and where it goes.

use std::{collections::BTreeSet, path::PathBuf, str::FromStr, time::Duration};

use estate::{CredentialName, SecretName};

/// `NAME[=ENV|:fd|:FILE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretSpec {
    /// The secret.
    pub(super) name: SecretName,
    /// Where it goes.
    pub(super) to: SecretTo,
}

/// Where a secret goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SecretTo {
    /// A memory file; the variable holds its path.
    Memory {
        /// The variable.
        variable: String,
    },
    /// An environment variable: every child and every crash report has it, too.
    Environment {
        /// The variable.
        variable: String,
    },
    /// A file.
    File(PathBuf),
}

impl FromStr for SecretSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['=', ':']).unwrap_or(text.len());
        let (name, to) = text.split_at(at);
        let name: SecretName = name.parse().map_err(|error| format!("{error}"))?;
        let to = match to.split_at_checked(1) {
            None => memory(&name),
            Some(("=", variable)) => SecretTo::Environment {
                variable: variable_name(variable)?,
            },
            Some((_, "fd")) => memory(&name),
            Some((_, path)) if path.starts_with('/') => SecretTo::File(PathBuf::from(path)),
            Some(_) => return Err("behind `:` comes `fd` or an absolute path".to_owned()),
        };
        Ok(Self { name, to })
    }
}

fn memory(name: &SecretName) -> SecretTo {
    SecretTo::Memory {
        variable: format!("{}_FILE", shouted(name.as_str())),
    }
}

/// `NAME=CREDENTIAL[:FORMAT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeaseSpec {
    /// What the command calls it.
    pub(super) name: String,
    /// The credential.
    pub(super) credential: CredentialName,
    /// How it is handed over.
    pub(super) format: LeaseFormat,
}

/// How a login is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseFormat {
    /// libpq's service file: PGSERVICEFILE, PGSERVICE.
    PgService,
    /// libpq's password file: PGPASSFILE, PGHOST and so on.
    PgPass,
    /// A memory file with a URL: `NAME_URL_FILE`.
    Url,
    /// A memory file with JSON: `NAME_FILE`.
    Json,
    /// A private folder in memory with one file per part: `NAME_DIR`.
    Dir,
}

impl FromStr for LeaseSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("`NAME=CREDENTIAL` is needed")?;
        let (credential, format) = rest.split_once(':').unwrap_or((rest, "pgservice"));
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts
            || name.len() > 64
            || !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        {
            return Err("the name is a letter and then letters, digits, `-` and `_`".to_owned());
        }
        let format = match format {
            "pgservice" => LeaseFormat::PgService,
            "pgpass" => LeaseFormat::PgPass,
            "url" => LeaseFormat::Url,
            "json" => LeaseFormat::Json,
            "dir" => LeaseFormat::Dir,
            _ => {
                return Err(
                    "the format is `pgservice`, `pgpass`, `url`, `json` or `dir`".to_owned(),
                );
            }
        };
        let credential = credential.parse().map_err(|error| format!("{error}"))?;
        Ok(Self {
            name: name.to_owned(),
            credential,
            format,
        })
    }
}

/// A length of time: `500ms`, `30s`, `2m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Duration);

impl FromStr for Wait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            _ => return Err("a time is a number and `ms`, `s` or `m`".to_owned()),
        };
        let number: u32 = number
            .parse()
            .map_err(|_| "a time is a number and `ms`, `s` or `m`".to_owned())?;
        Ok(Self(Duration::from_millis(u64::from(number) * millis)))
    }
}

/// What each option alone can't know: no two of them may write to the same place.
pub(super) fn check_together(secrets: &[SecretSpec], leases: &[LeaseSpec]) -> Result<(), String> {
    let mut taken = BTreeSet::new();
    let mut take = |place: String| match taken.insert(place.clone()) {
        true => Ok(()),
        false => Err(format!("two options write to `{place}`")),
    };
    for secret in secrets {
        take(match &secret.to {
            SecretTo::Memory { variable } | SecretTo::Environment { variable } => variable.clone(),
            SecretTo::File(path) => path.display().to_string(),
        })?;
    }
    for LeaseSpec { name, format, .. } in leases {
        take(match format {
            LeaseFormat::PgService => format!("[{name}] of PGSERVICEFILE"),
            LeaseFormat::PgPass => "PGPASSFILE".to_owned(),
            LeaseFormat::Url => format!("{}_URL_FILE", shouted(name)),
            LeaseFormat::Json => format!("{}_FILE", shouted(name)),
            LeaseFormat::Dir => format!("{}_DIR", shouted(name)),
        })?;
    }
    Ok(())
}

/// A name as environment variables are written.
pub(super) fn shouted(name: &str) -> String {
    let shout = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let shouted: String = name.chars().map(shout).collect();
    match shouted.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("_{shouted}"),
        false => shouted,
    }
}

/// Variables that decide what a program loads or runs are not for secrets.
fn variable_name(text: &str) -> Result<String, String> {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "`{}` is no name of an environment variable",
            text.escape_debug()
        ));
    }
    if text == "PATH" || text.starts_with("LD_") {
        return Err(format!("`{text}` decides what programs run"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_to_memory_unless_told_otherwise() {
        let to = |text: &str| text.parse::<SecretSpec>().unwrap().to;
        let memory = SecretTo::Memory {
            variable: "DB_MEDREC_PG_ADMIN_FILE".to_owned(),
        };
        assert_eq!(to("db/medrec-pg/admin"), memory);
        assert_eq!(to("db/medrec-pg/admin:fd"), memory);
        assert_eq!(
            to("token=TOKEN"),
            SecretTo::Environment {
                variable: "TOKEN".to_owned()
            }
        );
        assert_eq!(to("token:/run/t=1"), SecretTo::File("/run/t=1".into()));
    }

    #[test]
    fn malformed_secrets_are_refused() {
        for bad in [
            "",
            "=A",
            "t=",
            "t=1A",
            "t=LD_PRELOAD",
            "t=PATH",
            "t=A B",
            "t:",
            "t:file",
            "t:../f",
            "a b",
        ] {
            assert!(bad.parse::<SecretSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lease_has_a_name_a_credential_and_a_format() {
        let lease: LeaseSpec = "records=medrec/db:json".parse().unwrap();
        assert_eq!(
            (lease.name.as_str(), lease.credential.as_str()),
            ("records", "medrec/db")
        );
        assert_eq!(lease.format, LeaseFormat::Json);
        assert_eq!(
            "r=c".parse::<LeaseSpec>().unwrap().format,
            LeaseFormat::PgService
        );
        for bad in [
            "",
            "c",
            "=c",
            "r=",
            "1r=c",
            "r]=c",
            "r=c:env",
            "r=c:json:json",
        ] {
            assert!(bad.parse::<LeaseSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn two_options_never_write_to_the_same_place() {
        let secrets = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<SecretSpec>>()
        };
        let leases = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<LeaseSpec>>()
        };
        assert!(check_together(&secrets(&["a", "b=B"]), &leases(&["c=c", "d=d"])).is_ok());
        assert!(check_together(&secrets(&["a/b", "a-b"]), &[]).is_err());
        assert!(check_together(&secrets(&["a"]), &leases(&["a=x:json"])).is_err());
        assert!(check_together(&[], &leases(&["a=x:pgpass", "b=y:pgpass"])).is_err());
        assert!(check_together(&[], &leases(&["a=x", "a=y"])).is_err());
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!("500ms".parse(), Ok(Wait(Duration::from_millis(500))));
        assert_eq!("2m".parse(), Ok(Wait(Duration::from_secs(120))));
        for bad in ["", "5", "s", "-1s", "1h", "99999999999s"] {
            assert!(bad.parse::<Wait>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_options_never_panic(text: String) {
            let _ = text.parse::<SecretSpec>();
            let _ = text.parse::<LeaseSpec>();
            let _ = text.parse::<Wait>();
        }
    }
}
