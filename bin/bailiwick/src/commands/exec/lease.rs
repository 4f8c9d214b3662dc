//! A database login in the forms that programs read.

use accounts::scram::Password;
use serde::Serialize;
use server::leases::LeasedConnection;
use zeroize::Zeroizing;

use super::{
    handover::{Handover, HandoverError},
    spec::{LeaseFormat, shouted},
};

/// A lease with the password that only this process knows.
pub(super) struct Login {
    /// What the command calls it.
    pub(super) name: String,
    /// How it is handed over.
    pub(super) format: LeaseFormat,
    /// Where to connect.
    pub(super) connection: LeasedConnection,
    /// The password.
    pub(super) password: Password,
}

/// Hands all logins over; those for libpq's service file share one.
pub(super) fn hand_over(logins: &[Login], handover: &mut Handover) -> Result<(), HandoverError> {
    let mut services = Zeroizing::new(String::new());
    let mut last = None;
    for login in logins {
        login.check()?;
        match login.format {
            LeaseFormat::PgService => {
                let ca = handover.memory_file(login.connection.ca.as_bytes())?;
                services.push_str(&login.service(&ca));
                last = Some(match last {
                    None => Services::One(login.name.clone()),
                    Some(_) => Services::Several,
                });
            }
            LeaseFormat::PgPass => login.pgpass(handover)?,
            LeaseFormat::Url => {
                let ca = handover.memory_file(login.connection.ca.as_bytes())?;
                let path = handover.memory_file(login.url(&ca).as_bytes())?;
                handover.set(&format!("{}_URL_FILE", shouted(&login.name)), path);
            }
            LeaseFormat::Json => {
                let path = handover.memory_file(&login.json()?)?;
                handover.set(&format!("{}_FILE", shouted(&login.name)), path);
            }
            LeaseFormat::Dir => login.folder(handover)?,
        }
    }
    if let Some(default) = last {
        let path = handover.memory_file(services.as_bytes())?;
        handover.set("PGSERVICEFILE", path);
        if let Services::One(name) = default {
            handover.set("PGSERVICE", name);
        }
    }
    Ok(())
}

/// Which services the file has.
enum Services {
    One(String),
    Several,
}

impl Login {
    /// The forms below are lines: a part with a line break would be two.
    fn check(&self) -> Result<(), HandoverError> {
        let LeasedConnection {
            lease: _,
            user,
            host,
            port: _,
            database,
            ca,
            expires: _,
        } = &self.connection;
        for (part, value) in [("user", user), ("host", host), ("database", database)] {
            if value.is_empty() || value.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(HandoverError::Part(part));
            }
        }
        // Without it nobody could tell the database from an impostor.
        if !ca.contains("-----BEGIN CERTIFICATE-----") {
            return Err(HandoverError::Part("ca"));
        }
        Ok(())
    }

    fn service(&self, ca: &str) -> Zeroizing<String> {
        let LeasedConnection {
            user,
            host,
            port,
            database,
            ..
        } = &self.connection;
        let password = self.password.expose_password();
        Zeroizing::new(format!(
            "[{}]\nhost={host}\nport={port}\ndbname={database}\nuser={user}\npassword={password}\n\
             sslmode=verify-full\nsslrootcert={ca}\n\n",
            self.name
        ))
    }

    fn pgpass(&self, handover: &mut Handover) -> Result<(), HandoverError> {
        let LeasedConnection {
            user,
            host,
            port,
            database,
            ca,
            ..
        } = &self.connection;
        let escaped = |text: &str| text.replace('\\', r"\\").replace(':', r"\:");
        let password = self.password.expose_password();
        let line = Zeroizing::new(format!(
            "{}:{port}:{}:{}:{}\n",
            escaped(host),
            escaped(database),
            escaped(user),
            escaped(password)
        ));
        let path = handover.memory_file(line.as_bytes())?;
        let ca = handover.memory_file(ca.as_bytes())?;
        handover.set("PGPASSFILE", path);
        handover.set("PGHOST", host);
        handover.set("PGPORT", port.to_string());
        handover.set("PGDATABASE", database);
        handover.set("PGUSER", user);
        handover.set("PGSSLMODE", "verify-full");
        handover.set("PGSSLROOTCERT", ca);
        Ok(())
    }

    fn url(&self, ca: &str) -> Zeroizing<String> {
        let LeasedConnection {
            user,
            host,
            port,
            database,
            ..
        } = &self.connection;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        Zeroizing::new(format!(
            "postgresql://{}:{}@{host}:{port}/{}?sslmode=verify-full&sslrootcert={}",
            encoded(user).as_str(),
            encoded(self.password.expose_password()).as_str(),
            encoded(database).as_str(),
            encoded(ca).as_str()
        ))
    }

    fn json(&self) -> Result<Zeroizing<Vec<u8>>, HandoverError> {
        #[derive(Serialize)]
        struct WithPassword<'a> {
            #[serde(flatten)]
            connection: &'a LeasedConnection,
            password: &'a str,
        }
        let login = WithPassword {
            connection: &self.connection,
            password: self.password.expose_password(),
        };
        serde_json::to_vec(&login)
            .map(Zeroizing::new)
            .map_err(|_| HandoverError::Part("connection"))
    }

    fn folder(&self, handover: &mut Handover) -> Result<(), HandoverError> {
        let LeasedConnection {
            lease,
            user,
            host,
            port,
            database,
            ca,
            expires,
        } = &self.connection;
        let port = port.to_string();
        let folder = handover.memory_folder(&[
            ("lease", lease.as_bytes()),
            ("user", user.as_bytes()),
            ("password", self.password.expose_password().as_bytes()),
            ("host", host.as_bytes()),
            ("port", port.as_bytes()),
            ("database", database.as_bytes()),
            ("ca.pem", ca.as_bytes()),
            ("expires", expires.as_bytes()),
        ])?;
        handover.set(&format!("{}_DIR", shouted(&self.name)), folder);
        Ok(())
    }
}

/// Percent-encoding of everything that is not unreserved (RFC 3986).
fn encoded(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(3 * text.len()));
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into())
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn login(name: &str, format: LeaseFormat) -> Login {
        Login {
            name: name.to_owned(),
            format,
            connection: LeasedConnection {
                lease: "l1".to_owned(),
                user: "bw_1_medrec".to_owned(),
                host: "db.example".to_owned(),
                port: 5432,
                database: "records".to_owned(),
                ca: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
                expires: "2026-11-24T00:00:00Z".to_owned(),
            },
            password: Password::from_random(&[0xfb; 32]),
        }
    }

    fn read(handover: &Handover, variable: &str) -> String {
        fs::read_to_string(handover.variable(variable).unwrap()).unwrap()
    }

    #[test]
    fn services_share_a_file_and_verify_the_database() {
        let mut handover = Handover::default();
        hand_over(&[login("records", LeaseFormat::PgService)], &mut handover).unwrap();
        let file = read(&handover, "PGSERVICEFILE");
        let ca = file
            .lines()
            .find_map(|line| line.strip_prefix("sslrootcert="))
            .unwrap();
        assert!(
            fs::read_to_string(ca)
                .unwrap()
                .contains("BEGIN CERTIFICATE")
        );
        assert!(
            file.starts_with("[records]\nhost=db.example\n")
                && file.contains("\nsslmode=verify-full\n"),
            "{file}"
        );
        assert_eq!(handover.variable("PGSERVICE").unwrap(), "records");

        let mut handover = Handover::default();
        let two = [
            login("a", LeaseFormat::PgService),
            login("b", LeaseFormat::PgService),
        ];
        hand_over(&two, &mut handover).unwrap();
        assert!(read(&handover, "PGSERVICEFILE").contains("[b]\n"));
        assert!(handover.variable("PGSERVICE").is_none());
    }

    #[test]
    fn every_format_holds_the_login() {
        let password = login("x", LeaseFormat::Url)
            .password
            .expose_password()
            .to_owned();
        let mut handover = Handover::default();
        let all = [
            login("a", LeaseFormat::PgPass),
            login("b", LeaseFormat::Url),
            login("c", LeaseFormat::Json),
        ];
        hand_over(&all, &mut handover).unwrap();
        assert_eq!(
            read(&handover, "PGPASSFILE"),
            format!("db.example:5432:records:bw_1_medrec:{password}\n")
        );
        assert_eq!(handover.variable("PGSSLMODE").unwrap(), "verify-full");
        let url = read(&handover, "B_URL_FILE");
        assert!(url.starts_with(&format!(
            "postgresql://bw_1_medrec:{password}@db.example:5432/records?sslmode=verify-full&"
        )));
        let json: serde_json::Value = serde_json::from_str(&read(&handover, "C_FILE")).unwrap();
        assert_eq!(
            (json["password"].as_str(), json["port"].as_u64()),
            (Some(password.as_str()), Some(5432))
        );
    }

    #[test]
    fn a_connection_that_would_break_a_line_or_trust_anybody_is_refused() {
        let breaks: [fn(&mut LeasedConnection); 4] = [
            |connection| connection.host = "db\nhost=evil".to_owned(),
            |connection| connection.user = String::new(),
            |connection| connection.database = "a b".to_owned(),
            |connection| connection.ca = String::new(),
        ];
        for bend in breaks {
            let mut login = login("records", LeaseFormat::PgService);
            bend(&mut login.connection);
            let result = hand_over(&[login], &mut Handover::default());
            assert!(matches!(result, Err(HandoverError::Part(_))));
        }
    }
}
