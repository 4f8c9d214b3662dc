//! `--sign KEY` and `bailiwick image sign`: an image statement over what encryption and recipients never change.

use std::{collections::BTreeSet, ffi::OsString, path::Path};

use anyhow::Context;
use clap::Args;
use dsse::SigningKey;
use estate::{Digest, Timestamp};
use images::Signing;
use jose::key_file;
use registry::{Reference, open_source, open_target};
use serde::Serialize;

use super::RegistryArgs;
use super::args::OutputArgs;
use super::keys::read_protected;
use crate::{advice::Advice, system::SystemClock};

/// What is stated of the images.
#[derive(Debug, Args)]
pub(super) struct StatementArgs {
    /// The statement's version: each must be greater than those before, so that `image verify --min-version` can refuse
    /// old images. Otherwise the time in milliseconds since 1970.
    #[arg(long, value_name = "NUMBER")]
    statement_version: Option<u64>,
    /// The statement counts for nothing before, such as `2026-07-01T00:00:00Z`. Otherwise from now on.
    #[arg(long, value_name = "TIME")]
    not_before: Option<Timestamp>,
    /// The statement counts for nothing from then on. Otherwise it has no end.
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
}

/// `image encrypt --sign`.
#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// Private key (PEM; P-256 or Ed25519) that states that this is the image: nothing is published without the
    /// statement. A password as for `--key`.
    #[arg(long, value_name = "FILE[:PASSWORD]")]
    sign: Option<OsString>,
    #[command(flatten)]
    statement: StatementArgs,
}

impl SignArgs {
    /// The key, read before anything is done.
    pub(super) fn read(&self) -> anyhow::Result<Option<SigningKey>> {
        let of_statement = &self.statement;
        let alone = of_statement.statement_version.is_some()
            || of_statement.not_before.is_some()
            || of_statement.expires.is_some();
        match &self.sign {
            Some(key) => read_signing_key(key).map(Some),
            None if alone => Err(Advice::usage(
                "there is no statement to say that of",
                "add `--sign KEY`, or leave it out",
            )
            .error()),
            None => Ok(None),
        }
    }

    pub(super) fn signing<'a>(&self, key: &'a SigningKey, target: &Reference) -> Signing<'a> {
        self.statement.signing(key, target)
    }
}

impl StatementArgs {
    fn signing<'a>(&self, key: &'a SigningKey, place: &Reference) -> Signing<'a> {
        let now = SystemClock.timestamp();
        let clock = u64::try_from(now.as_millis()).unwrap_or_default();
        Signing {
            key,
            name: Some(place.to_string()),
            version: self.statement_version.unwrap_or(clock),
            not_before: self.not_before.unwrap_or(now),
            expires: self.expires,
        }
    }
}

/// States that these are the images under a name, plain or encrypted, and puts the statement beside them.
///
/// Example: bailiwick image sign docker://registry.example/app:1 --key release.pem
#[derive(Debug, Args)]
pub(super) struct SignImageArgs {
    /// Where the images lie: `docker://HOST/NAME[:TAG]`, `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`.
    image: Reference,
    /// Private key (PEM; P-256 or Ed25519). A password as for `image decrypt --key`.
    #[arg(long, value_name = "FILE[:PASSWORD]")]
    key: OsString,
    #[command(flatten)]
    statement: StatementArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    registries: RegistryArgs,
}

/// What was signed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    digest: Digest,
    configs: BTreeSet<Digest>,
    version: u64,
}

/// Runs `image sign`.
pub(super) fn run(args: &SignImageArgs) -> anyhow::Result<()> {
    let key = read_signing_key(&args.key)?;
    let registries = args.registries.options();
    let from = open_source(&args.image, &registries)?;
    let to = open_target(&args.image, &registries)?;
    let signing = args.statement.signing(&key, &args.image);
    let signed = images::sign(from.as_ref(), to.as_ref(), &signing)?;
    let done = Done {
        digest: signed.digest,
        configs: signed.configs,
        version: signing.version,
    };
    args.output.print(&done, |done| {
        let configs = done.configs.iter();
        let signed = configs.map(|config| format!("{config}  version {}\n", done.version));
        signed.collect()
    })
}

/// Reads a private key that signs: as `image promote --key` takes it, or with a password.
fn read_signing_key(argument: &OsString) -> anyhow::Result<SigningKey> {
    let (path, file, password) = read_protected(argument)?;
    let hint = "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out release.pem` makes one";
    let refused = || Advice::usage(format!("`{}` is no key to sign with", path.display()), hint);
    if is_of_cosign(&file) {
        let hint = format!(
            "only cosign opens its keys: make one with openssl, and `cosign import-key-pair --key {}` lets cosign use it",
            Path::new("release.pem").display()
        );
        return Err(Advice::usage(refused().to_string(), hint).error());
    }
    let password = password.as_ref().map(|password| password.as_slice());
    let der = key_file::private_der(&file, password).with_context(refused)?;
    SigningKey::from_der(&der).with_context(refused)
}

fn is_of_cosign(file: &[u8]) -> bool {
    ["SIGSTORE", "COSIGN"].iter().any(|maker| {
        let label = format!("-----BEGIN ENCRYPTED {maker} PRIVATE KEY-----");
        file.windows(label.len())
            .any(|window| window == label.as_bytes())
    })
}
