//! The recipients inside a JWE packet, as far as it names them; one can be taken out without the key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use crate::json::RawObject;

/// What is left of a packet without one recipient.
pub(crate) enum Remaining {
    /// He was not in there.
    Everything,
    /// He was alone.
    Nothing,
    /// The packet of the others.
    Rest(Vec<u8>),
}

/// How each recipient's key is wrapped and, where the packet tells, its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) algorithm: Option<String>,
    pub(crate) key_id: Option<String>,
}

/// The recipients of a packet; none when it is not a JWE.
pub(crate) fn recipients(packet: &[u8]) -> Vec<Named> {
    let Some(parsed) = Parsed::of(packet) else {
        return Vec::new();
    };
    let each = parsed.recipients.iter();
    each.map(|recipient| parsed.named(recipient)).collect()
}

/// The packet without the recipients whose key id is `id`. The rest opens as before: nothing that is authenticated
/// names them.
pub(crate) fn without(packet: &[u8], id: &str) -> Remaining {
    let Some(parsed) = Parsed::of(packet) else {
        return Remaining::Everything;
    };
    let is_meant = |recipient: &&RawObject| parsed.named(recipient).key_id.as_deref() == Some(id);
    let meant = parsed.recipients.iter().filter(is_meant).count();
    if meant == 0 {
        return Remaining::Everything;
    }
    if meant == parsed.recipients.len() {
        return Remaining::Nothing;
    }
    let rest: Vec<&RawObject> = parsed
        .recipients
        .iter()
        .filter(|recipient| !is_meant(recipient))
        .collect();
    let mut members = parsed.members.clone();
    // Peers repeat the first recipient's wrapped key at the top, where it would stay behind.
    members.remove("encrypted_key");
    members.remove("header");
    let written = members.set("recipients", &rest);
    match written.and_then(|()| serde_json::to_vec(&members)) {
        Ok(bytes) => Remaining::Rest(bytes),
        Err(_) => Remaining::Everything,
    }
}

struct Parsed {
    members: RawObject,
    protected: Option<RawObject>,
    recipients: Vec<RawObject>,
}

impl Parsed {
    fn of(packet: &[u8]) -> Option<Self> {
        if packet.first() != Some(&b'{') {
            return Self::of_compact(packet);
        }
        let members: RawObject = serde_json::from_slice(packet).ok()?;
        let protected: Option<String> = members.read("protected").ok()?;
        let protected = protected.and_then(|text| header(&text));
        let listed: Option<Vec<Box<RawValue>>> = members.read("recipients").ok()?;
        let recipients = match listed {
            Some(listed) if !listed.is_empty() => listed
                .iter()
                .map(|one| serde_json::from_str(one.get()).ok())
                .collect::<Option<_>>()?,
            // The one recipient stands at the top.
            _ => vec![members.clone()],
        };
        Some(Self {
            members,
            protected,
            recipients,
        })
    }

    fn of_compact(packet: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(packet).ok()?;
        let first = text
            .split('.')
            .next()
            .filter(|_| text.split('.').count() == 5)?;
        Some(Self {
            members: RawObject::default(),
            protected: header(first),
            recipients: vec![RawObject::default()],
        })
    }

    fn named(&self, recipient: &RawObject) -> Named {
        let own: Option<RawObject> = recipient.read("header").ok().flatten();
        let said = |name: &str| {
            let in_own = own.as_ref().and_then(|own| own.read(name).ok().flatten());
            in_own.or_else(|| self.protected.as_ref()?.read(name).ok().flatten())
        };
        Named {
            algorithm: said("alg"),
            key_id: said("kid"),
        }
    }
}

fn header(text: &str) -> Option<RawObject> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn packet(ids: &[&str]) -> Vec<u8> {
        let recipients: Vec<Value> = ids
            .iter()
            .map(|id| json!({"header": {"alg": "RSA-OAEP", "kid": id}, "encrypted_key": id}))
            .collect();
        serde_json::to_vec(&json!({
            "protected": URL_SAFE_NO_PAD.encode(br#"{"enc":"A256GCM"}"#),
            "recipients": recipients, "encrypted_key": ids[0], "iv": "aXY", "ciphertext": "Yw", "tag": "dA",
        }))
        .unwrap()
    }

    #[test]
    fn one_recipient_leaves_with_both_copies_of_his_key() {
        let Remaining::Rest(rest) = without(&packet(&["ann", "bob"]), "ann") else {
            panic!("a rest")
        };
        let text = String::from_utf8(rest.clone()).unwrap();
        assert!(!text.contains("ann"), "{text}");
        let json: Value = serde_json::from_slice(&rest).unwrap();
        assert_eq!(json["recipients"].as_array().unwrap().len(), 1);
        assert_eq!(json["ciphertext"], "Yw");
        assert!(matches!(without(&rest, "bob"), Remaining::Nothing));
        assert!(matches!(without(&rest, "cid"), Remaining::Everything));
    }

    #[test]
    fn all_forms_name_their_recipients() {
        let protected =
            URL_SAFE_NO_PAD.encode(br#"{"alg":"RSA-OAEP","enc":"A256GCM","kid":"ann"}"#);
        let flattened = format!(
            r#"{{"protected":"{protected}","encrypted_key":"","iv":"","ciphertext":"","tag":""}}"#
        );
        let compact = format!("{protected}.a.b.c.d");
        for one in [flattened.as_bytes(), compact.as_bytes()] {
            assert_eq!(recipients(one)[0].key_id.as_deref(), Some("ann"));
            assert!(matches!(without(one, "ann"), Remaining::Nothing));
        }
        assert_eq!(recipients(&packet(&["ann", "bob"])).len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..256)) {
            let _ = without(&bytes, "x");
            let _ = recipients(&bytes);
        }

        #[test]
        fn no_json_panics(text in r#"\{("(protected|recipients|header|kid)":(\[\]|\{\}|null|"[a-zA-Z0-9]{0,9}"|\[\{\}\]),?){0,3}\}"#) {
            let _ = without(text.as_bytes(), "x");
        }
    }
}
