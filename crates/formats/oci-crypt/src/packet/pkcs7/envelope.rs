//! The structure of a packet: EnvelopedData (RFC 5652 section 6) as peers write it, and AuthEnvelopedData (RFC 5083).

use x509_cert::der::oid::ObjectIdentifier;

use super::certificate::IssuerAndSerial;
use super::der::{
    Element, INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET, constructed,
    element, only, primitive,
};
use crate::packet::PacketError;

/// Most recipients of a packet that are read.
const MAX_RECIPIENTS: usize = 256;

const ENVELOPED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
const AUTH_ENVELOPED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17";
const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
pub(super) const RSA_ENCRYPTION: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";

/// An algorithm and its parameters, as they were read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Algorithm<'a> {
    pub(super) identifier: &'a [u8],
    pub(super) parameters: Option<Element<'a>>,
}

impl<'a> Algorithm<'a> {
    /// Reads the content of an AlgorithmIdentifier.
    pub(super) fn parse(content: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(content);
        let identifier = reader.expect(OBJECT_IDENTIFIER)?;
        let parameters = match reader.is_empty() {
            true => None,
            false => Some(reader.any()?),
        };
        reader.end()?;
        Some(Self {
            identifier,
            parameters,
        })
    }

    /// Whether the parameters are absent or NULL; writers differ.
    pub(super) fn is_plain(&self) -> bool {
        self.parameters
            .is_none_or(|found| found.tag == NULL && found.content.is_empty())
    }

    /// The refusal of an algorithm that is not known here.
    pub(super) fn unsupported(&self, what: &'static str) -> PacketError {
        let name = ObjectIdentifier::from_bytes(self.identifier).map(|oid| oid.to_string());
        PacketError::Unsupported {
            what,
            found: name.unwrap_or_else(|_| "an unreadable identifier".to_owned()),
        }
    }
}

/// One recipient that is named by issuer and serial number.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecipientInfo<'a> {
    issuer: &'a [u8],
    serial: &'a [u8],
    pub(super) algorithm: Algorithm<'a>,
    pub(super) encrypted_key: &'a [u8],
}

impl RecipientInfo<'_> {
    /// Whether it is for this certificate. Both names are compared to the byte: taking one for another's is no harm
    /// here, but a name that is read loosely would let a packet say one recipient and mean another.
    pub(super) fn is_for(&self, name: &IssuerAndSerial) -> bool {
        self.issuer == name.issuer && self.serial == name.serial
    }

    pub(super) fn name(&self) -> IssuerAndSerial {
        IssuerAndSerial {
            issuer: self.issuer.to_vec(),
            serial: self.serial.to_vec(),
        }
    }
}

/// A packet, taken apart.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    /// Those named by issuer and serial number; others are passed over.
    pub(super) recipients: Vec<RecipientInfo<'a>>,
    pub(super) algorithm: Algorithm<'a>,
    /// The encrypted content; with the tag at its end where there is one.
    pub(super) content: Vec<u8>,
}

impl<'a> Envelope<'a> {
    pub(super) fn parse(packet: &'a [u8]) -> Result<Self, PacketError> {
        let malformed = |part| PacketError::Malformed { part };
        let (kind, body) = content_info(packet).ok_or(malformed("ContentInfo"))?;
        if kind != ENVELOPED_DATA && kind != AUTH_ENVELOPED_DATA {
            return Err(malformed("content type"));
        }
        let mut body = Reader::new(body);
        let mut next = |tag, part| body.expect(tag).ok_or(malformed(part));
        next(INTEGER, "version")?;
        let recipients = recipients(next(SET, "recipients")?)?;
        let (algorithm, mut content) = encrypted_content(next(SEQUENCE, "encrypted content")?)
            .ok_or(malformed("encrypted content"))?;
        if kind == AUTH_ENVELOPED_DATA {
            content.extend_from_slice(next(OCTET_STRING, "mac")?);
        }
        body.end().ok_or(malformed("end of envelope"))?;
        Ok(Self {
            recipients,
            algorithm,
            content,
        })
    }
}

fn content_info(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(only(packet, SEQUENCE)?);
    let kind = reader.expect(OBJECT_IDENTIFIER)?;
    let body = only(reader.expect(constructed(0))?, SEQUENCE)?;
    reader.end().map(|()| (kind, body))
}

fn recipients(set: &[u8]) -> Result<Vec<RecipientInfo<'_>>, PacketError> {
    let malformed = || PacketError::Malformed { part: "recipient" };
    let mut reader = Reader::new(set);
    let mut recipients = Vec::new();
    let mut count = 0;
    while !reader.is_empty() {
        count += 1;
        if count > MAX_RECIPIENTS {
            return Err(PacketError::Malformed {
                part: "number of recipients",
            });
        }
        let recipient = reader.any().ok_or_else(malformed)?;
        // Other kinds have tags of their own: key agreement, passwords and the like, which are for others.
        if recipient.tag == SEQUENCE {
            recipients.extend(recipient_info(recipient.content).ok_or_else(malformed)?);
        }
    }
    Ok(recipients)
}

/// None of the inner kind where the recipient is named by the id of its key.
fn recipient_info(content: &[u8]) -> Option<Option<RecipientInfo<'_>>> {
    let mut reader = Reader::new(content);
    let version = reader.expect(INTEGER)?;
    let name = reader.any()?;
    let algorithm = Algorithm::parse(reader.expect(SEQUENCE)?)?;
    let encrypted_key = reader.expect(OCTET_STRING)?;
    reader.end()?;
    if name.tag == primitive(0) {
        return Some(None);
    }
    (version == [0]).then_some(())?;
    let mut reader = Reader::new(only(name.whole, SEQUENCE)?);
    let issuer = reader.any().filter(|issuer| issuer.tag == SEQUENCE)?;
    let serial = reader.expect(INTEGER)?;
    reader.end()?;
    Some(Some(RecipientInfo {
        issuer: issuer.whole,
        serial,
        algorithm,
        encrypted_key,
    }))
}

fn encrypted_content(info: &[u8]) -> Option<(Algorithm<'_>, Vec<u8>)> {
    let mut reader = Reader::new(info);
    (reader.expect(OBJECT_IDENTIFIER)? == DATA).then_some(())?;
    let algorithm = Algorithm::parse(reader.expect(SEQUENCE)?)?;
    let content = reader.any()?;
    reader.end()?;
    let content = match content.tag {
        // What is written today, and what CMS says.
        tag if tag == primitive(0) => content.content.to_vec(),
        // What older writers made of it: OCTET STRINGs in a row.
        tag if tag == constructed(0) => {
            let mut strings = Reader::new(content.content);
            let mut joined = Vec::new();
            while !strings.is_empty() {
                joined.extend_from_slice(strings.expect(OCTET_STRING)?);
            }
            joined
        }
        _ => return None,
    };
    Some((algorithm, content))
}

/// Writes a packet as the newest peers do.
pub(super) fn write(
    recipients: &[(&IssuerAndSerial, Vec<u8>)],
    algorithm: &[u8],
    content: &[u8],
) -> Vec<u8> {
    let version = element(INTEGER, &[&[0]]);
    let mut infos: Vec<Vec<u8>> = recipients
        .iter()
        .map(|(name, encrypted_key)| {
            let serial = element(INTEGER, &[&name.serial]);
            let name = element(SEQUENCE, &[&name.issuer, &serial]);
            // Peers leave out the NULL that stands here elsewhere.
            let rsa = element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[RSA_ENCRYPTION])]);
            let key = element(OCTET_STRING, &[encrypted_key]);
            element(SEQUENCE, &[&version, &name, &rsa, &key])
        })
        .collect();
    // DER orders a SET OF by its encodings.
    infos.sort();
    let infos: Vec<&[u8]> = infos.iter().map(Vec::as_slice).collect();
    let data = element(OBJECT_IDENTIFIER, &[DATA]);
    let content = element(
        SEQUENCE,
        &[&data, algorithm, &element(primitive(0), &[content])],
    );
    let envelope = element(SEQUENCE, &[&version, &element(SET, &infos), &content]);
    let kind = element(OBJECT_IDENTIFIER, &[ENVELOPED_DATA]);
    element(SEQUENCE, &[&kind, &element(constructed(0), &[&envelope])])
}
