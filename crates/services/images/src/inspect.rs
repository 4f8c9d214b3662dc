//! What everybody can see of an image, and who can open the rest.

use std::collections::BTreeMap;

use estate::Digest;
use oci_crypt::{
    CocoPacket, IssuerAndSerial, KeyPacket, LayerAnnotations, PacketOpener, PgpHolder, media_type,
    pgp_recipients, pkcs7_recipients, pkcs11_recipients,
};
use serde::Serialize;

use crate::config::{Config, Public};
use crate::decrypt::{OpenedLayer, announce};
use crate::error::ImageError;
use crate::jwe_recipients;
use crate::manifest::{Descriptor, Manifest};
use crate::ports::ImageSource;
use crate::suspects::{self, SuspectReport};
use crate::tree::{Role, Tree};

/// All images under one name.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// One for each platform.
    pub images: Vec<ImageReport>,
    /// Documents beside the images, such as a builder's attestations; they are never encrypted.
    pub readable_documents: usize,
}

/// One image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    /// Operating system and architecture, where an index tells them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digest of the configuration: the same for the plain and the encrypted image.
    pub config: Digest,
    /// From the bottom up.
    pub layers: Vec<LayerReport>,
    /// What stays readable for everybody, encrypted or not.
    pub public: PublicReport,
}

/// One layer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerReport {
    /// Position, 0 at the bottom.
    pub index: usize,
    /// Media type.
    pub media_type: String,
    /// Digest of the bytes in the registry.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Whether the layer is encrypted.
    pub encrypted: bool,
    /// Who can open it, as far as the key packets tell.
    pub recipients: Vec<RecipientReport>,
    /// Whether its key is bound to this place; it takes a key to see.
    pub binding: Binding,
    /// Why its annotations can't be read, if they can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Whether a layer's key is bound to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Binding {
    /// The layer is not encrypted.
    None,
    /// No key at hand opens it, so nobody here can tell.
    Unknown,
    /// It is bound, and lies where it belongs.
    Bound,
    /// It is bound, and lies elsewhere: somebody altered the image.
    Broken,
    /// It is bound to nothing: another tool encrypted it.
    Unbound,
}

/// One who can open a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "scheme", rename_all = "camelCase")]
pub enum RecipientReport {
    /// Holders of private keys. Most packets do not tell which.
    Jwe {
        /// One for each of them.
        keys: Vec<JweKeyReport>,
    },
    /// An authority that releases the key by policy.
    #[serde(rename_all = "camelCase")]
    Bailiwick {
        /// Its SPIFFE trust domain.
        authority: String,
        /// The name of the image there.
        image: String,
        /// SHA-256 of its public key.
        key: String,
        /// How the key was wrapped.
        suite: String,
    },
    /// Holders of the private keys of certificates.
    Pkcs7 {
        /// One for each of them; none where the packet can't be read.
        certificates: Vec<CertificateReport>,
    },
    /// Holders of keys in hardware modules.
    Pkcs11 {
        /// One for each of them; none where the packet can't be read.
        keys: Vec<TokenKeyReport>,
    },
    /// Holders of OpenPGP keys.
    Pgp {
        /// One for each of them; none where the packet can't be read.
        holders: Vec<PgpHolderReport>,
    },
    /// Guests of Confidential Containers whom a key broker gives a key.
    ConfidentialContainers {
        /// The packet's scheme.
        name: String,
        /// The key's name.
        key: String,
        /// Who keeps it.
        keeper: String,
    },
    /// A scheme that is not read here.
    Other {
        /// Its name.
        name: String,
    },
}

/// What a packet tells of one holder of a private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JweKeyReport {
    /// How the layer's key was wrapped, such as `RSA-OAEP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The id of his key, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What a packet tells of one key in a hardware module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenKeyReport {
    /// The size of the RSA key.
    pub bits: usize,
    /// The hash of RSA-OAEP: `sha1` or `sha256`.
    pub hash: &'static str,
    /// Whether the key has room for a binding; without one, its holder opens the layer wherever it lies.
    pub has_room_for_binding: bool,
}

/// How an OpenPGP packet names one who opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PgpHolderReport {
    /// Who has the key of this id.
    Key(String),
    /// Who has a key that is not told.
    Hidden,
    /// Who knows a password.
    Password,
}

impl From<PgpHolder> for PgpHolderReport {
    fn from(holder: PgpHolder) -> Self {
        match holder {
            PgpHolder::Key(id) => Self::Key(id.to_string()),
            PgpHolder::Hidden => Self::Hidden,
            PgpHolder::Password => Self::Password,
        }
    }
}

/// How a packet names a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReport {
    /// The name of whoever issued it.
    pub issuer: String,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
}

impl From<IssuerAndSerial> for CertificateReport {
    fn from(name: IssuerAndSerial) -> Self {
        Self {
            issuer: name.issuer(),
            serial: name.serial(),
        }
    }
}

/// What the configuration tells everybody.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicReport {
    /// Names of environment variables; their values are just as public, and not repeated here.
    pub environment: Vec<String>,
    /// Names of labels, likewise.
    pub labels: Vec<String>,
    /// The commands that built the image.
    pub history: Vec<String>,
    /// Digests of the unpacked layers: who has the same layer knows it is in here.
    pub diff_ids: Vec<Digest>,
    /// What looks like a secret among all that.
    pub suspects: Vec<SuspectReport>,
}

/// Looks at the image in `source`. With `openers`, also at what only those who have a key can see.
///
/// # Errors
/// When the image can't be read. What is wrong with a layer stands in the report.
pub fn inspect(
    source: &dyn ImageSource,
    openers: &[&dyn PacketOpener],
) -> Result<Report, ImageError> {
    let mut report = Report {
        images: Vec::new(),
        readable_documents: 0,
    };
    Tree::of(source, &[])?.visit(&mut |manifest, role, platform| {
        match role {
            Role::Beside => report.readable_documents += 1,
            Role::Image => report
                .images
                .push(image(source, manifest, platform, openers)?),
        }
        Ok(())
    })?;
    Ok(report)
}

fn image(
    source: &dyn ImageSource,
    manifest: &Manifest,
    platform: Option<String>,
    openers: &[&dyn PacketOpener],
) -> Result<ImageReport, ImageError> {
    let config = Config::fetch(source, manifest)?;
    announce(manifest, openers)?;
    let layers = manifest.layers.iter().enumerate();
    Ok(ImageReport {
        platform,
        manifest: manifest.id.digest,
        config: manifest.config.id.digest,
        layers: layers
            .map(|(index, layer)| layer_report(index, layer, manifest, &config, openers))
            .collect::<Result<_, _>>()?,
        public: public_report(&config),
    })
}

fn layer_report(
    index: usize,
    layer: &Descriptor,
    manifest: &Manifest,
    config: &Config,
    openers: &[&dyn PacketOpener],
) -> Result<LayerReport, ImageError> {
    let mut report = LayerReport {
        index,
        media_type: layer.media_type.clone(),
        digest: layer.id.digest,
        size: layer.id.size,
        encrypted: media_type::is_encrypted(&layer.media_type),
        recipients: Vec::new(),
        binding: Binding::None,
        problem: None,
    };
    if !report.encrypted {
        return Ok(report);
    }
    let annotations: BTreeMap<String, String> = layer.annotations()?.into_iter().collect();
    report.binding = Binding::Unknown;
    match LayerAnnotations::parse(&annotations) {
        Ok(annotations) => {
            report.recipients = annotations.packets().iter().map(recipient).collect()
        }
        Err(error) => report.problem = Some(chain(&error)),
    }
    match OpenedLayer::open(index, layer, openers) {
        Ok(opened) if !opened.is_bound() => report.binding = Binding::Unbound,
        Ok(opened) => match opened.check_place(index, layer, manifest, config) {
            Ok(()) => report.binding = Binding::Bound,
            Err(error) => {
                report.binding = Binding::Broken;
                report.problem = Some(chain(&error));
            }
        },
        Err(ImageError::NoKey { .. }) => {}
        Err(error) => report.problem = report.problem.or_else(|| Some(chain(&error))),
    }
    Ok(report)
}

fn recipient(packet: &KeyPacket) -> RecipientReport {
    match packet {
        KeyPacket::Jwe(bytes) => RecipientReport::Jwe {
            keys: jwe_recipients::recipients(bytes)
                .into_iter()
                .map(|named| JweKeyReport {
                    algorithm: named.algorithm,
                    id: named.key_id,
                })
                .collect(),
        },
        KeyPacket::Bailiwick(packet) => RecipientReport::Bailiwick {
            authority: packet.authority().to_owned(),
            image: packet.resource().to_owned(),
            key: packet.key_id().to_string(),
            suite: packet.suite().to_owned(),
        },
        KeyPacket::Pgp(bytes) => RecipientReport::Pgp {
            holders: pgp_recipients(bytes)
                .unwrap_or_default()
                .into_iter()
                .map(PgpHolderReport::from)
                .collect(),
        },
        KeyPacket::Pkcs11(bytes) => RecipientReport::Pkcs11 {
            keys: pkcs11_recipients(bytes)
                .unwrap_or_default()
                .into_iter()
                .map(|recipient| TokenKeyReport {
                    bits: recipient.bits,
                    hash: recipient.hash.name(),
                    has_room_for_binding: recipient.has_room_for_binding,
                })
                .collect(),
        },
        KeyPacket::Pkcs7(bytes) => RecipientReport::Pkcs7 {
            certificates: pkcs7_recipients(bytes)
                .unwrap_or_default()
                .into_iter()
                .map(CertificateReport::from)
                .collect(),
        },
        KeyPacket::Foreign(foreign) => match CocoPacket::of(foreign) {
            Some(packet) => RecipientReport::ConfidentialContainers {
                name: foreign.scheme.to_string(),
                key: packet.key_id().to_owned(),
                keeper: packet.provider().to_owned(),
            },
            None => RecipientReport::Other {
                name: foreign.scheme.to_string(),
            },
        },
    }
}

fn public_report(config: &Config) -> PublicReport {
    let public = config.public();
    let suspects = suspects::suspects(&public);
    let Public {
        config: run,
        history,
    } = public;
    let run = run.unwrap_or_default();
    let name = |variable: String| variable.split('=').next().unwrap_or_default().to_owned();
    PublicReport {
        environment: run.env.unwrap_or_default().into_iter().map(name).collect(),
        labels: run.labels.unwrap_or_default().into_keys().collect(),
        history: history
            .unwrap_or_default()
            .into_iter()
            .filter_map(|step| step.created_by)
            .collect(),
        suspects,
        diff_ids: config.diff_ids.clone().unwrap_or_default(),
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
