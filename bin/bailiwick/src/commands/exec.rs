//! `bailiwick exec`: gets secrets and leases for the process that it becomes. Keys and passwords are made here and nowhere
//! else; the agent carries only what is sealed to them.

mod handover;
mod lease;
mod spec;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use accounts::scram::{Iterations, Password, Salt, verifier};
use clap::Args;
use rpc::{
    delivery_client::{DeliveryClient, DeliveryError},
    released::Trust,
};
use server::leases::LeasedConnection;
use tokio::time::Instant;

use self::{
    handover::{Handover, HandoverError},
    lease::{Login, hand_over},
    spec::{LeaseSpec, SecretSpec, Wait},
};
use super::{socket::SocketArgs, trust::TrustArgs};

/// Runs a command with secrets and database logins that this workload may have.
///
/// Secrets come in memory files: `--secret db/token` sets DB_TOKEN_FILE to a path below /proc/self/fd. Programs that close
/// descriptors of their children need `:FILE` or the format `dir`.
///
/// Examples:
///   bailiwick exec --secret db/token -- sh -c 'curl -H @"$DB_TOKEN_FILE" https://example'
///   bailiwick exec --lease records=medrec-db:pgservice -- psql
///
/// Exit codes: the command's own; 125 when something was not given, 126 when the command can't be run, 127 when it is not
/// found.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// A secret: in a memory file (also `:fd`), a file, or, if you must, an environment variable.
    #[arg(long = "secret", value_name = "NAME[=ENV|:fd|:FILE]")]
    secrets: Vec<SecretSpec>,
    /// A database login made for this process: pgservice (default), pgpass, url, json or dir.
    #[arg(long = "lease", value_name = "NAME=CREDENTIAL[:FORMAT]")]
    leases: Vec<LeaseSpec>,
    /// How long to wait for an agent or server that can't be reached.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    wait: Wait,
    #[command(flatten)]
    trust: TrustArgs,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Something was not given.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error("{0}")]
    Option(String),
    #[error("{what}")]
    Delivery {
        what: String,
        #[source]
        source: DeliveryError,
    },
    #[error("{what} can't be handed over")]
    Handover {
        what: String,
        #[source]
        source: HandoverError,
    },
    #[error("the lease `{0}` came with a connection that is not understood")]
    Connection(String),
    #[error("this machine gives no random bytes")]
    NoRandomness,
    #[error("the run-time can't be started")]
    Runtime(#[source] io::Error),
}

/// Becomes the command; comes back only when that failed.
pub(crate) fn run(args: &ExecArgs) -> ExitCode {
    let Some((program, arguments)) = args.command.split_first() else {
        return fail(NOT_GIVEN, "no command was given", None);
    };
    match prepare(args) {
        Ok(handover) => {
            let error = handover.become_command(program, arguments);
            let code = if error.kind() == io::ErrorKind::NotFound {
                NOT_FOUND
            } else {
                NOT_RUN
            };
            fail(
                code,
                &format!("`{}` can't be run: {error}", program.display()),
                None,
            )
        }
        Err(error) => {
            let hint = error.hint();
            fail(NOT_GIVEN, &chain(&error), hint)
        }
    }
}

fn prepare(args: &ExecArgs) -> Result<Handover, ExecError> {
    spec::check_together(&args.secrets, &args.leases).map_err(ExecError::Option)?;
    let socket = args.socket.path().map_err(ExecError::Option)?;
    let trust = args.trust.trust().map_err(ExecError::Option)?;
    let mut handover = Handover::default();
    if args.secrets.is_empty() && args.leases.is_empty() {
        return Ok(handover);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ExecError::Runtime)?;
    runtime.block_on(async {
        let desk = Desk {
            socket,
            trust,
            deadline: Instant::now() + args.wait.0,
        };
        for secret in &args.secrets {
            desk.secret(secret, &mut handover).await?;
        }
        let mut logins = Vec::new();
        for lease in &args.leases {
            logins.push(desk.lease(lease).await?);
        }
        hand_over(&logins, &mut handover).map_err(|source| ExecError::Handover {
            what: "the lease".to_owned(),
            source,
        })
    })?;
    Ok(handover)
}

/// Where to ask, whom to believe, until when.
struct Desk {
    socket: PathBuf,
    trust: Trust,
    deadline: Instant,
}

impl Desk {
    async fn secret(&self, spec: &SecretSpec, handover: &mut Handover) -> Result<(), ExecError> {
        let what = || format!("the secret `{}`", spec.name);
        let value = self
            .patiently(async |client| client.read(&spec.name).await)
            .await
            .map_err(|source| ExecError::Delivery {
                what: what(),
                source,
            })?;
        handover
            .secret(spec, &value)
            .map_err(|source| ExecError::Handover {
                what: what(),
                source,
            })
    }

    async fn lease(&self, spec: &LeaseSpec) -> Result<Login, ExecError> {
        let mut random = zeroize::Zeroizing::new([0; 48]);
        aws_lc_rs::rand::fill(random.as_mut_slice()).map_err(|_| ExecError::NoRandomness)?;
        let (seed, salt) = random
            .split_first_chunk::<32>()
            .ok_or(ExecError::NoRandomness)?;
        let salt: [u8; 16] = salt.try_into().map_err(|_| ExecError::NoRandomness)?;
        let password = Password::from_random(seed);
        let proof = verifier(&password, Salt::from_random(salt), Iterations::DEFAULT).expose_text();
        let connection = self
            .patiently(async |client| client.lease(&spec.credential, &proof).await)
            .await
            .map_err(|source| ExecError::Delivery {
                what: format!("the lease `{}`", spec.name),
                source,
            })?;
        let connection: LeasedConnection = jose::strict_json::from_slice(&connection)
            .map_err(|_| ExecError::Connection(spec.name.clone()))?;
        Ok(Login {
            name: spec.name.clone(),
            format: spec.format,
            connection,
            password,
        })
    }

    /// Asks until an answer comes that is one, or the time is over.
    async fn patiently<T>(
        &self,
        mut ask: impl AsyncFnMut(&mut DeliveryClient) -> Result<T, DeliveryError>,
    ) -> Result<T, DeliveryError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let answer = match DeliveryClient::connect(&self.socket, self.trust.clone()).await {
                Ok(mut client) => ask(&mut client).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if error.is_passing() && Instant::now() + pause < self.deadline => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                answer => return answer,
            }
        }
    }
}

impl ExecError {
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Delivery { source, .. } => hint(source),
            _ => None,
        }
    }
}

/// What may help after an agent's refusal; `svid` says the same.
pub(super) fn hint(error: &DeliveryError) -> Option<&'static str> {
    use rpc::released::Untrusted;
    Some(match error {
        DeliveryError::Denied { .. } => {
            "the denial is on record: the data owner sees with `bailiwick policy explain` which rule is missing"
        }
        DeliveryError::NoAgent { .. } => {
            "is the agent's socket mounted into this container? `--socket` says where"
        }
        DeliveryError::Untrusted(Untrusted::Lab) => "answers of a lab are used only with `--lab`",
        DeliveryError::Untrusted(Untrusted::OtherLedger { .. }) => {
            "compare `--ledger-key` with `bailiwick status`"
        }
        DeliveryError::Unavailable(_) => "`--wait` says how long to try",
        _ => return None,
    })
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}

fn fail(code: u8, said: &str, hint: Option<&str>) -> ExitCode {
    let hint = hint
        .map(|hint| format!("hint: {hint}\n"))
        .unwrap_or_default();
    let _ = write!(io::stderr(), "error: {said}\n{hint}");
    ExitCode::from(code)
}

const NOT_GIVEN: u8 = 125;
const NOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
