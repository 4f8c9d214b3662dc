//! Key packets: a layer's private options, wrapped for somebody.

use std::fmt;
use std::str::FromStr;

use crate::options::{OptionsError, PrivateOptions};

mod bailiwick;
mod coco;
mod jwe;
mod pgp;
mod pkcs11;
mod pkcs7;

#[cfg(feature = "pgp")]
pub use self::pgp::{
    MAX_PGP_RING_LEN, PgpKeyError, PgpOpener, PgpPublicRing, PgpRecipient, PgpSecretRing,
    PgpWrapper, is_pgp_key_file,
};
pub use self::pgp::{PgpHolder, PgpKeyId, PgpKeyIdError, pgp_recipients, pgp_without};
pub use bailiwick::{BailiwickOpener, BailiwickPacket, BailiwickWrapper, KeyId, KeyRecord};
pub use coco::{CocoKey, CocoKeyError, CocoOpener, CocoPacket, CocoVersion, CocoWrapper};
pub use jwe::{JweOpener, JweWrapper};
pub use pkcs7::{
    Certificate, CertificateError, IssuerAndSerial, MAX_CERTIFICATE_LEN, Pkcs7Opener, Pkcs7Wrapper,
    pkcs7_recipients,
};
pub use pkcs11::{
    OaepHash, Pkcs11Key, Pkcs11KeyError, Pkcs11Opener, Pkcs11Recipient, Pkcs11Wrapper, TokenKey,
    TokenKeyError, pkcs11_recipients,
};

/// How a packet is wrapped; the end of its annotation's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scheme(String);

impl Scheme {
    /// The scheme of ocicrypt's JWE packets.
    pub const JWE: &'static str = "jwe";
    /// The scheme of ocicrypt's OpenPGP packets.
    pub const PGP: &'static str = "pgp";
    /// The scheme of ocicrypt's PKCS#7 packets.
    pub const PKCS7: &'static str = "pkcs7";
    /// The scheme of ocicrypt's PKCS#11 packets.
    pub const PKCS11: &'static str = "pkcs11";
    /// The scheme under which guests of Confidential Containers look for their packets.
    pub const ATTESTATION_AGENT: &'static str = "provider.attestation-agent";
    /// The scheme of our own packets.
    pub const BAILIWICK: &'static str = "provider.bailiwick";

    /// The name, as it ends the annotation's.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Scheme {
    type Err = PacketError;

    fn from_str(name: &str) -> Result<Self, PacketError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_named = !name.is_empty() && name.len() <= 128 && name.bytes().all(is_plain);
        is_named
            .then(|| Self(name.to_owned()))
            .ok_or(PacketError::Scheme)
    }
}

/// One wrapped copy of a layer's private options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPacket {
    /// A JWE in JSON or compact form, for one or more recipients.
    Jwe(Vec<u8>),
    /// An OpenPGP message in binary form, for one or more recipients.
    Pgp(Vec<u8>),
    /// DER of a PKCS#7 EnvelopedData, for one or more recipients.
    Pkcs7(Vec<u8>),
    /// JSON with RSA-OAEP for one or more keys in hardware modules.
    Pkcs11(Vec<u8>),
    /// Ours.
    Bailiwick(BailiwickPacket),
    /// A scheme that is not read here, or that of a key provider: Confidential Containers' are among these. It is kept as
    /// it is.
    Foreign(Foreign),
}

/// A packet of a scheme that is not opened here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its scheme.
    pub scheme: Scheme,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl KeyPacket {
    /// Reads the bytes of one element of an annotation.
    pub fn parse(scheme: &Scheme, bytes: Vec<u8>) -> Result<Self, PacketError> {
        match scheme.as_str() {
            Scheme::JWE => Ok(Self::Jwe(bytes)),
            Scheme::PGP => Ok(Self::Pgp(bytes)),
            Scheme::PKCS7 => Ok(Self::Pkcs7(bytes)),
            Scheme::PKCS11 => Ok(Self::Pkcs11(bytes)),
            Scheme::BAILIWICK => BailiwickPacket::parse(&bytes).map(Self::Bailiwick),
            _ => Ok(Self::Foreign(Foreign {
                scheme: scheme.clone(),
                bytes,
            })),
        }
    }

    /// The bytes of one element of an annotation.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Jwe(bytes) | Self::Pgp(bytes) | Self::Pkcs7(bytes) | Self::Pkcs11(bytes) => {
                bytes.clone()
            }
            Self::Bailiwick(packet) => packet.to_bytes(),
            Self::Foreign(foreign) => foreign.bytes.clone(),
        }
    }

    /// The packet's scheme.
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Jwe(_) => Scheme(Scheme::JWE.to_owned()),
            Self::Pgp(_) => Scheme(Scheme::PGP.to_owned()),
            Self::Pkcs7(_) => Scheme(Scheme::PKCS7.to_owned()),
            Self::Pkcs11(_) => Scheme(Scheme::PKCS11.to_owned()),
            Self::Bailiwick(_) => Scheme(Scheme::BAILIWICK.to_owned()),
            Self::Foreign(foreign) => foreign.scheme.clone(),
        }
    }
}

/// Opens packets with keys that are at hand. Key services, which wait on others, are a port of whoever calls them.
pub trait PacketOpener: Send + Sync {
    /// Tries the packet.
    fn open(&self, packet: &KeyPacket) -> Opening;

    /// Tells of packets that may be tried soon. Whoever waits on others for an answer can then ask for all at once.
    fn expect(&self, packets: &[KeyPacket]) {
        let _ = packets;
    }
}

/// What came of trying a packet. "Not mine" is an answer, not an error: the next opener is asked.
pub enum Opening {
    /// The packet is for others.
    NotOurs,
    /// The packet is for this opener, and did not open.
    Failed(PacketError),
    /// The options that it held.
    Opened(PrivateOptions),
}

impl Opening {
    pub(crate) fn of_plaintext(plaintext: &[u8]) -> Self {
        match PrivateOptions::parse(plaintext) {
            Ok(options) => Self::Opened(options),
            Err(source) => Self::Failed(PacketError::Options { source }),
        }
    }
}

/// Wraps private options for somebody.
pub trait PacketWrapper: Send + Sync {
    /// Makes one packet.
    fn wrap(&self, options: &PrivateOptions) -> Result<KeyPacket, WrapError>;
}

/// Why a packet was not read or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Fault: whoever wrote the manifest; the scheme's name is empty, too long or has odd characters.
    #[error("scheme's name is not acceptable")]
    Scheme,
    /// Fault: whoever made the packet; a member is missing, unknown, malformed or stands twice.
    #[error("packet is malformed at {part}")]
    Malformed {
        /// Which member, or `structure`.
        part: &'static str,
    },
    /// Fault: whoever made the packet; it names another image than its key is for.
    #[error("packet is for the image `{found}`, its key for `{expected}`")]
    Resource {
        /// The image that the key is for.
        expected: String,
        /// The image in the packet, cut to 128 characters.
        found: String,
    },
    /// Fault: the caller; the private key is not the one of its record.
    #[error("private key is not the one of its record")]
    Record,
    /// Fault: whoever made or altered the packet.
    #[error("JWE packet did not open")]
    Jwe {
        /// What came of it.
        #[source]
        source: jose::jwe::DecryptError,
    },
    /// Fault: whoever made the packet, with something that is not read here.
    #[error("packet uses {what} `{found}`, which is not read")]
    Unsupported {
        /// What for.
        what: &'static str,
        /// What it is.
        found: String,
    },
    /// Fault: whoever made or altered the packet. It does not say more, lest it be an oracle.
    #[error("OpenPGP packet did not open")]
    Pgp,
    /// Fault: whoever made or altered the packet. It does not say more, lest it be an oracle.
    #[error("PKCS#7 packet did not open")]
    Pkcs7,
    /// Fault: whoever made or altered the packet, or the key is another one of the same name.
    #[error("packet of Confidential Containers did not open")]
    Coco,
    /// Fault: whoever made or altered the packet.
    #[error("HPKE packet did not open")]
    Hpke {
        /// What came of it.
        #[source]
        source: hpke_xwing::OpenError,
    },
    /// Fault: the key service or the way to it; it is named by whoever asked it, above this crate.
    #[error("key service `{service}` did not open the packet")]
    Service {
        /// Its name.
        service: String,
        /// What came of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Fault: whoever encrypted; the packet opened and held something else than layer options.
    #[error("packet holds no acceptable layer options")]
    Options {
        /// What is wrong with them.
        #[source]
        source: OptionsError,
    },
}

/// Why options were not wrapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// Fault: the caller's keys, or this machine.
    #[error("no JWE packet could be made")]
    Jwe {
        /// What came of it.
        #[source]
        source: jose::jwe::EncryptError,
    },
    /// Fault: the caller, who named no recipient, or this machine.
    #[error("no OpenPGP packet could be made")]
    Pgp,
    /// Fault: the caller, who named no recipient, or this machine.
    #[error("no PKCS#7 packet could be made")]
    Pkcs7,
    /// Fault: the caller, who named no recipient or too many, or options that are too long for a recipient's key.
    #[error("no PKCS#11 packet could be made")]
    Pkcs11,
    /// Fault: this machine.
    #[error("no packet of Confidential Containers could be made")]
    Coco,
    /// Fault: whoever published the key.
    #[error("no HPKE packet could be made")]
    Hpke {
        /// What came of it.
        #[source]
        source: hpke_xwing::SealError,
    },
    /// Fault: the key service or the way to it; it is named by whoever asked it, above this crate.
    #[error("key service `{service}` made no packet")]
    Service {
        /// Its name.
        service: String,
        /// What came of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Fault: the caller; authority or resource is empty, too long or has control characters.
    #[error("{member} cannot stand in a packet")]
    Name {
        /// `authority` or `resource`.
        member: &'static str,
    },
}
