//! `bailiwick person certificate`: a key made here, certified by the server.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use clap::{Args, Subcommand};
use estate::PersonId;
use rcgen::{KeyPair, PublicKeyData};
use web::{
    Call,
    client::Question,
    wire::{Answer, Chain, KeyToCertify},
};

use crate::{
    connection::ConnectionArgs,
    output::{CommandError, Exit, lines},
};

/// Makes what people need to ask the server over TLS.
#[derive(Debug, Args)]
pub(crate) struct PersonArgs {
    #[command(subcommand)]
    command: PersonCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum PersonCommand {
    /// Makes a key, and has the server certify it for a person of the estate. The key stays here.
    #[command(after_help = "Example: bailiwick person certificate ana@hospital.example --out ana")]
    Certificate {
        /// The person.
        id: PersonId,
        /// Where they go: `OUT.key` and `OUT.pem`.
        #[arg(long, value_name = "OUT")]
        out: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn run(args: PersonArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    let PersonCommand::Certificate { id, out } = args.command;
    let key = KeyPair::generate()
        .map_err(|error| CommandError::failed("no key could be made").caused_by(&error))?;
    let body = KeyToCertify {
        spki: B64.encode(key.subject_public_key_info()),
    };
    let path = [("id", id.as_str())];
    let question = Question {
        path: &path,
        query: &[],
    };
    let answer: Answer<Chain> = context
        .client()?
        .send(Call::Certificate, question, &body)
        .await?;
    let mut certificates = String::new();
    for der in &answer.data.chain {
        let der = B64.decode(der).map_err(|error| {
            CommandError::failed("the answer is no certificate").caused_by(&error)
        })?;
        certificates.push_str(&pem::encode(&pem::Pem::new("CERTIFICATE", der)));
    }
    let (key_file, certificate_file) = (with(&out, "key"), with(&out, "pem"));
    write_new(&key_file, 0o600, &key.serialize_pem())?;
    write_new(&certificate_file, 0o644, &certificates)?;
    context.output.print(&answer.data, |_| {
        lines(&[
            ("person", id.to_string()),
            ("certificate", certificate_file.display().to_string()),
            ("key", key_file.display().to_string()),
        ])
    })?;
    Ok(Exit::Done)
}

fn with(out: &Path, ending: &str) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    PathBuf::from(name)
}

/// Replaces nothing: the old key may still be somebody's only one.
fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), CommandError> {
    let mut options = fs::OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        CommandError::failed(format!("`{}` can't be written", path.display())).caused_by(&error)
    })
}
