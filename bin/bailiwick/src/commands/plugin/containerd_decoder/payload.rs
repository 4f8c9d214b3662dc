//! What containerd passes on descriptor 3: a protobuf `Any` around JSON that names one layer, and nothing else. It knows
//! neither pod nor image.

use std::{collections::BTreeMap, fs::File, io::Read};

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use evidence::request::LayerDescriptor;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::{Zeroize, Zeroizing};

use super::{
    refusal::Refusal,
    sent::{Secret, Sent},
};

/// A layer as it was handed over.
#[derive(Debug)]
pub(super) struct Payload {
    /// Digest, size and type.
    pub(super) layer: LayerDescriptor,
    /// Its annotations, with key packets among them.
    pub(super) annotations: BTreeMap<String, String>,
    /// Keys that a client sent along.
    pub(super) sent: Sent,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PayloadJson {
    #[serde(default)]
    decrypt_config: Option<DecryptConfig>,
    descriptor: Descriptor,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DecryptConfig {
    #[serde(default)]
    parameters: Option<BTreeMap<String, Option<Vec<KeyText>>>>,
}

/// A private key as text, wiped when it is no longer needed. Where there is none, Go writes `null`.
#[derive(Default, Deserialize)]
#[serde(from = "Option<String>")]
struct KeyText(String);

impl From<Option<String>> for KeyText {
    fn from(text: Option<String>) -> Self {
        Self(text.unwrap_or_default())
    }
}

impl Drop for KeyText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Members that say nothing about keys are passed over; those that nobody knows are refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Descriptor {
    media_type: String,
    digest: estate::Digest,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default, rename = "urls")]
    _urls: Option<Box<RawValue>>,
    #[serde(default, rename = "data")]
    _data: Option<Box<RawValue>>,
    #[serde(default, rename = "platform")]
    _platform: Option<Box<RawValue>>,
    #[serde(default, rename = "artifactType")]
    _artifact_type: Option<Box<RawValue>>,
}

/// Reads descriptor 3 to its end. Nothing may have been opened before: it would have got that number.
pub(super) fn read_descriptor_3() -> Result<Zeroizing<Vec<u8>>, Refusal> {
    // Where the number is not in use, or is a socket of the runtime that leaked, this fails.
    let file = File::open("/proc/self/fd/3").map_err(|_| Refusal::NoPayload)?;
    let mut payload = Zeroizing::new(Vec::new());
    file.take(LARGEST + 1)
        .read_to_end(&mut payload)
        .map_err(|_| Refusal::NoPayload)?;
    if payload.is_empty() {
        return Err(Refusal::NoPayload);
    }
    Ok(payload)
}

impl Payload {
    /// Reads a payload.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() as u64 > LARGEST {
            return Err(Refusal::Payload("it is larger than any payload"));
        }
        let (kind, json) = any(bytes).ok_or(Refusal::Payload("it is no protobuf `Any`"))?;
        if kind.strip_prefix("types.containerd.io/").unwrap_or(kind) != KIND {
            return Err(Refusal::Payload("it is of another type"));
        }
        let PayloadJson {
            decrypt_config,
            descriptor,
        } = jose::strict_json::from_slice(json)
            .map_err(|_| Refusal::Payload("it is not the expected JSON"))?;
        let parameters = decrypt_config
            .and_then(|config| config.parameters)
            .unwrap_or_default();
        let Descriptor {
            media_type,
            digest,
            size,
            annotations,
            ..
        } = descriptor;
        Ok(Self {
            layer: LayerDescriptor {
                digest,
                size,
                media_type,
            },
            annotations,
            sent: Sent::of(decoded(parameters)?)?,
        })
    }
}

fn decoded(
    parameters: BTreeMap<String, Option<Vec<KeyText>>>,
) -> Result<BTreeMap<String, Vec<Secret>>, Refusal> {
    let decode = |text: &KeyText| {
        let bytes = B64.decode(text.0.as_bytes()).map(Zeroizing::new);
        bytes.map_err(|_| Refusal::Payload("a key in it is not base64"))
    };
    let each = parameters.into_iter().map(|(name, values)| {
        let values = values.unwrap_or_default();
        let values: Result<_, Refusal> = values.iter().map(decode).collect();
        Ok((name, values?))
    });
    each.collect()
}

/// `type_url` and `value`, each at most once, and nothing else.
fn any(mut bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (mut kind, mut value) = (None, None);
    while !bytes.is_empty() {
        let (tag, rest) = bytes.split_first()?;
        let (length, rest) = varint(rest)?;
        let (field, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let slot = match tag {
            0x0a => &mut kind,
            0x12 => &mut value,
            _ => return None,
        };
        if slot.replace(field).is_some() {
            return None;
        }
        bytes = rest;
    }
    Some((std::str::from_utf8(kind?).ok()?, value?))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (place, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(place + 1..)?));
        }
    }
    None
}

const KIND: &str = "io.containerd.ocicrypt.v1.Payload";
/// The largest annotations of a layer fit in, several times over.
const LARGEST: u64 = 8 * 1024 * 1024;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A payload as containerd makes it.
    pub(in super::super) fn wrapped(kind: &str, json: &str) -> Vec<u8> {
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
        [field(0x0a, kind.as_bytes()), field(0x12, json.as_bytes())].concat()
    }

    fn json(more: &str) -> String {
        let digest = estate::Digest::of(b"layer");
        format!(
            r#"{{"DecryptConfig":{{"Parameters":null}},"Descriptor":{{"mediaType":"application/vnd.oci.image.layer.v1.tar+encrypted","digest":"{digest}","size":5{more}}}}}"#
        )
    }

    #[test]
    fn the_payload_of_containerd_is_read() {
        let text = json(r#","annotations":{"a":"b"},"platform":{"os":"linux"}"#);
        for kind in [
            KIND,
            "types.containerd.io/io.containerd.ocicrypt.v1.Payload",
        ] {
            let payload = Payload::parse(&wrapped(kind, &text)).unwrap();
            assert_eq!(payload.layer.size, 5);
            assert_eq!(payload.annotations["a"], "b");
        }
    }

    #[test]
    fn keys_that_a_client_sends_along_are_read() {
        let text = json("").replace(
            "null",
            r#"{"privkeys":["a2V5"],"x509s":[],"gpg-privatekeys":null}"#,
        );
        let payload = Payload::parse(&wrapped(KIND, &text)).unwrap();
        assert_eq!(payload.sent.private_keys[0].0.as_slice(), b"key");
    }

    #[test]
    fn passwords_and_arguments_of_providers_are_read() {
        let text = json("").replace(
            "null",
            r#"{"privkeys":["a2V5","a2V5"],"privkeys-passwords":["cHc=",null],"x509s":["Y2VydA=="],"kms":["YXJn"],"pkcs11-config":["eA=="]}"#,
        );
        let sent = Payload::parse(&wrapped(KIND, &text)).unwrap().sent;
        let passwords: Vec<_> = sent
            .private_keys
            .iter()
            .map(|(_, password)| {
                password
                    .as_ref()
                    .map(|password| password.as_slice().to_vec())
            })
            .collect();
        assert_eq!(passwords, [Some(b"pw".to_vec()), None]);
        assert_eq!(sent.certificates[0].as_slice(), b"cert");
        assert_eq!(sent.arguments["kms"], ["arg"]);
        assert_eq!(sent.arguments.len(), 1);
    }

    #[test]
    fn passwords_without_their_keys_and_arguments_that_are_no_text_are_refused() {
        for parameters in [
            r#"{"privkeys":["a2V5"],"privkeys-passwords":["cHc=","cHc="]}"#,
            r#"{"privkeys-passwords":["cHc="]}"#,
            r#"{"gpg-privatekeys-passwords":["cHc="]}"#,
            r#"{"kms":["/w=="]}"#,
            r#"{"privkeys":["%"]}"#,
        ] {
            let text = json("").replace("null", parameters);
            let parsed = Payload::parse(&wrapped(KIND, &text));
            assert!(matches!(parsed, Err(Refusal::Payload(_))), "{parameters}");
        }
    }

    #[test]
    fn other_types_and_unknown_doubled_or_cut_parts_are_refused() {
        let good = wrapped(KIND, &json(""));
        for bad in [
            wrapped("io.containerd.other", &json("")),
            wrapped(KIND, &json(r#","more":1"#)),
            wrapped(KIND, &json(r#","size":6"#)),
            wrapped(KIND, &json("").replace(":5", ":-5")),
            wrapped(KIND, "{}"),
            [good.clone(), good.clone()].concat(),
            [good.clone(), vec![0x1a, 0]].concat(),
            good[..good.len() - 1].to_vec(),
        ] {
            assert!(matches!(Payload::parse(&bad), Err(Refusal::Payload(_))));
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_payloads_are_errors(bytes: Vec<u8>, text: String, kind: String) {
            proptest::prop_assert!(Payload::parse(&bytes).is_err());
            proptest::prop_assert!(Payload::parse(&wrapped(KIND, &text)).is_err());
            proptest::prop_assert!(Payload::parse(&wrapped(&kind, &json(""))).is_err());
        }

        #[test]
        fn a_cut_or_changed_payload_never_panics(at in 0usize..300, to: u8, cut in 0usize..300) {
            let mut bytes = wrapped(KIND, &json(r#","annotations":{"a":"b"}"#));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            bytes.truncate(cut);
            let _ = Payload::parse(&bytes);
        }
    }
}
