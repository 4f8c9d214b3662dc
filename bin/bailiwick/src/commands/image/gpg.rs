//! GnuPG of this machine: the public keys it keeps (`pgp:NAME`), and itself for secrets that only it has (`--key gpg:`), in
//! its agent or on a card.

mod program;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use images::{Kind, PortError};
use oci_crypt::{KeyPacket, Opening, PacketError, PacketOpener, PrivateOptions, pgp_recipients};
use zeroize::Zeroizing;

use self::program::{GpgError, Program, Said};
use crate::advice::Advice;
#[cfg(feature = "pgp")]
use crate::system::SystemClock;

/// GnuPG with the keys of one home directory.
#[derive(Clone)]
pub(super) struct Gpg(Program);

impl Gpg {
    /// GnuPG's own choice of a home directory (`$GNUPGHOME`, `~/.gnupg`), unless one is named.
    pub(super) fn new(homedir: Option<&Path>) -> Self {
        Self(Program {
            name: PathBuf::from("gpg"),
            homedir: homedir.map(Path::to_owned),
        })
    }

    /// Who is meant by `pgp:NAMED`: the key in a file, where there is such a file, or the key of this name in the ring.
    #[cfg(feature = "pgp")]
    pub(super) fn recipient(&self, named: &str) -> anyhow::Result<oci_crypt::PgpRecipient> {
        use anyhow::Context as _;
        use oci_crypt::PgpPublicRing;

        let now = u64::try_from(SystemClock.timestamp().as_seconds()).unwrap_or_default();
        if Path::new(named).is_file() {
            let file = std::fs::read(named).with_context(|| format!("can't read `{named}`"))?;
            let found = PgpPublicRing::parse(&file).and_then(|ring| ring.only(now));
            return found.map_err(|error| refused(named, error));
        }
        let exported = self.0.run(&["--export"], &[], EXPORT);
        let exported = exported.with_context(|| {
            let hint = format!(
                "install GnuPG, or give the key in a file: `gpg --export {named} > FILE`, then `--recipient pgp:FILE`"
            );
            Advice::usage(
                format!("`{named}` is no file, and GnuPG can't be asked for a key of this name"),
                hint,
            )
        })?;
        let keys = exported
            .well()
            .with_context(|| format!("GnuPG gives no key for `{named}`"))?;
        let found = match keys.is_empty() {
            true => Err(oci_crypt::PgpKeyError::NotFound),
            false => PgpPublicRing::parse(&keys).and_then(|ring| ring.find(named, now)),
        };
        found.map_err(|error| refused(named, error))
    }

    /// Nobody: this program knows no OpenPGP keys.
    #[cfg(not(feature = "pgp"))]
    pub(super) fn unknown(&self, named: &str) -> anyhow::Error {
        let message = format!("`pgp:{named}` is refused: this program was built without OpenPGP");
        Advice::usage(message, "use one that was built with the feature `pgp`").error()
    }

    /// Asks GnuPG to open packets.
    pub(super) fn opener(self) -> GpgOpener {
        GpgOpener {
            program: self.0,
            answers: Mutex::default(),
        }
    }
}

#[cfg(feature = "pgp")]
fn refused(named: &str, error: oci_crypt::PgpKeyError) -> anyhow::Error {
    use oci_crypt::PgpKeyError;

    let hint = match error {
        PgpKeyError::Several { .. } => {
            "write the fingerprint of the one you mean: `--recipient pgp:FINGERPRINT`, or a file with it alone"
        }
        PgpKeyError::NotFound => {
            "`gpg --list-keys` shows the names that there are: write all of the name or of the e-mail address"
        }
        _ => "`gpg --list-keys` shows what is wrong with a key",
    };
    let message = format!("`pgp:{named}` is refused");
    anyhow::Error::new(error).context(Advice::usage(message, hint))
}

/// Opens OpenPGP packets by `gpg --decrypt`. Each is asked about once: it may cost a person a password or a touch of a card.
pub(super) struct GpgOpener {
    program: Program,
    answers: Mutex<HashMap<Vec<u8>, Answer>>,
}

/// What GnuPG said to a packet.
enum Answer {
    Opened(Zeroizing<Vec<u8>>),
    NotOurs,
    Failed(GpgError),
}

impl PacketOpener for GpgOpener {
    fn open(&self, packet: &KeyPacket) -> Opening {
        let KeyPacket::Pgp(bytes) = packet else {
            return Opening::NotOurs;
        };
        // What can be altered unseen, and is no message at all, is refused here: GnuPG can be told to open it.
        if let Err(error) = pgp_recipients(bytes) {
            return Opening::Failed(error);
        }
        // Held while GnuPG works, so that two layers do not ask a person at the same time.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers
            .entry(bytes.clone())
            .or_insert_with(|| ask(&self.program, bytes));
        match answer {
            Answer::NotOurs => Opening::NotOurs,
            Answer::Opened(options) => match PrivateOptions::parse(options) {
                Ok(options) => Opening::Opened(options),
                Err(source) => Opening::Failed(PacketError::Options { source }),
            },
            Answer::Failed(error) => Opening::Failed(PacketError::Service {
                service: "gpg".to_owned(),
                source: Box::new(PortError::new(Kind::Failed, error.clone())),
            }),
        }
    }
}

fn ask(program: &Program, packet: &[u8]) -> Answer {
    let said = program.run(&["--status-fd", "2", "--decrypt"], packet, DECRYPT);
    match said {
        Err(error) => Answer::Failed(error),
        Ok(said) if said.has_no_key() => Answer::NotOurs,
        Ok(said) if !said.shows("DECRYPTION_OKAY") => Answer::Failed(said.error()),
        Ok(said) => match said.well() {
            Ok(options) => Answer::Opened(options),
            Err(error) => Answer::Failed(error),
        },
    }
}

impl Said {
    /// Whether the message is for keys that GnuPG does not have.
    fn has_no_key(&self) -> bool {
        let (meant, missing) = (self.count("ENC_TO"), self.count("NO_SECKEY"));
        !self.is_good && meant > 0 && meant == missing
    }

    fn shows(&self, status: &str) -> bool {
        self.count(status) > 0
    }
}

/// How much GnuPG may say, and how long it may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    output: usize,
    patience: Duration,
}

#[cfg(feature = "pgp")]
const EXPORT: Limits = Limits {
    output: 16 * 1024 * 1024,
    patience: Duration::from_secs(60),
};
/// A person may have to look for a card.
const DECRYPT: Limits = Limits {
    output: 256 * 1024,
    patience: Duration::from_secs(300),
};

#[cfg(test)]
mod tests;
