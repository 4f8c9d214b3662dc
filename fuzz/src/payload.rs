//! What containerd hands to the decoder: a protobuf `Any` around JSON.
//!
//! The parser is the binary's own, read from its place; what it needs from its neighbours is stood in for here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::chosen;
use crate::go::Object;

#[path = "../../bin/bailiwick/src/commands/plugin/containerd_decoder/payload.rs"]
#[expect(dead_code, reason = "nothing comes through a descriptor here")]
mod parser;

mod refusal {
    /// What the parser says of a payload that it refuses.
    #[derive(Debug)]
    #[expect(dead_code, reason = "nobody reads the reasons here")]
    pub enum Refusal {
        NoPayload,
        Payload(&'static str),
    }
}

mod sent {
    use std::collections::BTreeMap;

    use super::refusal::Refusal;

    pub type Secret = zeroize::Zeroizing<Vec<u8>>;

    /// What came along with the layer. The decoder sorts it; here it is only kept.
    #[derive(Debug)]
    pub struct Sent(pub BTreeMap<String, Vec<Secret>>);

    impl Sent {
        pub fn of(parameters: BTreeMap<String, Vec<Secret>>) -> Result<Self, Refusal> {
            Ok(Self(parameters))
        }
    }
}

/// Tries one payload, as it is or only its JSON; says whether it was accepted.
pub fn check(input: &[u8]) -> bool {
    let Some((choice, rest)) = chosen(input) else {
        return false;
    };
    if choice % 2 == 0 {
        payload(rest)
    } else {
        payload(&wrapped(KIND, rest))
    }
}

fn payload(bytes: &[u8]) -> bool {
    let Ok(parser::Payload {
        layer: said,
        annotations: kept,
        sent,
    }) = parser::Payload::parse(bytes)
    else {
        return false;
    };
    let (kind, json) = fields(bytes).expect("a message was accepted");
    assert!(kind == KIND || kind.strip_prefix("types.containerd.io/") == Some(KIND));
    let read = Object::of(json);
    let layer = read.object("Descriptor");
    assert_eq!(layer.text("digest"), said.digest.to_string());
    assert_eq!(layer.text("mediaType"), said.media_type);
    assert_eq!(layer.value("size"), Value::from(said.size));
    let annotations = layer.object("annotations").texts();
    assert_eq!(
        annotations,
        kept.into_iter()
            .collect::<Vec<_>>()
            .in_order_of(&annotations)
    );
    let parameters = read.object("DecryptConfig").object("Parameters");
    for (name, values) in sent.0 {
        let theirs = parameters.exactly(&name).expect("it came along");
        let theirs: Option<Vec<Option<String>>> =
            serde_json::from_str(theirs).expect("a list of texts");
        let theirs = theirs.unwrap_or_default();
        assert_eq!(theirs.len(), values.len());
        for (text, value) in theirs.iter().zip(&values) {
            let text = text.as_deref().unwrap_or_default();
            assert_eq!(STANDARD.decode(text).expect("base64 was accepted"), **value);
        }
    }
    true
}

trait InOrderOf {
    fn in_order_of(self, other: &[(String, String)]) -> Self;
}

impl InOrderOf for Vec<(String, String)> {
    /// A map forgets the order.
    fn in_order_of(mut self, other: &[(String, String)]) -> Self {
        self.sort_by_key(|(name, _)| other.iter().position(|(key, _)| key == name));
        self
    }
}

/// The message as another reader of protobuf takes it: the last one of a field wins, and unknown ones are passed over.
fn fields(mut bytes: &[u8]) -> Option<(&str, &str)> {
    let (mut kind, mut value) = ("", "");
    while !bytes.is_empty() {
        let (tag, rest) = varint(bytes)?;
        assert_eq!(tag & 7, 2, "a field of another wire type was accepted");
        let (length, rest) = varint(rest)?;
        let (field, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        match tag >> 3 {
            1 => kind = std::str::from_utf8(field).ok()?,
            2 => value = std::str::from_utf8(field).ok()?,
            _ => {}
        }
        bytes = rest;
    }
    Some((kind, value))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|byte| *byte < 0x80)?;
    let number = bytes[..=end].iter().rev().try_fold(0_u64, |number, byte| {
        number.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))
    })?;
    Some((number, &bytes[end + 1..]))
}

/// A payload as containerd makes it.
pub fn wrapped(kind: &str, json: &[u8]) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| {
        let mut out = vec![tag];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
        out
    };
    [field(0x0a, kind.as_bytes()), field(0x12, json)].concat()
}

/// The type of the payload.
pub const KIND: &str = "io.containerd.ocicrypt.v1.Payload";
