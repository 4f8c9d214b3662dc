//! Why a layer is not decrypted. The sentence reaches whoever pulls, through the runtime's error.

use std::{error::Error, io, path::PathBuf};

use estate::Digest;
use oci_crypt::{AnnotationError, BindingMismatch, CipherError, OptionsError, PacketError, Scheme};
use rpc::{key_socket::KeySocketError, released::Untrusted};

/// Nothing, or not the last piece, was released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Refusal {
    /// Fault: the client that pulled without the decryption plug-in, or whoever started this by hand.
    #[error("no payload on file descriptor 3: the runtime did not say which layer this is")]
    NoPayload,
    /// Fault: the runtime, or whoever started this by hand.
    #[error("the payload on file descriptor 3 is refused: {0}")]
    Payload(&'static str),
    /// Fault: whoever configured the stream processor.
    #[error("a layer of type `{media_type}` is not encrypted")]
    NotEncrypted {
        /// The type.
        media_type: String,
    },
    /// Fault: whoever wrote or altered the manifest.
    #[error("the layer's annotations are refused")]
    Annotations(#[source] AnnotationError),
    /// Fault: none; the layer is encrypted to others.
    #[error("no key at hand opens this layer, which has packets of {schemes}{}", listed(.tried))]
    NoKey {
        /// The schemes.
        schemes: String,
        /// The keys and key providers that did not open it.
        tried: Vec<String>,
    },
    /// Fault: whoever made or altered the packet.
    #[error("the packet of scheme `{scheme}` did not open with `{}`", .key.escape_debug())]
    Packet {
        /// The packet's scheme.
        scheme: Scheme,
        /// The file of the key, or the key provider.
        key: String,
        /// What came of it.
        #[source]
        source: PacketError,
    },
    /// Fault: whoever made the packet.
    #[error("the packet names an image set that can't exist")]
    Resource,
    /// Fault: whoever configured the key providers.
    #[error("the key providers can't be asked: {0}")]
    Providers(String),
    /// Fault: see the source.
    #[error("no key was given")]
    Agent(#[source] KeySocketError),
    /// Fault: the agent or its server.
    #[error("the key is not used")]
    Untrusted(#[source] Untrusted),
    /// Fault: whoever encrypted.
    #[error("the key that was given is malformed")]
    Options(#[source] OptionsError),
    /// Fault: whoever configured the keys.
    #[error("`{}` can't be used as a folder of keys: {why}", .path.display())]
    Keys {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Fault: the authority that released it.
    #[error("the key is not bound to a layer")]
    Unbound,
    /// Fault: the agent or its server, or whoever started this by hand: the runtime stores a manifest before its layers.
    #[error("no image on this node is known to list the layer")]
    NoPlace,
    /// Fault: see the source.
    #[error("the key is bound to an image, and the agent did not say which images list the layer")]
    Places(#[source] KeySocketError),
    /// Fault: whoever assembled the image.
    #[error("this key belongs to another layer")]
    Binding(#[source] BindingMismatch),
    /// Fault: whoever sent the layer.
    #[error("the layer ends after {found} bytes, it should have {expected}")]
    Truncated {
        /// Bytes that came.
        found: u64,
        /// Bytes in the descriptor.
        expected: u64,
    },
    /// Fault: whoever sent the layer.
    #[error("the layer is longer than the {expected} bytes of its descriptor")]
    TooLong {
        /// Bytes in the descriptor.
        expected: u64,
    },
    /// Fault: whoever sent or changed the layer.
    #[error("the layer's bytes are not those of its digest")]
    Digest,
    /// Fault: whoever changed the layer, or this machine.
    #[error("the layer did not decrypt")]
    Cipher(#[source] CipherError),
    /// Fault: none; the layer's key is not bound to it, so all of it has to be verified first.
    #[error(
        "a layer of {size} bytes whose key is not bound to it is too large to be verified before it is used"
    )]
    TooLargeToVerify {
        /// Its size.
        size: u64,
    },
    /// Fault: this machine.
    #[error("the ciphertext can't be put aside in `{}`", .path.display())]
    Spool {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: the runtime.
    #[error("the layer can't be read")]
    Read(#[source] io::Error),
    /// Fault: the runtime; it went away.
    #[error("the plaintext can't be written")]
    Write(#[source] io::Error),
    /// Fault: this machine.
    #[error("no key of our own could be made")]
    NoRandomness,
    /// Fault: whoever configured the decoder.
    #[error("{0}")]
    Option(String),
}

impl Refusal {
    /// What may help.
    pub(super) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoPayload => {
                "pull through CRI with `key_model = \"node\"`; plain `ctr images pull` does not hand over the layer's annotations"
            }
            Self::NoKey { .. } => {
                "encrypt to `bailiwick:IMAGE`, or put the private key into the folder of keys"
            }
            Self::Agent(KeySocketError::NoAgent { .. }) => {
                "is `bailiwick agent run` running on this node?"
            }
            Self::Agent(KeySocketError::Denied { reason, .. }) => return denied(reason),
            Self::NoPlace => {
                "is the agent's `containerd` the runtime that pulls? It has the manifest before it has the layers"
            }
            Self::Places(_) => {
                "a key that is bound to an image is not used past the agent: see to `bailiwick agent run` and its log"
            }
            Self::Untrusted(Untrusted::Lab) => "a lab's keys are used only with `--lab`",
            Self::TooLargeToVerify { .. } => {
                "encrypt again with `bailiwick image encrypt`, which binds keys; or accept `--stream`"
            }
            Self::Binding(_) => ASSEMBLED,
            _ => return None,
        })
    }

    /// The whole chain in one line.
    fn chain(&self) -> String {
        let mut said = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            said.push_str(": ");
            said.push_str(&error.to_string());
            cause = error.source();
        }
        said
    }
}

/// A key that is not understood. It is no obstacle where another opens the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unused {
    /// Its file.
    pub(super) name: String,
    /// What is wrong with it.
    pub(super) why: String,
}

impl Unused {
    /// One line.
    pub(super) fn explain(&self) -> String {
        let Self { name, why } = self;
        plain(&format!("the key `{name}` is not used: {why}"))
    }
}

/// A refusal, with what helps to understand it.
#[derive(Debug)]
pub(super) struct Refused {
    /// The layer, once it is known.
    pub(super) layer: Option<Digest>,
    /// Why.
    pub(super) why: Refusal,
    /// Keys at hand that are not understood.
    pub(super) unused: Vec<Unused>,
}

impl Refused {
    /// The reason in one line, with the layer; keys that are not understood, a line each; a hint.
    pub(super) fn explain(&self) -> String {
        let Self { layer, why, unused } = self;
        let layer = layer
            .map(|layer| format!("layer {layer}: "))
            .unwrap_or_default();
        let mut said = format!("bailiwick: {}", plain(&format!("{layer}{}", why.chain())));
        for unused in unused.iter().take(MOST_LISTED) {
            said.push_str("\n  ");
            said.push_str(&unused.explain());
        }
        if unused.len() > MOST_LISTED {
            said.push_str(&format!("\n  and {} more", unused.len() - MOST_LISTED));
        }
        if let Some(hint) = why.hint() {
            said.push_str("\nhint: ");
            said.push_str(hint);
        }
        said
    }
}

impl From<Refusal> for Box<Refused> {
    fn from(why: Refusal) -> Self {
        Self::new(Refused {
            layer: None,
            why,
            unused: Vec::new(),
        })
    }
}

/// Names were written by others; a terminal must not obey them.
fn plain(said: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    said.chars().map(plain).collect()
}

fn listed(tried: &[String]) -> String {
    let some: Vec<String> = tried
        .iter()
        .take(MOST_LISTED)
        .map(|name| format!("`{name}`"))
        .collect();
    match (some.is_empty(), tried.len() > MOST_LISTED) {
        (true, _) => "; none was given".to_owned(),
        (false, false) => format!("; tried were {}", some.join(", ")),
        (false, true) => format!("; tried were {} and others", some.join(", ")),
    }
}

/// A denial is policy's, or the packet's: no rule explains that a layer is not where its key belongs.
fn denied(reason: &str) -> Option<&'static str> {
    if reason.contains("is bound to") {
        return Some(ASSEMBLED);
    }
    let of_policy = reason.contains("no rule permits") || reason.contains("` forbids it");
    of_policy.then_some("ask the data owner; `bailiwick policy explain` names the rule")
}

const MOST_LISTED: usize = 16;
const ASSEMBLED: &str =
    "the image was assembled from parts of another one: `bailiwick image verify` shows which";

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(reason: &str) -> String {
        let (code, reason) = ("denied".to_owned(), reason.to_owned());
        Box::<Refused>::from(Refusal::Agent(KeySocketError::Denied { code, reason })).explain()
    }

    #[test]
    fn a_hint_names_the_rules_only_where_a_rule_decided() {
        for reason in [
            "no rule permits; nearest is `reader`, which lacks a node in DAL05",
            "`residency` forbids it: a node in DAL05",
        ] {
            assert!(explained(reason).contains("policy explain"), "{reason}");
        }
        let mismatch = BindingMismatch {
            member: "config",
            bound: "a".to_owned(),
            found: "b".to_owned(),
        };
        let moved = explained(&format!("manifest sha256:00: {mismatch}"));
        assert!(moved.contains("image verify"), "{moved}");
        assert!(!moved.contains("policy explain"), "{moved}");
        for reason in ["the key packet is refused: x", "this node is banned"] {
            assert!(!explained(reason).contains("hint"), "{reason}");
        }
    }
}
