//! What a TPM attests (`TPMS_ATTEST`): quotes of its PCRs, and that a key lives in it.

use crate::event_log::{EventLog, EventLogError, MeasuredBoot};
use crate::hash::HashAlgorithm;
use crate::pcr::{PcrError, PcrSelection, PcrValues};
use crate::public::{Name, PublicArea, UnfitKey};
use crate::signature::Signature;
use crate::wire::{ParseError, Reader};

/// What the verifier asked for.
#[derive(Debug, Clone, Copy)]
pub struct QuoteExpectation<'a> {
    /// The value that the TPM was asked to sign with its answer.
    pub qualifying_data: &'a [u8; 32],
    /// The registers that were asked for; a quote over others, fewer or more is refused.
    pub pcrs: &'a PcrSelection,
}

/// Why a quote or certification is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Fault: whoever made the attestation key.
    #[error("the signing key can't attest")]
    UnfitKey {
        /// What it lacks.
        #[source]
        source: UnfitKey,
    },
    /// Fault: whoever sent the bytes.
    #[error("the attestation can't be read")]
    Malformed {
        /// What is wrong with them.
        #[source]
        source: ParseError,
    },
    /// Fault: whoever sent the bytes; they were not made by a TPM, whoever signed them.
    #[error("the attestation does not start with the mark of a TPM")]
    NotFromTpm,
    /// Fault: whoever sent the bytes.
    #[error("the attestation is of type `{found:#06x}`, not of the one asked for")]
    OtherType {
        /// The type found.
        found: u16,
    },
    /// Fault: whoever sent the bytes; they were altered, or another key signed them.
    #[error("the attestation was not signed by this key")]
    BadSignature,
    /// Fault: whoever made the attestation key; its TPM blurs the reset counter for keys of other hierarchies.
    #[error("the attestation key is not a primary key of the endorsement hierarchy")]
    OtherHierarchy,
    /// Fault: whoever sent the bytes: an old attestation, or one made for somebody else.
    #[error("the attestation answers another challenge")]
    OtherChallenge,
    /// Fault: whoever asked the TPM.
    #[error("the quote covers `{found}`, not `{expected}`")]
    OtherSelection {
        /// What was quoted.
        found: PcrSelection,
        /// What was asked for.
        expected: PcrSelection,
    },
    /// Fault: whoever sent the bytes: the certified key is another one.
    #[error("the TPM certified the key `{found}`, not this one")]
    OtherSubject {
        /// The name in the certification, as hexadecimal digits.
        found: String,
    },
}

/// Why an event log or a set of values does not explain a quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// Fault: whoever sent the log.
    #[error("the event log can't be replayed")]
    Log {
        /// What is wrong with it.
        #[source]
        source: EventLogError,
    },
    /// Fault: whoever sent the log, or the platform.
    #[error("the event log does not explain the quote")]
    Pcr {
        /// What differs.
        #[source]
        source: PcrError,
    },
}

/// The TPM's clock at the moment of attesting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds of powered-on time since the TPM was last cleared.
    pub milliseconds: u64,
    /// Rises at every power cycle: a new count is a reboot.
    pub reset_count: u32,
    /// Rises at every resume from sleep.
    pub restart_count: u32,
    /// Whether the clock can't have been set back by a loss of power.
    pub safe: bool,
}

/// A verified quote. Made only by [`verify_quote`].
#[derive(Debug, PartialEq, Eq)]
pub struct Quote {
    clock: Clock,
    firmware_version: u64,
    pcrs: PcrSelection,
    pcr_digest: Vec<u8>,
    digest_algorithm: HashAlgorithm,
}

impl Quote {
    /// The TPM's clock and counters.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Rises at every power cycle: a new count is a reboot.
    #[must_use]
    pub const fn reset_count(&self) -> u32 {
        self.clock.reset_count
    }

    /// Rises at every resume from sleep.
    #[must_use]
    pub const fn restart_count(&self) -> u32 {
        self.clock.restart_count
    }

    /// The version of the TPM's firmware, in its vendor's numbering.
    #[must_use]
    pub const fn firmware_version(&self) -> u64 {
        self.firmware_version
    }

    /// What was quoted: exactly what was asked for.
    #[must_use]
    pub const fn pcrs(&self) -> &PcrSelection {
        &self.pcrs
    }

    /// The digest over the quoted registers.
    #[must_use]
    pub fn pcr_digest(&self) -> &[u8] {
        &self.pcr_digest
    }

    /// Demands that `values` are the quoted ones, and that something was measured into each of them.
    ///
    /// # Errors
    /// When they are of other registers, differ, or are initial values.
    pub fn prove_values(&self, values: &PcrValues) -> Result<(), PcrError> {
        if !values.are_of(&self.pcrs) {
            return Err(PcrError::OtherSelection {
                selection: self.pcrs.clone(),
            });
        }
        if values.digest(self.digest_algorithm) != self.pcr_digest {
            return Err(PcrError::Mismatch {
                selection: self.pcrs.clone(),
            });
        }
        values.require_measured()
    }

    /// Replays `log` and demands that it leads to exactly the quoted values.
    ///
    /// # Errors
    /// When it can't be replayed or leads elsewhere, or a quoted register was never measured into.
    pub fn prove_log(&self, log: &EventLog) -> Result<MeasuredBoot, BootError> {
        let boot = log
            .replay(&self.pcrs)
            .map_err(|source| BootError::Log { source })?;
        self.prove_values(boot.values())
            .map_err(|source| BootError::Pcr { source })?;
        Ok(boot)
    }
}

/// A verified certification: the subject lives in the TPM of the attestation key. Made only by [`verify_certify`].
#[derive(Debug, PartialEq, Eq)]
pub struct Certification {
    clock: Clock,
    subject: Name,
}

impl Certification {
    /// The TPM's clock and counters.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The name of the certified key.
    #[must_use]
    pub const fn subject(&self) -> &Name {
        &self.subject
    }
}

/// Verifies a quote (`TPMS_ATTEST` and `TPMT_SIGNATURE`, without outer sizes) by the attestation key `ak`.
///
/// The verifier must know already that `ak` lives in the TPM in question: by credential activation.
///
/// # Errors
/// Unless a TPM signed, with a fit key, exactly what was asked for.
pub fn verify_quote(
    ak: &PublicArea,
    attest: &[u8],
    signature: &[u8],
    expect: &QuoteExpectation<'_>,
) -> Result<Quote, QuoteError> {
    let (attested, digest_algorithm) = verify(ak, attest, signature, expect.qualifying_data)?;
    let Attested {
        body,
        clock,
        firmware_version,
        ..
    } = attested;
    let (pcrs, pcr_digest) = match body {
        Body::Quote { pcrs, pcr_digest } => (pcrs, pcr_digest),
        Body::Certify { .. } => {
            return Err(QuoteError::OtherType {
                found: TYPE_CERTIFY,
            });
        }
    };
    if pcrs != *expect.pcrs {
        return Err(QuoteError::OtherSelection {
            found: pcrs,
            expected: expect.pcrs.clone(),
        });
    }
    if pcr_digest.len() != digest_algorithm.size() {
        return Err(QuoteError::Malformed {
            source: ParseError::Malformed { what: "PCR digest" },
        });
    }
    Ok(Quote {
        clock,
        firmware_version,
        pcrs,
        pcr_digest,
        digest_algorithm,
    })
}

/// Verifies that the TPM of `ak` certified the key `subject` (`TPM2_Certify`). What `subject` may be used for is
/// another question: see [`PublicArea::require_node_key`].
///
/// # Errors
/// Unless a TPM signed, with a fit key, the name of `subject` and the qualifying data.
pub fn verify_certify(
    ak: &PublicArea,
    attest: &[u8],
    signature: &[u8],
    subject: &PublicArea,
    qualifying_data: &[u8; 32],
) -> Result<Certification, QuoteError> {
    let (attested, _) = verify(ak, attest, signature, qualifying_data)?;
    let name = match attested.body {
        Body::Certify { name } => name,
        Body::Quote { .. } => return Err(QuoteError::OtherType { found: TYPE_QUOTE }),
    };
    // The name is recomputed from the public area: whoever sent the area can't have changed a bit of it.
    let subject = subject.name();
    match name == subject.as_bytes() {
        true => Ok(Certification {
            clock: attested.clock,
            subject,
        }),
        false => Err(QuoteError::OtherSubject {
            found: hex::encode(name),
        }),
    }
}

/// What both kinds of attestation must show.
fn verify(
    ak: &PublicArea,
    attest: &[u8],
    signature: &[u8],
    qualifying_data: &[u8; 32],
) -> Result<(Attested, HashAlgorithm), QuoteError> {
    ak.require_ak()
        .map_err(|source| QuoteError::UnfitKey { source })?;
    let malformed = |source| QuoteError::Malformed { source };
    // A restricted key signs outside data too, unless it starts with this mark: so it is looked at first.
    if !attest.starts_with(&TPM_GENERATED) {
        return Err(QuoteError::NotFromTpm);
    }
    let hash = Signature::parse(signature)
        .map_err(malformed)?
        .verify(ak, attest)
        .ok_or(QuoteError::BadSignature)?;
    let attested = Attested::parse(attest).map_err(malformed)?;
    if attested.qualified_signer != ak.name().qualified_in_endorsement().as_bytes() {
        return Err(QuoteError::OtherHierarchy);
    }
    if attested.extra_data != qualifying_data {
        return Err(QuoteError::OtherChallenge);
    }
    Ok((attested, hash))
}

/// A `TPMS_ATTEST` as it was read, not verified.
#[derive(Debug)]
struct Attested {
    qualified_signer: Vec<u8>,
    extra_data: Vec<u8>,
    clock: Clock,
    firmware_version: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Quote {
        pcrs: PcrSelection,
        pcr_digest: Vec<u8>,
    },
    Certify {
        name: Vec<u8>,
    },
}

impl Attested {
    fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        if reader.array("attestation")? != TPM_GENERATED {
            return Err(ParseError::Malformed {
                what: "attestation",
            });
        }
        let kind = reader.u16("attestation type")?;
        let qualified_signer = reader.sized(MAX_NAME, "qualified signer")?.to_vec();
        let extra_data = reader.sized(64, "qualifying data")?.to_vec();
        let clock = Clock {
            milliseconds: reader.u64("clock")?,
            reset_count: reader.u32("clock")?,
            restart_count: reader.u32("clock")?,
            safe: match reader.u8("clock")? {
                0 => false,
                1 => true,
                other => {
                    return Err(ParseError::Unsupported {
                        what: "clock",
                        value: other.into(),
                    });
                }
            },
        };
        let firmware_version = reader.u64("firmware version")?;
        let body = match kind {
            TYPE_QUOTE => Body::Quote {
                pcrs: PcrSelection::read(&mut reader)?,
                pcr_digest: reader.sized(64, "PCR digest")?.to_vec(),
            },
            TYPE_CERTIFY => {
                let name = reader.sized(MAX_NAME, "certified name")?.to_vec();
                reader.sized(MAX_NAME, "qualified name")?;
                Body::Certify { name }
            }
            other => {
                return Err(ParseError::Unsupported {
                    what: "attestation type",
                    value: other.into(),
                });
            }
        };
        reader.finish("attestation")?;
        Ok(Self {
            qualified_signer,
            extra_data,
            clock,
            firmware_version,
            body,
        })
    }
}

/// `TPM_GENERATED_VALUE`: "\xffTCG".
const TPM_GENERATED: [u8; 4] = [0xff, b'T', b'C', b'G'];
const TYPE_CERTIFY: u16 = 0x8017;
const TYPE_QUOTE: u16 = 0x8018;
/// Two bytes of algorithm and the largest digest.
const MAX_NAME: usize = 66;
