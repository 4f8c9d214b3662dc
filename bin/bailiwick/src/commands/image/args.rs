//! Arguments that several commands share, and how their answers are written.

use std::{ffi::OsString, path::PathBuf, str::FromStr};

use clap::Args;
use images::{Keys, Recipients, ServiceOpener, UnpackedLimit};
use oci_crypt::PacketOpener;
use serde::Serialize;

use super::gpg::{Gpg, GpgOpener};
use super::keys::read_keys;
use super::providers;
use super::recipients::read_recipients;
use crate::advice::Advice;
use crate::output::{Format, write_out};

/// Who may open the image.
#[derive(Debug, Args)]
pub(super) struct RecipientArgs {
    /// Who may open it: `jwe:PUBLIC-KEY-FILE`, `pkcs7:CERTIFICATE-FILE`, `pkcs11:PUBLIC-KEY-FILE`, `pkcs11:KEY.yaml`, `pgp:FILE`,
    /// `pgp:NAME` (a name, e-mail address or fingerprint that GnuPG knows), `coco:keyid=URI::keypath=FILE`,
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
    /// Reads every recipient; `gpg` knows the names of those who are `pgp:NAME`.
    pub(super) fn read(&self, gpg: &Gpg) -> anyhow::Result<Recipients> {
        let ledger = self.ledger_key.as_deref();
        let ledger = ledger.map(crate::connection::read_ledger_key).transpose();
        let ledger = ledger.map_err(|error| anyhow::anyhow!("{error}"))?;
        read_recipients(
            &self.recipients,
            gpg,
            &self.key_documents,
            self.root_pin,
            ledger.as_ref(),
        )
    }
}

/// The keys at hand.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// What opens the image: a private key file, with where its password is behind it (`:file=PATH`, `:fd=N`, `:env=NAME` or
    /// `:pass=PASSWORD`; without, it is asked for), OpenPGP rings among them; the YAML of a key in a hardware module, with where
    /// its PIN is behind it likewise; the certificate of such a key; a broker's key (`coco:keyid=URI::keypath=FILE`); GnuPG
    /// (`gpg:`), which asks its agent or card; or a key provider and what to tell it (`provider:NAME:ARGUMENTS`). Providers
    /// that are configured here are asked in any case. Can be given several times.
    #[arg(long = "key", alias = "decryption-key", value_name = "FILE[:PASSWORD]")]
    keys: Vec<OsString>,
    /// Certificate of a private key, as ctr-enc takes it: `pkcs7:FILE` means the same as `--key FILE`.
    #[arg(long = "dec-recipient", value_name = "pkcs7:FILE", hide = true)]
    certificates: Vec<String>,
    /// Where GnuPG's keys are: public keys for `--recipient pgp:NAME`, and secret keys, which GnuPG then opens packets with.
    /// `--key gpg:` asks it with the keys of its usual directory.
    #[arg(long, value_name = "DIR")]
    gpg_homedir: Option<PathBuf>,
    /// Which GnuPG, as ctr-enc takes it; both keep their keys where the one here finds them.
    #[arg(long = "gpg-version", value_parser = ["v1", "v2"], hide = true)]
    _gpg_version: Option<String>,
}

/// All that can open packets: the one place where keys become openers.
pub(super) struct Keyring {
    keys: Keys,
    services: ServiceOpener,
    gpg: Option<GpgOpener>,
    named: bool,
}

impl KeyArgs {
    /// Reads every key, and finds every key provider.
    pub(super) fn read(&self) -> anyhow::Result<Keyring> {
        let mut named = self.keys.clone();
        for certificate in &self.certificates {
            named.push(certificate_file(certificate)?.into());
        }
        let is_named = !named.is_empty() || self.gpg_homedir.is_some();
        let before = named.len();
        named.retain(|key| key != "gpg:");
        let asks_gpg = named.len() < before || self.gpg_homedir.is_some();
        let (services, files) = providers::openers(&named)?;
        Ok(Keyring {
            keys: read_keys(&files)?,
            services,
            gpg: asks_gpg.then(|| self.gpg().opener()),
            named: is_named,
        })
    }

    /// GnuPG with the keys that are meant.
    pub(super) fn gpg(&self) -> Gpg {
        Gpg::new(self.gpg_homedir.as_deref())
    }

    /// As [`KeyArgs::read`], for what can't be done without a key: `what` says what that is.
    pub(super) fn required(&self, what: &str) -> anyhow::Result<Keyring> {
        let keyring = self.read()?;
        if keyring.named || !keyring.services.is_empty() {
            return Ok(keyring);
        }
        let hint = "`--key FILE` names a private key that opens the image now; docs/how/key-providers.md shows how to \
                    configure a key provider";
        Err(Advice::usage(what, hint).error())
    }
}

impl Keyring {
    /// Those who try packets: first what is at hand, then who must be asked, and last who may have to ask a person.
    pub(super) fn openers(&self) -> Vec<&dyn PacketOpener> {
        let mut openers = self.keys.openers();
        openers.push(&self.services);
        openers.extend(self.gpg.iter().map(|gpg| gpg as &dyn PacketOpener));
        openers
    }

    /// As [`Keyring::openers`], and nobody where no key was named: commands that mean something without a key go on
    /// meaning it on machines that have a key provider configured.
    pub(super) fn named_openers(&self) -> Vec<&dyn PacketOpener> {
        match self.named {
            true => self.openers(),
            false => Vec::new(),
        }
    }
}

/// ctr-enc uses this flag for certificates alone.
fn certificate_file(named: &str) -> anyhow::Result<&str> {
    named.strip_prefix("pkcs7:").ok_or_else(|| {
        let hint = "write `--dec-recipient pkcs7:CERTIFICATE-FILE`, or name what opens the image with `--key`";
        Advice::usage(format!("`{named}` is no certificate"), hint).error()
    })
}

/// How far the check of contents goes.
#[derive(Debug, Args)]
pub(super) struct UnpackArgs {
    /// The size that a layer may have once it is unpacked, such as `40GiB`; by default 1 GiB or, where that is more, 200
    /// times its packed size.
    #[arg(long = "max-unpacked-size", value_name = "SIZE")]
    limit: Option<ByteSize>,
}

impl UnpackArgs {
    pub(super) fn limit(&self) -> UnpackedLimit {
        match self.limit {
            Some(ByteSize(bytes)) => UnpackedLimit::AtMost(bytes),
            None => UnpackedLimit::Usual,
        }
    }
}

/// A number of bytes: `1000`, `64MiB`, `40G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ByteSize(u64);

impl FromStr for ByteSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.find(|letter: char| !letter.is_ascii_digit());
        let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
        let power = match unit.strip_suffix("iB").unwrap_or(unit) {
            "" | "B" => 0,
            "K" => 1,
            "M" => 2,
            "G" => 3,
            "T" => 4,
            _ => return Err("write a number and `KiB`, `MiB`, `GiB` or `TiB`"),
        };
        let number: u64 = number.parse().map_err(|_| "it is no number of bytes")?;
        let bytes = number.checked_mul(1 << (10 * power));
        bytes.map(Self).ok_or("it is more than can be counted")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units_or_refused() {
        for (text, bytes) in [
            ("0", 0),
            ("12", 12),
            ("12B", 12),
            ("3KiB", 3072),
            ("2G", 2 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for wrong in [
            "",
            "G",
            "-1",
            "1.5G",
            "1 GiB",
            "1PiB",
            "99999999999TiB",
            "iB",
        ] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
