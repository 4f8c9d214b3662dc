//! Which server a command asks, as whom, and what it trusts: options, and a file for those who do not want to repeat
//! them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use custody::RootPin;
use serde::Deserialize;
use tlog::VerifierKey;
use web::{Address, Client, client::Identity};

use crate::output::{CommandError, Format};

/// Which server, as whom, trusting what.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ConnectionArgs {
    /// The server: `unix:PATH` (root of its host) or `https://HOST:PORT`. Default: unix:/run/bailiwick/server.sock.
    #[arg(long, global = true, value_name = "ADDRESS")]
    server: Option<Address>,
    /// Your certificate (PEM) for `https`.
    #[arg(long, global = true, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, global = true, value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// The trust domain's root certificate (PEM) for `https`.
    #[arg(long, global = true, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Fingerprint of the root, as `server init` printed it: key documents must be signed by it.
    #[arg(long, global = true, value_name = "sha256:…")]
    root_pin: Option<RootPin>,
    /// The ledger's key, or a file with it: answers without a valid receipt are refused.
    #[arg(long, global = true, value_name = "KEY|FILE")]
    ledger_key: Option<String>,
    /// File with these options (TOML). Default: /etc/bailiwick/client.toml where there is one.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How data is written.
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Format,
}

/// `client.toml`: the same options, for those who do not want to repeat them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionFile {
    server: Option<String>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    root: Option<PathBuf>,
    root_pin: Option<String>,
    ledger_key: Option<String>,
}

/// What a command needs: where to ask and how to answer.
pub(crate) struct Context {
    /// How data is written.
    pub(crate) output: Format,
    /// Fingerprint of the root that key documents must be signed by.
    root_pin: Option<RootPin>,
    ledger_key: Option<VerifierKey>,
    server: Address,
    files: [Option<PathBuf>; 3],
}

impl ConnectionArgs {
    /// The options, completed by the file.
    ///
    /// # Errors
    /// [`CommandError`] when a file or value is not understood.
    pub(crate) fn context(self) -> Result<Context, CommandError> {
        let Self {
            server,
            client_cert,
            client_key,
            root,
            root_pin,
            ledger_key,
            config,
            output,
        } = self;
        let file = read_config(config.as_deref())?;
        let server = match (server, file.server) {
            (Some(server), _) => server,
            (None, Some(text)) => text.parse().map_err(|error| bad_value("server", &error))?,
            (None, None) => Address::Unix(PathBuf::from(DEFAULT_SOCKET)),
        };
        let root_pin = match (root_pin, file.root_pin) {
            (None, Some(text)) => Some(
                text.parse()
                    .map_err(|error| bad_value("root_pin", &error))?,
            ),
            (given, _) => given,
        };
        Ok(Context {
            output,
            root_pin,
            ledger_key: ledger_key
                .or(file.ledger_key)
                .as_deref()
                .map(read_ledger_key)
                .transpose()?,
            server,
            files: [
                client_cert.or(file.client_cert),
                client_key.or(file.client_key),
                root.or(file.root),
            ],
        })
    }
}

impl Context {
    /// A client for the server.
    ///
    /// # Errors
    /// [`CommandError`]
    pub(crate) fn client(&self) -> Result<Client, CommandError> {
        let [certificate, key, root] = &self.files;
        let read = |path: &Option<PathBuf>| path.as_deref().map(read_file).transpose();
        let identity = match (&self.server, read(root)?) {
            (Address::Https { .. }, Some(root)) => Some(Identity {
                root,
                certificate: read(certificate)?,
                key: read(key)?,
            }),
            _ => None,
        };
        Ok(Client::new(
            self.server.clone(),
            identity,
            self.ledger_key.clone(),
        )?)
    }

    /// The pin that key documents are checked with.
    ///
    /// # Errors
    /// A usage error without one.
    pub(crate) fn root_pin(&self) -> Result<RootPin, CommandError> {
        self.root_pin.ok_or_else(|| {
            CommandError::usage("a key document is believed only with the root's fingerprint")
                .hint("give `--root-pin sha256:…`, as `server init` printed it; ask somebody you trust, not the server")
        })
    }

    /// The ledger's key.
    ///
    /// # Errors
    /// A usage error without one.
    /// The ledger's key, where one was given.
    pub(crate) fn pinned_ledger(&self) -> Option<&VerifierKey> {
        self.ledger_key.as_ref()
    }

    /// The ledger's key, which the command can't do without.
    ///
    /// # Errors
    /// [`CommandError`]
    pub(crate) fn ledger_key(&self) -> Result<&VerifierKey, CommandError> {
        self.ledger_key.as_ref().ok_or_else(|| {
            CommandError::usage("a receipt proves something only with the ledger's key")
                .hint("give `--ledger-key KEY|FILE`, as `server init` printed it; ask somebody you trust, not the server")
        })
    }
}

fn read_config(given: Option<&Path>) -> Result<ConnectionFile, CommandError> {
    let path = given.unwrap_or(Path::new(DEFAULT_CONFIG));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if given.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok(ConnectionFile::default());
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    toml::from_str(&text).map_err(|error| {
        CommandError::usage(format!("`{}` is not understood", path.display())).caused_by(&error)
    })
}

/// The key itself, which has two plus signs, or a file with it.
pub(crate) fn read_ledger_key(text: &str) -> Result<VerifierKey, CommandError> {
    let key = if text.matches('+').count() >= 2 {
        text.to_owned()
    } else {
        fs::read_to_string(text).map_err(|error| unreadable(Path::new(text), &error))?
    };
    key.trim()
        .parse()
        .map_err(|error| bad_value("ledger key", &error))
}

fn read_file(path: &Path) -> Result<Vec<u8>, CommandError> {
    fs::read(path).map_err(|error| unreadable(path, &error))
}

fn bad_value(what: &str, error: &dyn std::error::Error) -> CommandError {
    CommandError::usage(format!("the {what} is not understood")).caused_by(error)
}

/// A file that can't be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::usage(format!("`{}` can't be read", path.display())).caused_by(error)
}

const DEFAULT_SOCKET: &str = "/run/bailiwick/server.sock";
const DEFAULT_CONFIG: &str = "/etc/bailiwick/client.toml";
