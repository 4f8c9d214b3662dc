//! `bailiwick image encrypt|decrypt|inspect|verify|sign|rekey|rebind|recipients|key|promote|retire`.

mod args;
mod decrypt;
mod encrypt;
mod gpg;
mod inspect;
mod keys;
mod progress;
mod promote;
mod providers;
mod recipients;
mod recipients_cmd;
mod rekey;
mod same_place;
mod sign;
mod signed_by;
mod tokens;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use registry::{Helpers, Host, Loopback, Options, auth_file_candidates};

pub(crate) use self::keys::read_keys;
use self::progress::progress;
#[cfg(feature = "pkcs11")]
pub(crate) use self::tokens::add_unasked as add_token_key;

/// Encrypts, decrypts and looks at container images.
///
/// For holders of private keys (`jwe:`), of certificates (`pkcs7:`), of OpenPGP keys (`pgp:`) and of keys in hardware modules
/// (`pkcs11:`), for guests of Confidential Containers (`coco:`), for whom a key provider decides (`provider:`), and for
/// workloads by policy (`bailiwick:`).
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Encrypt(Box<encrypt::EncryptArgs>),
    Decrypt(decrypt::DecryptArgs),
    /// Fetches the signed key document of an image set, to encrypt with.
    Key(super::image_key::ImageKeyArgs),
    Recipients(recipients_cmd::RecipientsArgs),
    Rekey(rekey::RekeyArgs),
    Rebind(rekey::RebindArgs),
    Verify(verify::VerifyArgs),
    Sign(sign::SignImageArgs),
    Promote(promote::PromoteArgs),
    Retire(promote::RetireArgs),
    Inspect(inspect::InspectArgs),
}

/// How registries are reached.
#[derive(Debug, Args)]
struct RegistryArgs {
    /// Files with credentials; asked before `$REGISTRY_AUTH_FILE` and those of docker, podman and skopeo.
    #[arg(long = "authfile")]
    auth_files: Vec<PathBuf>,
    /// Certificate authorities (PEM) that are trusted beside the system's. Given one, registries on this machine are spoken to
    /// by TLS, too.
    #[arg(long = "registry-ca")]
    authorities: Vec<PathBuf>,
    /// Registries that are spoken to without TLS; those on this machine are anyway. Can be given several times.
    #[arg(long, value_name = "HOST[:PORT]")]
    plain_http: Vec<Host>,
}

impl RegistryArgs {
    fn options(&self) -> Options {
        let mut auth_files = self.auth_files.clone();
        let folder = |name| std::env::var_os(name).map(PathBuf::from);
        auth_files.extend(auth_file_candidates(
            folder("REGISTRY_AUTH_FILE").as_deref(),
            folder("XDG_RUNTIME_DIR").as_deref(),
            folder("HOME").as_deref(),
        ));
        Options {
            auth_files,
            authorities: self.authorities.clone(),
            loopback: match self.authorities.is_empty() {
                true => Loopback::PlainHttp,
                false => Loopback::Tls,
            },
            helpers: Helpers {
                directories: std::env::var_os("PATH")
                    .map(|path| std::env::split_paths(&path).collect())
                    .unwrap_or_default(),
                ..Helpers::default()
            },
            plain_http: self.plain_http.clone(),
            ..Options::default()
        }
    }
}

/// Runs the command. Synchronous: the pipeline has its own threads.
pub(crate) fn run(args: ImageArgs) -> ExitCode {
    match args.command {
        ImageCommand::Key(args) => crate::asked(super::image_key::run(args)),
        ImageCommand::Encrypt(args) => crate::ended(encrypt::run(&args)),
        ImageCommand::Recipients(args) => crate::ended(recipients_cmd::run(args)),
        ImageCommand::Rekey(args) => crate::ended(rekey::rekey(&args)),
        ImageCommand::Rebind(args) => crate::ended(rekey::rebind(&args)),
        ImageCommand::Verify(args) => crate::ended(verify::run(&args)),
        ImageCommand::Sign(args) => crate::ended(sign::run(&args)),
        ImageCommand::Promote(args) => promote::promote(args),
        ImageCommand::Retire(args) => promote::retire(args),
        ImageCommand::Decrypt(args) => crate::ended(decrypt::run(&args)),
        ImageCommand::Inspect(args) => crate::ended(inspect::run(&args)),
    }
}

fn layers(count: usize) -> String {
    match count {
        1 => "1 layer".to_owned(),
        count => format!("{count} layers"),
    }
}
