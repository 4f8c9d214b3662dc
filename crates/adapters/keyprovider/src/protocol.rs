//! The JSON that users and providers of ocicrypt exchange, both sides of it.
//!
//! Bytes are written as base64, which Go's side reads. Read are base64, arrays of numbers, and private options as bare text:
//! those are what the Rust side writes.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jose::strict_json;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

/// What a provider is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To wrap the options of a layer.
    Wrap,
    /// To open a packet.
    Unwrap,
}

/// Why an answer is not used. None of them quotes it: it may hold a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Fault: the provider.
    #[error("the answer is not the expected JSON, each member once")]
    Malformed,
    /// Fault: the provider; others would take this for a recipient, and nobody could open the layer.
    #[error("the answer is empty")]
    Empty,
    /// Fault: the provider; it did something else than it was asked to.
    #[error("the answer is to another question")]
    OtherOperation,
}

/// Why a question is not answered. None of them quotes it: it holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuestionError {
    /// Fault: the tool that asks.
    #[error("the question is not the expected JSON, each member once")]
    Malformed,
    /// Fault: the tool that asks.
    #[error("the question is neither `keywrap` nor `keyunwrap`")]
    Operation,
    /// Fault: the tool that asks.
    #[error("the question has no `{0}`")]
    Missing(&'static str),
}

/// A question, seen from the provider. The private keys that some tools send along are not even read.
pub enum Question {
    /// To wrap.
    Wrap {
        /// What the caller wrote for each provider, by its name.
        arguments: BTreeMap<String, Vec<Vec<u8>>>,
        /// The private options.
        options: Zeroizing<Vec<u8>>,
    },
    /// To open.
    Unwrap {
        /// The packet.
        packet: Vec<u8>,
    },
}

/// The question for the packet of `options`, with what the caller wrote for `provider`.
pub fn ask_to_wrap(provider: &str, arguments: &[String], options: &[u8]) -> Zeroizing<Vec<u8>> {
    let options = secret_base64(options);
    let parameters = parameters(provider, arguments);
    let room = options.len() + parameters.len() + 256;
    let pieces = [
        r#"{"op":"keywrap","keywrapparams":{"ec":{"Parameters":"#,
        &parameters,
        r#","DecryptConfig":{"Parameters":null}},"optsdata":""#,
        &options,
        r#""},"keyunwrapparams":{"dc":null,"annotation":null}}"#,
    ];
    joined(&pieces, room)
}

/// The question for the options in `packet`. With it go only the arguments of this provider: others send it every private key.
pub fn ask_to_unwrap(provider: &str, arguments: &[String], packet: &[u8]) -> Zeroizing<Vec<u8>> {
    let packet = STANDARD.encode(packet);
    let parameters = match arguments {
        [] => "{}".to_owned(),
        arguments => parameters(provider, arguments),
    };
    let room = packet.len() + parameters.len() + 256;
    let pieces = [
        r#"{"op":"keyunwrap","keywrapparams":{"ec":null,"optsdata":null},"keyunwrapparams":{"dc":{"Parameters":"#,
        &parameters,
        r#"},"annotation":""#,
        &packet,
        r#""}}"#,
    ];
    joined(&pieces, room)
}

/// The packet in an answer.
///
/// # Errors
/// When there is none, or options beside it.
pub fn wrapped(answer: &[u8]) -> Result<Vec<u8>, AnswerError> {
    let Results { packet, options } = results(answer)?;
    match (packet.is_empty(), options.is_empty()) {
        (false, true) => Ok(packet.to_vec()),
        (true, true) => Err(AnswerError::Empty),
        (_, false) => Err(AnswerError::OtherOperation),
    }
}

/// The private options in an answer.
///
/// # Errors
/// When there are none, or a packet beside them.
pub fn unwrapped(answer: &[u8]) -> Result<Zeroizing<Vec<u8>>, AnswerError> {
    let Results { packet, options } = results(answer)?;
    match (packet.is_empty(), options.is_empty()) {
        (true, false) => Ok(options),
        (true, true) => Err(AnswerError::Empty),
        (false, _) => Err(AnswerError::OtherOperation),
    }
}

/// Reads a question.
///
/// # Errors
/// When it is malformed, of an unknown operation, or without what that needs.
pub fn question(text: &[u8]) -> Result<Question, QuestionError> {
    let QuestionJson { op, wrap, unwrap } =
        strict_json::from_slice(text).map_err(|_| QuestionError::Malformed)?;
    match op.as_str() {
        "keywrap" => {
            let WrapJson { ec, optsdata } = wrap.ok_or(QuestionError::Missing("keywrapparams"))?;
            let named = ec.and_then(|ec| ec.parameters).unwrap_or_default();
            let values = |list: Option<Vec<Bytes>>| {
                let list = list.unwrap_or_default().into_iter();
                list.map(|Bytes(bytes)| bytes.to_vec()).collect()
            };
            let arguments = named.into_iter().map(|(name, list)| (name, values(list)));
            match optsdata.0.is_empty() {
                true => Err(QuestionError::Missing("optsdata")),
                false => Ok(Question::Wrap {
                    arguments: arguments.collect(),
                    options: optsdata.0,
                }),
            }
        }
        "keyunwrap" => {
            let UnwrapJson { annotation, .. } =
                unwrap.ok_or(QuestionError::Missing("keyunwrapparams"))?;
            match annotation.0.is_empty() {
                true => Err(QuestionError::Missing("annotation")),
                false => Ok(Question::Unwrap {
                    packet: annotation.0.to_vec(),
                }),
            }
        }
        _ => Err(QuestionError::Operation),
    }
}

/// The answer with a packet.
pub fn answer_wrapped(packet: &[u8]) -> Zeroizing<Vec<u8>> {
    let packet = STANDARD.encode(packet);
    let pieces = [
        r#"{"keywrapresults":{"annotation":""#,
        &packet,
        r#""},"keyunwrapresults":{"optsdata":null}}"#,
    ];
    joined(&pieces, packet.len() + 128)
}

/// The answer with private options.
pub fn answer_unwrapped(options: &[u8]) -> Zeroizing<Vec<u8>> {
    let options = secret_base64(options);
    let pieces = [
        r#"{"keywrapresults":{"annotation":null},"keyunwrapresults":{"optsdata":""#,
        &options,
        r#""}}"#,
    ];
    joined(&pieces, options.len() + 128)
}

pub(crate) fn secret_base64(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(bytes))
}

/// One allocation of the right size: growing would leave copies of the key behind.
fn joined(pieces: &[&str], room: usize) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    pieces
        .iter()
        .for_each(|piece| text.extend_from_slice(piece.as_bytes()));
    text
}

fn parameters(provider: &str, arguments: &[String]) -> String {
    #[derive(Serialize)]
    #[serde(transparent)]
    struct Parameters<'a>(BTreeMap<&'a str, Vec<String>>);

    let encoded = arguments.iter().map(|text| STANDARD.encode(text)).collect();
    // A map of strings always serializes; a question without its parameters would be refused.
    serde_json::to_string(&Parameters(BTreeMap::from([(provider, encoded)]))).unwrap_or_default()
}

/// What an answer holds; empty where it says nothing.
struct Results {
    packet: Zeroizing<Vec<u8>>,
    options: Zeroizing<Vec<u8>>,
}

fn results(answer: &[u8]) -> Result<Results, AnswerError> {
    let AnswerJson { wrap, unwrap } =
        strict_json::from_slice(answer).map_err(|_| AnswerError::Malformed)?;
    let Bytes(packet) = wrap.unwrap_or_default().annotation;
    let Bytes(options) = unwrap.unwrap_or_default().optsdata;
    Ok(Results { packet, options })
}

#[derive(Deserialize)]
struct AnswerJson {
    #[serde(default, rename = "keywrapresults")]
    wrap: Option<PacketJson>,
    #[serde(default, rename = "keyunwrapresults")]
    unwrap: Option<OptionsJson>,
}

#[derive(Deserialize, Default)]
struct PacketJson {
    #[serde(default)]
    annotation: Bytes,
}

#[derive(Deserialize, Default)]
struct OptionsJson {
    #[serde(default)]
    optsdata: Bytes,
}

#[derive(Deserialize)]
struct QuestionJson {
    op: String,
    #[serde(default, rename = "keywrapparams")]
    wrap: Option<WrapJson>,
    #[serde(default, rename = "keyunwrapparams")]
    unwrap: Option<UnwrapJson>,
}

#[derive(Deserialize)]
struct WrapJson {
    #[serde(default)]
    ec: Option<EncryptJson>,
    #[serde(default)]
    optsdata: Bytes,
}

#[derive(Deserialize)]
struct EncryptJson {
    #[serde(default, rename = "Parameters")]
    parameters: Option<BTreeMap<String, Option<Vec<Bytes>>>>,
}

#[derive(Deserialize)]
struct UnwrapJson {
    #[serde(default, rename = "dc")]
    _keys: IgnoredAny,
    #[serde(default)]
    annotation: Bytes,
}

/// Bytes in any of their forms; absent, `null` and empty are the same, as they are for others.
#[derive(Default)]
struct Bytes(Zeroizing<Vec<u8>>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        parser.deserialize_any(BytesVisitor).map(Self)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Zeroizing<Vec<u8>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64, numbers or nothing")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Zeroizing::default())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        // No base64 begins like this.
        if text.starts_with('{') {
            return Ok(Zeroizing::new(text.as_bytes().to_vec()));
        }
        let bytes = STANDARD.decode(text);
        bytes
            .map(Zeroizing::new)
            .map_err(|_| E::custom("no base64"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
        while let Some(byte) = numbers.next_element::<u8>()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
