//! `bailiwick svid`: this workload's identity documents, as any SPIFFE client gets them.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
};

use clap::{Args, Subcommand};
use proto::spiffe::{X509svid, X509svidResponse};
use rpc::delivery_client::{DeliveryError, WorkloadClient};
use serde::Serialize;
use spiffe_id::{UnixTime, X509Bundle, split_der_chain, verify_x509_svid};
use tokio_stream::StreamExt;
use zeroize::Zeroizing;

use super::{
    exec::{chain, hint},
    socket::SocketArgs,
};
use crate::{output::Format, system::SystemClock};

/// This workload's identity documents.
#[derive(Debug, Args)]
pub(crate) struct SvidArgs {
    #[command(subcommand)]
    command: SvidCommand,
}

#[derive(Debug, Subcommand)]
enum SvidCommand {
    /// Prints the X.509-SVID's certificates; with `--write` saves them with the key.
    ///
    /// Example: bailiwick svid x509 --write /run/svid
    X509 {
        #[command(flatten)]
        socket: SocketArgs,
        /// Folder for svid.pem, svid_key.pem and bundle.pem.
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
        /// How the answer is written.
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Prints a JWT-SVID.
    ///
    /// Example: `bailiwick svid jwt --audience https://vault.example`
    Jwt {
        #[command(flatten)]
        socket: SocketArgs,
        /// Whom the token is for; may be given more than once.
        #[arg(long, required = true, value_name = "AUDIENCE")]
        audience: Vec<String>,
        /// How the answer is written.
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Follows the X.509-SVID: one line for each new one, and new files with `--write`.
    Watch {
        #[command(flatten)]
        socket: SocketArgs,
        /// Folder for svid.pem, svid_key.pem and bundle.pem.
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
        /// How each line is written; as JSON, one object in a line.
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
}

#[derive(Debug, thiserror::Error)]
enum SvidError {
    #[error("{0}")]
    Option(String),
    #[error("no identity was given")]
    Delivery(#[from] DeliveryError),
    #[error("the agent's answer has no identity that its own bundle verifies")]
    NotVerified,
    #[error("`{}` can't be written", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the output can't be written")]
    Output(#[source] io::Error),
    #[error("the answer has no JSON form")]
    Json(#[source] serde_json::Error),
    #[error("the run-time can't be started")]
    Runtime(#[source] io::Error),
}

/// Runs the command. Exit codes: 0, 1 failed, 2 options, 3 denied, 4 not verified, 5 unavailable.
pub(crate) fn run(args: &SvidArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = runtime
        .map_err(SvidError::Runtime)
        .and_then(|runtime| runtime.block_on(answer(&args.command)));
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    let (code, hint) = match &error {
        SvidError::Delivery(source) => (exit_code(source), hint(source)),
        SvidError::Option(_) => (2, None),
        SvidError::NotVerified => (4, None),
        _ => (1, None),
    };
    let hint = hint
        .map(|hint| format!("hint: {hint}\n"))
        .unwrap_or_default();
    let _ = write!(io::stderr(), "error: {}\n{hint}", chain(&error));
    ExitCode::from(code)
}

async fn answer(command: &SvidCommand) -> Result<(), SvidError> {
    match command {
        SvidCommand::Jwt {
            socket,
            audience,
            output,
        } => {
            let mut client = connect(socket).await?;
            let svids = client.jwt_svids(audience.clone()).await?;
            let tokens = svids.into_iter().map(|(id, token)| Token {
                spiffe_id: id.to_string(),
                token,
            });
            shown(*output, &tokens.collect::<Vec<_>>(), |tokens| {
                let lines = tokens.iter().map(|token| format!("{}\n", token.token));
                lines.collect()
            })
        }
        SvidCommand::X509 {
            socket,
            write,
            output,
        } => {
            let mut client = connect(socket).await?;
            let mut stream = pin!(client.x509_svids().await?);
            let response = stream.next().await.ok_or(SvidError::NotVerified)??;
            let documents = Documents::verified(response)?;
            if let Some(folder) = write {
                documents.write(folder)?;
            }
            let said = documents.shown(Some(&documents.certificates));
            shown(*output, &said, |said| match write {
                Some(_) => String::new(),
                None => said.certificates.unwrap_or_default().to_owned(),
            })
        }
        SvidCommand::Watch {
            socket,
            write,
            output,
        } => {
            let followed = follow(socket, write.as_deref(), *output).await;
            if let (Err(SvidError::Delivery(DeliveryError::Denied { .. })), Some(folder)) =
                (&followed, write)
            {
                withdraw(folder)?;
            }
            followed
        }
    }
}

async fn follow(
    socket: &SocketArgs,
    write: Option<&Path>,
    output: Format,
) -> Result<(), SvidError> {
    let mut client = connect(socket).await?;
    let mut stream = pin!(client.x509_svids().await?);
    while let Some(response) = stream.next().await {
        let documents = Documents::verified(response?)?;
        if let Some(folder) = write {
            documents.write(folder)?;
        }
        let line = match output {
            Format::Text => format!("{} until {}", documents.id, documents.not_after),
            Format::Json => {
                serde_json::to_string(&documents.shown(None)).map_err(SvidError::Json)?
            }
        };
        say(&line)?;
    }
    Ok(())
}

/// A JWT-SVID, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    spiffe_id: String,
    token: String,
}

/// An X.509-SVID, for programs; never its key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    spiffe_id: &'a str,
    not_after: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificates: Option<&'a str>,
}

fn shown<T: Serialize>(
    output: Format,
    data: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), SvidError> {
    let text = match output {
        Format::Text => text(data),
        Format::Json => serde_json::to_string_pretty(data).map_err(SvidError::Json)?,
    };
    match text.trim_end() {
        "" => Ok(()),
        text => say(text),
    }
}

/// Removes key and certificate: somebody had a hand inside, or the node is banned, and what was given is not left lying there.
fn withdraw(folder: &Path) -> Result<(), SvidError> {
    for name in ["svid_key.pem", "svid.pem"] {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(SvidError::Write { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

async fn connect(socket: &SocketArgs) -> Result<WorkloadClient, SvidError> {
    let path = socket.path().map_err(SvidError::Option)?;
    Ok(WorkloadClient::connect(&path).await?)
}

/// The first identity of an answer, verified, in PEM.
struct Documents {
    id: String,
    not_after: estate::Timestamp,
    certificates: String,
    key: Zeroizing<String>,
    bundle: String,
}

impl Documents {
    fn verified(response: X509svidResponse) -> Result<Self, SvidError> {
        let svid = response
            .svids
            .into_iter()
            .next()
            .ok_or(SvidError::NotVerified)?;
        let X509svid {
            spiffe_id,
            x509_svid,
            x509_svid_key,
            bundle,
            hint: _,
        } = svid;
        let key = Zeroizing::new(x509_svid_key);
        let id: spiffe_id::SpiffeId = spiffe_id.parse().map_err(|_| SvidError::NotVerified)?;
        let certificates = split_der_chain(&x509_svid).map_err(|_| SvidError::NotVerified)?;
        let roots = X509Bundle::from_der_chain(id.trust_domain(), &bundle)
            .map_err(|_| SvidError::NotVerified)?;
        let now = UnixTime::from_secs(
            SystemClock
                .timestamp()
                .as_seconds()
                .try_into()
                .unwrap_or_default(),
        );
        let verified =
            verify_x509_svid(&certificates, &[&roots], now).map_err(|_| SvidError::NotVerified)?;
        if *verified.id() != id {
            return Err(SvidError::NotVerified);
        }
        let not_after = i64::try_from(verified.not_after().as_secs()).unwrap_or(i64::MAX);
        Ok(Self {
            id: id.to_string(),
            not_after: estate::Timestamp::from_seconds(not_after),
            certificates: certificates
                .iter()
                .map(|der| pem("CERTIFICATE", der))
                .collect(),
            key: Zeroizing::new(pem("PRIVATE KEY", &key)),
            bundle: roots
                .authorities()
                .map(|der| pem("CERTIFICATE", der))
                .collect(),
        })
    }

    fn shown<'a>(&'a self, certificates: Option<&'a str>) -> Shown<'a> {
        Shown {
            spiffe_id: &self.id,
            not_after: self.not_after.to_string(),
            certificates,
        }
    }

    /// The certificate last: a reader that waits for it finds the key beside it.
    fn write(&self, folder: &Path) -> Result<(), SvidError> {
        replace(folder, "bundle.pem", self.bundle.as_bytes(), 0o644)?;
        replace(folder, "svid_key.pem", self.key.as_bytes(), 0o600)?;
        replace(folder, "svid.pem", self.certificates.as_bytes(), 0o644)
    }
}

fn replace(folder: &Path, name: &str, contents: &[u8], mode: u32) -> Result<(), SvidError> {
    let path = folder.join(name);
    let first = folder.join(format!(".{name}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&first)
        .and_then(|mut file| file.write_all(contents))
        .and_then(|()| fs::rename(&first, &path));
    written.map_err(|source| {
        let _ = fs::remove_file(&first);
        SvidError::Write { path, source }
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), config)
}

fn say(line: &str) -> Result<(), SvidError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(SvidError::Output)
}

fn exit_code(error: &DeliveryError) -> u8 {
    match error {
        DeliveryError::Denied { .. } => 3,
        DeliveryError::Untrusted(_) => 4,
        DeliveryError::NoAgent { .. } | DeliveryError::Unavailable(_) => 5,
        _ => 1,
    }
}
