//! PKCS#11 URIs (RFC 7512), as far as they name a token, a key in it, its module and its PIN.
//!
//! Attributes of the path restrict which key is meant, so an unknown one is refused; unknown ones of the query are passed over.
//! Those that describe a library or a slot are accepted and not compared, as ocicrypt does.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::error::UriError;

/// Which key, in which token, by which module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    pub(crate) key: KeyName,
    pub(crate) module: ModuleName,
    pub(crate) pin: PinSource,
}

/// A token and a key in it; what is absent is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct KeyName {
    pub(crate) slot: Option<u32>,
    pub(crate) token: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) object: Option<Vec<u8>>,
    pub(crate) id: Option<Vec<u8>>,
}

/// A module; at least one of both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ModuleName {
    pub(crate) path: Option<PathBuf>,
    pub(crate) name: Option<String>,
}

/// A PIN. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Zeroizing<Vec<u8>>);

impl Pin {
    /// A PIN of these bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin")
    }
}

/// Where the PIN is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// Nothing is said.
    Absent,
    /// In the URI itself (`pin-value`), where everybody who can read the file reads it.
    Here(Pin),
    /// In a file (`pin-source`).
    File(PathBuf),
}

impl Uri {
    /// Reads a URI.
    ///
    /// # Errors
    /// See [`UriError`].
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let rest = text.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = attributes(path, ';')?;
        let query = attributes(query, '&')?;
        let uri = Self {
            key: KeyName::of(&path)?,
            module: ModuleName::of(&query)?,
            pin: PinSource::of(&query)?,
        };
        let names_token = uri.key.slot.is_some() || uri.key.token.is_some();
        let missing = |what| Err(UriError::Missing { what });
        match () {
            () if !names_token => missing("no token: neither `token` nor `slot-id`"),
            () if uri.key.object.is_none() && uri.key.id.is_none() => {
                missing("no key: neither `object` nor `id`")
            }
            () => Ok(uri),
        }
    }

    /// Where the PIN is.
    #[must_use]
    pub fn pin(&self) -> &PinSource {
        &self.pin
    }

    /// How people know the key: without its PIN, without control characters.
    #[must_use]
    pub fn shown(&self) -> String {
        let KeyName {
            slot,
            token,
            object,
            ..
        } = &self.key;
        let token = match (token, slot) {
            (Some(token), _) => format!("token={}", token.escape_debug()),
            (None, Some(slot)) => format!("slot-id={slot}"),
            (None, None) => String::new(),
        };
        let key = match (object, &self.key.id) {
            (Some(object), _) => {
                format!("object={}", String::from_utf8_lossy(object).escape_debug())
            }
            (None, Some(id)) => id
                .iter()
                .fold("id=".to_owned(), |text, byte| format!("{text}%{byte:02X}")),
            (None, None) => String::new(),
        };
        format!("pkcs11:{token};{key}").chars().take(200).collect()
    }
}

impl KeyName {
    fn of(path: &[Attribute]) -> Result<Self, UriError> {
        for Attribute { name, .. } in path {
            if !KNOWN_IN_PATH.contains(&name.as_str()) {
                let name = name.chars().take(64).collect();
                return Err(UriError::Unknown { name });
            }
        }
        // A key file names a pair; p11tool and others say which half they saw.
        let kind = text(path, "type")?;
        if kind.is_some_and(|kind| !["public", "private"].contains(&kind.as_str())) {
            return Err(UriError::Value { name: "type" });
        }
        let slot = text(path, "slot-id")?;
        Ok(Self {
            slot: match slot.map(|slot| number(&slot)) {
                Some(None) => return Err(UriError::Value { name: "slot-id" }),
                slot => slot.flatten(),
            },
            token: text(path, "token")?,
            serial: text(path, "serial")?,
            manufacturer: text(path, "manufacturer")?,
            model: text(path, "model")?,
            object: value(path, "object").map(<[u8]>::to_vec),
            id: value(path, "id").map(<[u8]>::to_vec),
        })
    }
}

impl ModuleName {
    fn of(query: &[Attribute]) -> Result<Self, UriError> {
        let path = text(query, "module-path")?.map(PathBuf::from);
        if path.as_ref().is_some_and(|path| !path.is_absolute()) {
            let name = "module-path";
            return Err(UriError::Value { name });
        }
        let name = text(query, "module-name")?;
        if name.as_ref().is_some_and(|name| name.contains('/')) {
            let name = "module-name";
            return Err(UriError::Value { name });
        }
        Ok(Self { path, name })
    }
}

impl PinSource {
    fn of(query: &[Attribute]) -> Result<Self, UriError> {
        let source = text(query, "pin-source")?;
        match (value(query, "pin-value"), source) {
            (None, None) => Ok(Self::Absent),
            (Some(pin), None) => Ok(Self::Here(Pin(Zeroizing::new(pin.to_vec())))),
            (None, Some(source)) => {
                // Programs (`|…`) and other schemes than `file:` are not asked.
                let path = source.strip_prefix("file:").unwrap_or(&source);
                let path = path.strip_prefix("//").map_or(path, |path| path);
                match path.starts_with('/') {
                    true => Ok(Self::File(path.into())),
                    false => Err(UriError::Value { name: "pin-source" }),
                }
            }
            (Some(_), Some(_)) => Err(UriError::Duplicate {
                name: "pin-value".to_owned(),
            }),
        }
    }
}

struct Attribute {
    name: String,
    value: Zeroizing<Vec<u8>>,
}

fn attributes(part: &str, separator: char) -> Result<Vec<Attribute>, UriError> {
    let mut attributes: Vec<Attribute> = Vec::new();
    for piece in part.split(separator).filter(|_| !part.is_empty()) {
        let (name, value) = piece.split_once('=').ok_or(UriError::Malformed)?;
        if name.is_empty() {
            return Err(UriError::Malformed);
        }
        if attributes.iter().any(|known| known.name == name) {
            let name = name.chars().take(64).collect();
            return Err(UriError::Duplicate { name });
        }
        attributes.push(Attribute {
            name: name.to_owned(),
            value: decoded(value).ok_or(UriError::Malformed)?,
        });
    }
    Ok(attributes)
}

/// Takes `%XX` for the byte that it stands for.
fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = text.bytes();
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    Some(decoded)
}

fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a [u8]> {
    let mut attributes = attributes.iter();
    attributes
        .find(|attribute| attribute.name == name)
        .map(|attribute| attribute.value.as_slice())
}

fn text(attributes: &[Attribute], name: &'static str) -> Result<Option<String>, UriError> {
    let refused = || UriError::Value { name };
    match value(attributes, name).map(|value| String::from_utf8(value.to_vec())) {
        None => Ok(None),
        Some(Ok(text)) if !text.contains('\0') => Ok(Some(text)),
        Some(_) => Err(refused()),
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// RFC 7512 section 2.3.
const KNOWN_IN_PATH: [&str; 13] = [
    "token",
    "manufacturer",
    "serial",
    "model",
    "library-manufacturer",
    "library-version",
    "library-description",
    "object",
    "type",
    "id",
    "slot-manufacturer",
    "slot-description",
    "slot-id",
];

#[cfg(test)]
mod tests {
    use super::*;

    const P11TOOL: &str = "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=a1b2;token=my%3Btoken;id=%01%FF;object=mykey;type=public?pin-value=12%2534&module-name=softhsm2&later=x";

    #[test]
    fn what_p11tool_prints_is_read() {
        let uri = Uri::parse(P11TOOL).unwrap();
        assert_eq!(uri.key.token.as_deref(), Some("my;token"));
        assert_eq!(uri.key.id.as_deref(), Some(&[1, 0xff][..]));
        assert_eq!(uri.key.object.as_deref(), Some(&b"mykey"[..]));
        assert_eq!(uri.key.model.as_deref(), Some("SoftHSM v2"));
        assert_eq!(uri.module.name.as_deref(), Some("softhsm2"));
        let PinSource::Here(pin) = uri.pin() else {
            panic!("no pin")
        };
        assert_eq!(pin.expose_bytes(), b"12%34");
        assert_eq!(uri.shown(), "pkcs11:token=my;token;object=mykey");
        assert!(!format!("{uri:?}").contains("12%34"));
    }

    #[test]
    fn slots_and_files_with_pins_are_read() {
        for source in ["file:/run/pin", "/run/pin", "file:///run/pin"] {
            let uri = format!("pkcs11:slot-id=2053753261;id=%01?pin-source={source}");
            let uri = Uri::parse(&uri).unwrap();
            assert_eq!(uri.key.slot, Some(2_053_753_261));
            assert_eq!(uri.pin, PinSource::File("/run/pin".into()));
            assert_eq!(uri.shown(), "pkcs11:slot-id=2053753261;id=%01");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            "foobar",
            "PKCS11:token=a;object=b",
            "pkcs11:",
            "pkcs11:token=a",
            "pkcs11:object=b",
            "pkcs11:token=a;object=b;token=a",
            "pkcs11:token=a;object=b;x-vendor=1",
            "pkcs11:token=a;object",
            "pkcs11:token=a;;object=b",
            "pkcs11:=a;object=b",
            "pkcs11:token=%zz;object=b",
            "pkcs11:token=%4;object=b",
            "pkcs11:token=%FF;object=b",
            "pkcs11:token=%00;object=b",
            "pkcs11:slot-id=-1;object=b",
            "pkcs11:slot-id=4294967296;object=b",
            "pkcs11:slot-id=;object=b",
            "pkcs11:token=a;object=b;type=secret-key",
            "pkcs11:token=a;object=b?pin-value=1&pin-source=/run/pin",
            "pkcs11:token=a;object=b?pin-value=1&pin-value=2",
            "pkcs11:token=a;object=b?pin-source=|/bin/pin",
            "pkcs11:token=a;object=b?pin-source=https://host/pin",
            "pkcs11:token=a;object=b?pin-source=pin",
            "pkcs11:token=a;object=b?module-path=lib.so",
            "pkcs11:token=a;object=b?module-name=../evil",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_uris_never_panic(text in "pkcs11:[ -~%;?&=\u{e9}]{0,80}") {
            let _ = Uri::parse(&text);
        }

        #[test]
        fn every_byte_can_be_written(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..40)) {
            let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            let uri = Uri::parse(&format!("pkcs11:token=a;id={escaped}")).unwrap();
            proptest::prop_assert_eq!(uri.key.id, Some(bytes));
        }
    }
}
