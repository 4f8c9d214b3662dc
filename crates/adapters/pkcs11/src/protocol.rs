//! What is said between us and the helper: JSON, one line for each question and one for each answer.

use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_crypt::OaepHash;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::error::TokenFault;
use crate::uri::KeyName;

/// What the helper is asked.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Question {
    /// Once, at first: load the module, and find the token. No PIN is used yet.
    Open {
        module: PathBuf,
        key: KeyName,
        pin: Option<Secret>,
    },
    /// For the public key's numbers.
    PublicKey,
    /// To log in, if that has not happened, and decrypt.
    Decrypt { hash: Hash, ciphertext: Secret },
}

/// What it answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Ready,
    PublicKey(RsaNumbers),
    Plaintext(Secret),
    Fault(TokenFault),
}

/// A public RSA key, big-endian without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RsaNumbers {
    /// The modulus.
    pub n: Vec<u8>,
    /// The exponent.
    pub e: Vec<u8>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Hash {
    Sha1,
    Sha256,
}

impl From<OaepHash> for Hash {
    fn from(hash: OaepHash) -> Self {
        match hash {
            OaepHash::Sha1 => Self::Sha1,
            OaepHash::Sha256 => Self::Sha256,
        }
    }
}

/// Bytes in base64, wiped afterwards.
pub(crate) struct Secret(pub(crate) Zeroizing<Vec<u8>>);

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Zeroizing::new(STANDARD.encode(&*self.0)).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        let bytes = STANDARD.decode(text.as_bytes());
        let bytes = bytes.map_err(|_| serde::de::Error::custom("no base64"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// Writes one line.
pub(crate) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    // Of one size from the beginning: growing would leave copies of what is secret behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    serde_json::to_writer(&mut *line, message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Reads one line; `None` at the end.
pub(crate) fn read_line(from: &mut impl BufRead) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    from.take(limit).read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// What a line says.
pub(crate) fn parse<T: DeserializeOwned>(line: &[u8]) -> io::Result<T> {
    // What serde says of it may quote it.
    serde_json::from_slice(line).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Longest line: all numbers in it are bounded by RSA-16384.
const LONGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut pipe = Vec::new();
        let pin = Secret(Zeroizing::new(b"1234".to_vec()));
        let key = KeyName::default();
        let module = "/m.so".into();
        let pin = Some(pin);
        write(&mut pipe, &Question::Open { module, key, pin }).unwrap();
        write(&mut pipe, &Answer::Fault(TokenFault::PinRefused)).unwrap();
        let mut pipe = io::Cursor::new(pipe);
        let mut next = || read_line(&mut pipe).unwrap();
        let question = parse(&next().unwrap()).unwrap();
        assert!(
            matches!(question, Question::Open { pin: Some(pin), .. } if pin.0.as_slice() == b"1234")
        );
        let answer = parse(&next().unwrap()).unwrap();
        assert!(matches!(answer, Answer::Fault(TokenFault::PinRefused)));
        assert!(next().is_none());
    }

    #[test]
    fn half_lines_and_endless_ones_are_refused() {
        for line in [b"half".to_vec(), vec![b'x'; LONGEST + 1]] {
            assert!(read_line(&mut io::Cursor::new(line)).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_lines_never_panic(line in "[{}\":a-z,\\[\\]0-9=+/-]{0,80}") {
            let _ = parse::<Answer>(line.as_bytes());
            let _ = parse::<Question>(line.as_bytes());
        }
    }
}
