//! Arguments that several commands share, and how their answers are written.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use images::{Keys, Recipients};
use serde::Serialize;

use super::keys::read_keys;
use super::recipients::read_recipients;
use crate::output::{Format, write_out};

/// Who may open the image.
#[derive(Debug, Args)]
pub(super) struct RecipientArgs {
    /// Who may open it: `jwe:PUBLIC-KEY-FILE`, `pkcs7:CERTIFICATE-FILE`, `coco:keyid=URI::keypath=FILE`,
    /// `bailiwick:IMAGE-SET` or `provider:NAME[:ARGUMENTS]`. Can be given several times.
    #[arg(long = "recipient", aliases = ["to", "encryption-key"])]
    pub(super) recipients: Vec<String>,
    /// Signed key documents of the image sets, as `bailiwick image key` fetches them.
    #[arg(long = "key-document")]
    key_documents: Vec<PathBuf>,
    /// Fingerprint of the trust domain's root, as `bailiwick server init` printed it.
    #[arg(long)]
    root_pin: Option<custody::RootPin>,
    /// The ledger's key, or a file with it: key documents must show that their key was announced there.
    #[arg(long, value_name = "KEY|FILE")]
    ledger_key: Option<String>,
}

impl RecipientArgs {
    pub(super) fn read(&self) -> anyhow::Result<Recipients> {
        let ledger = self.ledger_key.as_deref();
        let ledger = ledger.map(crate::connection::read_ledger_key).transpose();
        let ledger = ledger.map_err(|error| anyhow::anyhow!("{error}"))?;
        read_recipients(
            &self.recipients,
            &self.key_documents,
            self.root_pin,
            ledger.as_ref(),
        )
    }
}

/// The keys at hand.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// Private key file. Can be given several times. Where its password is can follow: `:file=PATH`, `:fd=N`, `:env=NAME`
    /// or `:pass=PASSWORD`; without, it is asked for.
    #[arg(long = "key", alias = "decryption-key", value_name = "FILE[:PASSWORD]")]
    keys: Vec<OsString>,
}

impl KeyArgs {
    pub(super) fn read(&self) -> anyhow::Result<Keys> {
        read_keys(&self.keys)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// How the answer is written.
#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Format,
}

impl OutputArgs {
    /// Writes the answer to stdout.
    pub(super) fn print<T: Serialize>(
        &self,
        data: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let written = match self.output {
            Format::Text => write_out(&text(data)),
            Format::Json => write_out(&serde_json::to_string_pretty(data)?),
        };
        written.map_err(anyhow::Error::from)
    }
}
