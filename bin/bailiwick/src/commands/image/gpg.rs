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
use oci_crypt::{
    KeyPacket, Opening, PacketError, PacketOpener, PgpHolder, PrivateOptions, pgp_recipients,
};
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
        self.recipient_in(Path::new(""), named)
    }

    #[cfg(feature = "pgp")]
    fn recipient_in(&self, folder: &Path, named: &str) -> anyhow::Result<oci_crypt::PgpRecipient> {
        use anyhow::Context as _;
        use oci_crypt::PgpPublicRing;

        let now = u64::try_from(SystemClock.timestamp().as_seconds()).unwrap_or_default();
        let path = folder.join(named);
        if path.is_file() {
            let file = std::fs::read(path).with_context(|| format!("can't read `{named}`"))?;
            let found = PgpPublicRing::parse(&file).and_then(|ring| ring.only(now));
            // The attack avoided: whoever fills this folder calls a file like somebody whose key GnuPG has.
            if !named.contains('/') && self.knows(named, now) {
                return Err(Advice::usage(
                    format!("`pgp:{named}` is a file in this folder, and GnuPG has a key of this name, too"),
                    format!("write `pgp:./{named}` for the file, or the fingerprint of GnuPG's key"),
                )
                .error());
            }
            return found.map_err(|error| refused(named, error));
        }
        let found = self.in_ring(named, now).with_context(|| {
            let hint = format!(
                "install GnuPG, or give the key in a file: `gpg --export {named} > FILE`, then `--recipient pgp:FILE`"
            );
            Advice::usage(
                format!("`{named}` is no file, and GnuPG can't be asked for a key of this name"),
                hint,
            )
        })?;
        found.map_err(|error| refused(named, error))
    }

    #[cfg(feature = "pgp")]
    fn knows(&self, named: &str, now: u64) -> bool {
        let found = self.in_ring(named, now);
        found.is_ok_and(|found| !matches!(found, Err(oci_crypt::PgpKeyError::NotFound)))
    }

    /// The key of this name in GnuPG's ring, as far as GnuPG can be asked.
    #[cfg(feature = "pgp")]
    fn in_ring(
        &self,
        named: &str,
        now: u64,
    ) -> Result<Result<oci_crypt::PgpRecipient, oci_crypt::PgpKeyError>, GpgError> {
        let keys = self.0.run(&["--export"], &[], EXPORT)?.well()?;
        Ok(match keys.is_empty() {
            true => Err(oci_crypt::PgpKeyError::NotFound),
            false => oci_crypt::PgpPublicRing::parse(&keys).and_then(|ring| ring.find(named, now)),
        })
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
        match pgp_recipients(bytes) {
            Err(error) => return Opening::Failed(error),
            // For a password GnuPG would ask its user, as often as somebody writes such packets; no tool encrypts layers so.
            Ok(holders) if holders.contains(&PgpHolder::Password) => return Opening::NotOurs,
            Ok(_) => {}
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
                source: Box::new(PortError::new(error.kind(), error.clone())),
            }),
        }
    }
}

fn ask(program: &Program, packet: &[u8]) -> Answer {
    // Whoever made the packet may have signed it with a key that GnuPG would look for on servers: nothing leaves this machine.
    let words = ["--no-auto-key-retrieve", "--status-fd", "2", "--decrypt"];
    let said = program.run(&words, packet, DECRYPT);
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

impl GpgError {
    /// What it means to whoever called.
    const fn kind(&self) -> Kind {
        match self {
            Self::TooLate { .. } => Kind::Unavailable,
            Self::NotStarted { .. } | Self::Broken | Self::TooMuch { .. } | Self::Failed { .. } => {
                Kind::Failed
            }
        }
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
