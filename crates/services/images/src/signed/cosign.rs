//! Signatures by cosign with a key: what it writes under a tag, and its newer bundles among the referrers.
//!
//! Both sign the digest of a manifest. Signatures with a certificate of the moment ("keyless") are refused by name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dsse::{Envelope, VerifyingKey};
use estate::Digest;
use jose::strict_json;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::listed;
use super::refusal::{Document, Refusal, Refused};
use crate::error::ImageError;
use crate::ports::ImageSource;
use crate::referrers::{About, Artifact, DOCUMENT_LIMIT, Part, Unusable};

/// Looks for a signature of the manifest or index `over`; gives the key's place in `keys`.
pub(super) fn find(
    source: &dyn ImageSource,
    over: Digest,
    keys: &[VerifyingKey],
    refused: &mut Vec<Refused>,
) -> Result<Option<usize>, ImageError> {
    let document = Document::Cosign(over);
    let mut artifacts = Vec::new();
    let tag = format!("{}.sig", About::Manifest(over).tag());
    if let Some(raw) = source.tagged(&tag).map_err(ImageError::Source)? {
        artifacts.push(Artifact::parse(&raw));
    }
    let about = About::Manifest(over);
    for referrer in listed(source, about, &[BUNDLE, SIGNATURE], refused)? {
        artifacts.push(Artifact::fetch(source, &referrer, about));
    }
    let mut found = None;
    let (mut left, mut more) = (DOCUMENT_LIMIT, 0);
    for artifact in artifacts {
        let artifact = match artifact {
            Ok(artifact) => artifact,
            Err(why) => {
                refused.push(document.because(why.into()));
                continue;
            }
        };
        // Each document may hold as many signatures as there may be documents.
        let read = left.min(artifact.parts.len());
        left -= read;
        more += artifact.parts.len() - read;
        for part in artifact.parts.iter().take(read) {
            match verify(source, part, over, keys) {
                Ok(key) => found = found.or(Some(key)),
                Err(why) => refused.push(document.because(why)),
            }
        }
    }
    if more > 0 {
        refused.push(Document::List(about).because(Refusal::TooMany { more }));
    }
    Ok(found)
}

fn verify(
    source: &dyn ImageSource,
    part: &Part,
    over: Digest,
    keys: &[VerifyingKey],
) -> Result<usize, Refusal> {
    let bytes = || -> Result<Vec<u8>, Unusable> { part.fetch(source) };
    match part.media_type.as_str() {
        SIMPLE_SIGNING => {
            let certificate = part.annotation(CERTIFICATE);
            if certificate.is_some_and(|certificate| !certificate.is_empty()) {
                return Err(Refusal::Keyless);
            }
            let signature = part.annotation(SIGNATURE_ANNOTATION);
            simple_signing(&bytes()?, signature.as_deref(), over, keys)
        }
        BUNDLE => bundle(&bytes()?, over, keys),
        _ => Err(Refusal::OtherType),
    }
}

/// A signature over the payload of "simple signing".
fn simple_signing(
    payload: &[u8],
    signature: Option<&str>,
    over: Digest,
    keys: &[VerifyingKey],
) -> Result<usize, Refusal> {
    let signature = signature.and_then(|text| STANDARD.decode(text.trim()).ok());
    let signature = signature.ok_or(Refusal::NoSignature)?;
    let made = |key: &VerifyingKey| key.verifies(payload, &signature);
    let key = keys.iter().position(made).ok_or(Refusal::OtherSigner)?;
    let payload: Payload = strict_json::from_slice(payload).map_err(Refusal::Payload)?;
    if payload.critical.kind != SIMPLE_TYPE {
        return Err(other_purpose(&payload.critical.kind));
    }
    // As text: a digest in another spelling is another digest to whoever compares texts.
    match payload.critical.image.digest == over.to_string() {
        true => Ok(key),
        false => Err(Refusal::OtherManifest),
    }
}

/// A Sigstore bundle with a DSSE envelope.
fn bundle(text: &[u8], over: Digest, keys: &[VerifyingKey]) -> Result<usize, Refusal> {
    let bundle: Bundle = strict_json::from_slice(text).map_err(Refusal::Payload)?;
    if !bundle.media_type.starts_with(BUNDLE_FAMILY) {
        return Err(other_purpose(&bundle.media_type));
    }
    let Material {
        certificate, chain, ..
    } = bundle.verification_material;
    if certificate.is_some() || chain.is_some() {
        return Err(Refusal::Keyless);
    }
    let envelope = bundle.dsse_envelope.ok_or(Refusal::NoSignature)?;
    let envelope = Envelope::parse(envelope.get()).map_err(Refusal::Envelope)?;
    let verified = envelope.verify(keys).map_err(Refusal::OtherKey)?;
    let key = verified
        .signers()
        .first()
        .copied()
        .ok_or(Refusal::OtherSigner)?;
    let payload = verified
        .payload(dsse::PAYLOAD_TYPE)
        .map_err(|error| other_purpose(&error.said))?;
    let statement: InToto = strict_json::from_slice(payload).map_err(Refusal::Payload)?;
    // The same key attests, too: that an image was scanned, or what it holds. That is no signature of it.
    if statement.kind != STATEMENT_TYPE || statement.predicate_type != SIGN_PREDICATE {
        return Err(other_purpose(&statement.predicate_type));
    }
    let names = |subject: &InTotoSubject| subject.digest.sha256.as_deref() == Some(&over.to_hex());
    match statement.subject.iter().any(names) {
        true => Ok(key),
        false => Err(Refusal::OtherManifest),
    }
}

fn other_purpose(said: &str) -> Refusal {
    Refusal::OtherPurpose {
        said: said.chars().take(64).collect(),
    }
}

/// Unknown members are refused but for `optional`, where signers write what they like: Go would read `Critical`, too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    #[serde(rename = "optional", default)]
    _optional: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    /// What the signer called the image; it means nothing here, as for cosign by itself.
    #[serde(rename = "identity")]
    _identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference", default)]
    _reference: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Members that are not known are ignored: nobody signed the bundle, and what counts is in its envelope.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Material {
    certificate: Option<IgnoredAny>,
    #[serde(rename = "x509CertificateChain")]
    chain: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InToto {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<InTotoSubject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct InTotoSubject {
    digest: InTotoDigest,
}

#[derive(Deserialize)]
struct InTotoDigest {
    sha256: Option<String>,
}

/// `artifactType` of signatures among the referrers, by cosign 2.
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIMPLE_TYPE: &str = "cosign container image signature";
const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// `artifactType` and media type of signatures by cosign 3.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const BUNDLE_FAMILY: &str = "application/vnd.dev.sigstore.bundle";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

#[cfg(test)]
mod tests;
