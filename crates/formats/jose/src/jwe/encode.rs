//! Writes encrypted texts: flattened JSON for one recipient, general JSON for more (RFC 7516 section 7.2).

use serde::Serialize;

use super::recipient::Recipient;
use crate::base64url;
use crate::jwk::Jwk;

/// The headers of a text before its content is encrypted, for the content covers the protected one.
pub(super) struct Headers {
    protected: String,
}

#[derive(Serialize)]
struct Text {
    protected: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted_key: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<RecipientJson>,
    iv: String,
    ciphertext: String,
    tag: String,
}

#[derive(Serialize)]
struct RecipientJson {
    header: HeaderJson,
    encrypted_key: String,
}

#[derive(Default, Serialize)]
struct HeaderJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enc: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epk: Option<Jwk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

impl Headers {
    pub(super) fn of(recipients: &[Recipient]) -> Self {
        let header = match recipients {
            [one] => header_of(one),
            _ => HeaderJson::default(),
        };
        let header = HeaderJson {
            enc: Some("A256GCM"),
            ..header
        };
        Self {
            protected: base64url::encode(json(&header)),
        }
    }

    pub(super) fn protected(&self) -> &str {
        &self.protected
    }

    pub(super) fn into_text(
        self,
        recipients: Vec<Recipient>,
        iv: &[u8],
        ciphertext: &[u8],
        tag: &[u8],
    ) -> String {
        let mut text = Text {
            protected: self.protected,
            encrypted_key: None,
            recipients: Vec::new(),
            iv: base64url::encode(iv),
            ciphertext: base64url::encode(ciphertext),
            tag: base64url::encode(tag),
        };
        match recipients.as_slice() {
            [one] => text.encrypted_key = Some(base64url::encode(&one.encrypted_key)),
            several => text.recipients = several.iter().map(recipient_json).collect(),
        }
        json(&text)
    }
}

fn recipient_json(recipient: &Recipient) -> RecipientJson {
    RecipientJson {
        header: header_of(recipient),
        encrypted_key: base64url::encode(&recipient.encrypted_key),
    }
}

fn header_of(recipient: &Recipient) -> HeaderJson {
    HeaderJson {
        alg: recipient.management.map(|management| management.name()),
        enc: None,
        epk: recipient.epk.clone(),
        kid: recipient.kid.clone(),
    }
}

#[expect(
    clippy::expect_used,
    reason = "structs of strings with fixed member names always serialize"
)]
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings serialize")
}
