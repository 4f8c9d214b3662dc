//! The agent's socket for decoders: root only, one question and one answer per connection, JSON behind its length. Asked is
//! for the key of a layer, or, with a key that came from elsewhere, where the layer is listed. The client blocks and needs no run-time, so that a decoder starts in a few milliseconds.

mod server;

use std::{
    io,
    os::unix::net::UnixStream as StdStream,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use estate::{Digest, ImageSetName};
use evidence::{
    Confirmation,
    request::{LayerDescriptor, LayerUse},
};
use serde::{Deserialize, Serialize};

pub use server::serve;

use crate::{
    framing::{self, parse},
    released::{OnRecord, SealedAnswer},
};

/// What a decoder asks: the key of one layer, sealed to a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRequest {
    /// Format version, 1.
    pub v: u8,
    /// The key packet, standard base64.
    pub packet: String,
    /// The image set that the packet names.
    pub image: ImageSetName,
    /// The layer.
    pub layer: LayerDescriptor,
    /// The key that the answer is to be sealed to.
    pub cnf: Confirmation,
}

impl KeyRequest {
    /// A question for the key of a layer.
    pub fn new(
        packet: &[u8],
        image: ImageSetName,
        layer: LayerDescriptor,
        cnf: Confirmation,
    ) -> Self {
        Self {
            v: 1,
            packet: B64.encode(packet),
            image,
            layer,
            cnf,
        }
    }
}

/// A decoder's other question: every manifest on this node that lists a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UsesRequest {
    v: u8,
    uses_of: Digest,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "outcome",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
enum KeyReply {
    Sealed {
        request: String,
        leaf: String,
        proof: String,
        ledger_key: String,
        lab: bool,
        enc: String,
        ct: String,
    },
    Uses {
        uses: Vec<LayerUse>,
    },
    Denied {
        code: String,
        reason: String,
    },
    Unavailable {
        reason: String,
    },
    Refused {
        reason: String,
    },
}

/// The key, or the answer, was not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySocketError {
    /// Fault: this node: no agent listens.
    #[error("no agent answers on `{}`", .path.display())]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: the agent; it went away or did not answer in time.
    #[error("the agent's answer did not come")]
    Broken(#[source] io::Error),
    /// Fault: the agent, of another version perhaps.
    #[error("the agent's answer is not understood")]
    NotUnderstood,
    /// Fault: none; policy said no, and that is on record.
    #[error("denied: {reason}")]
    Denied {
        /// Stable code.
        code: String,
        /// A sentence.
        reason: String,
    },
    /// Fault: the server or the way to it.
    #[error("not available now: {0}")]
    Unavailable(String),
    /// Fault: the caller.
    #[error("the agent refused: {0}")]
    Refused(String),
}

/// The blocking client.
#[derive(Debug, Clone)]
pub struct KeyClient {
    path: PathBuf,
    patience: Duration,
}

impl KeyClient {
    /// A client for the socket at `path`.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            patience: PATIENCE,
        }
    }

    /// Whether there is a socket at all; where there is none, no agent was set up.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Asks for a key.
    ///
    /// # Errors
    /// [`KeySocketError`]
    pub fn open(&self, request: &KeyRequest) -> Result<SealedAnswer, KeySocketError> {
        match self.exchange(request)? {
            Given::Sealed(answer) => Ok(answer),
            Given::Uses(_) => Err(KeySocketError::NotUnderstood),
        }
    }

    /// Asks for every manifest on this node that lists a layer.
    ///
    /// # Errors
    /// [`KeySocketError`]
    pub fn layer_uses(&self, layer: Digest) -> Result<Vec<LayerUse>, KeySocketError> {
        let request = UsesRequest {
            v: 1,
            uses_of: layer,
        };
        match self.exchange(&request)? {
            Given::Uses(uses) => Ok(uses),
            Given::Sealed(_) => Err(KeySocketError::NotUnderstood),
        }
    }

    fn exchange(&self, request: &impl Serialize) -> Result<Given, KeySocketError> {
        let no_agent = |source| KeySocketError::NoAgent {
            path: self.path.clone(),
            source,
        };
        let mut stream = StdStream::connect(&self.path).map_err(no_agent)?;
        let reply =
            framing::ask(&mut stream, request, self.patience).map_err(KeySocketError::Broken)?;
        parse_reply(&reply)
    }
}

/// What an agent gave that refused nothing.
enum Given {
    Sealed(SealedAnswer),
    Uses(Vec<LayerUse>),
}

fn parse_reply(body: &[u8]) -> Result<Given, KeySocketError> {
    let bytes = |text: String| B64.decode(text).map_err(|_| KeySocketError::NotUnderstood);
    match parse(body).ok_or(KeySocketError::NotUnderstood)? {
        KeyReply::Sealed {
            request,
            leaf,
            proof,
            ledger_key,
            lab,
            enc,
            ct,
        } => Ok(Given::Sealed(SealedAnswer {
            record: OnRecord {
                request: bytes(request)?,
                leaf: bytes(leaf)?,
                proof,
                ledger_key,
                lab,
            },
            enc: bytes(enc)?,
            ct: bytes(ct)?,
        })),
        KeyReply::Uses { uses } => Ok(Given::Uses(uses)),
        KeyReply::Denied { code, reason } => Err(KeySocketError::Denied { code, reason }),
        KeyReply::Unavailable { reason } => Err(KeySocketError::Unavailable(reason)),
        KeyReply::Refused { reason } => Err(KeySocketError::Refused(reason)),
    }
}

/// A pull may wait for a server that is being restarted; the runtime's own limits are longer.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::{server::parse_request, *};

    proptest::proptest! {
        #[test]
        fn hostile_messages_are_errors(body: Vec<u8>, text: String) {
            proptest::prop_assert!(parse_request(&body).is_err());
            proptest::prop_assert!(parse_request(text.as_bytes()).is_err());
            proptest::prop_assert!(parse_reply(&body).is_err());
            proptest::prop_assert!(parse_reply(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_question_is_one_of_two_and_nothing_in_between() {
        let digest = Digest::of("layer");
        let good = format!(r#"{{"v":1,"usesOf":"{digest}"}}"#);
        assert!(matches!(
            parse_request(good.as_bytes()),
            Ok(server::Question::Uses(of)) if of == digest
        ));
        for bad in [
            format!(r#"{{"v":2,"usesOf":"{digest}"}}"#),
            format!(r#"{{"usesOf":"{digest}"}}"#),
            format!(r#"{{"v":1,"usesOf":"{digest}","image":"medrec"}}"#),
            format!(r#"{{"v":1,"usesOf":"{digest}","usesOf":"{digest}"}}"#),
            format!(r#"{{"v":1,"usesOf":["{digest}"]}}"#),
        ] {
            assert!(parse_request(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_and_doubled_members_are_refused() {
        let good = r#"{"outcome":"denied","code":"denied","reason":"no"}"#;
        assert!(matches!(
            parse_reply(good.as_bytes()),
            Err(KeySocketError::Denied { .. })
        ));
        for bad in [
            r#"{"outcome":"denied","code":"denied","reason":"no","more":1}"#,
            r#"{"outcome":"denied","code":"denied","reason":"no","reason":"yes"}"#,
            r#"{"outcome":"granted"}"#,
        ] {
            assert!(
                matches!(
                    parse_reply(bad.as_bytes()),
                    Err(KeySocketError::NotUnderstood)
                ),
                "{bad}"
            );
        }
    }
}
