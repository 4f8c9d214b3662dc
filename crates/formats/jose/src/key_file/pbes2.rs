//! Encrypted PKCS#8 (RFC 5958 section 3) with PBES2 (RFC 8018 section 6.2) over PBKDF2 or scrypt (RFC 7914).
//!
//! The parameters come from the file, so they are bounded before anything is computed: a file must not buy minutes of
//! work or gigabytes of memory.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use spki::der::asn1::{AnyRef, OctetStringRef};
use spki::der::{self, Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use spki::{AlgorithmIdentifierRef, ObjectIdentifier};
use zeroize::Zeroizing;

use super::KeyFileError;
use super::cipher::Cipher;

/// Most rounds of PBKDF2 that are done; the strongest advice of today is about a million.
pub(super) const MAX_ITERATIONS: u32 = 10_000_000;
/// Most memory that scrypt may take.
const MAX_SCRYPT_MEMORY: u64 = 256 * 1024 * 1024;
/// Most work that scrypt may do: `N · r · p`.
const MAX_SCRYPT_WORK: u64 = 1 << 22;
/// Longest salt.
const MAX_SALT: usize = 1024;

/// An encrypted private key, taken apart.
pub(super) struct EncryptedKey<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    sealed: &'a [u8],
}

impl<'a> EncryptedKey<'a> {
    /// `None` when the DER is something else, an unencrypted key for example.
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let (algorithm, sealed) = reader
            .sequence(|reader| {
                let algorithm = AlgorithmIdentifierRef::decode(reader)?;
                let sealed = <&OctetStringRef>::decode(reader)?;
                Ok::<_, der::Error>((algorithm, sealed.as_bytes()))
            })
            .ok()?;
        reader.finish().ok()?;
        Some(Self { algorithm, sealed })
    }

    /// The PKCS#8 document inside.
    pub(super) fn decrypt(&self, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        if self.algorithm.oid != PBES2 {
            return Err(KeyFileError::unsupported_encryption(&older(
                self.algorithm.oid,
            )));
        }
        let parameters = self.algorithm.parameters.ok_or(MALFORMED)?;
        let (derivation, encryption) = parameters
            .sequence(|reader| {
                Ok::<_, der::Error>((
                    AlgorithmIdentifierRef::decode(reader)?,
                    AlgorithmIdentifierRef::decode(reader)?,
                ))
            })
            .map_err(|_| MALFORMED)?;
        let (cipher, iv) = encryption_of(&encryption)?;
        let derivation = Derivation::of(&derivation, cipher.key_len())?;
        let key = derivation.derive(password, cipher.key_len())?;
        cipher
            .decrypt(&key, iv, self.sealed)
            .ok_or(KeyFileError::WrongPassword)
    }
}

/// How the key comes from the password. Only bounded parameters get here.
enum Derivation<'a> {
    Pbkdf2 {
        salt: &'a [u8],
        iterations: NonZeroU32,
        prf: pbkdf2::Algorithm,
    },
    Scrypt {
        salt: &'a [u8],
        parameters: scrypt::Params,
    },
}

impl<'a> Derivation<'a> {
    fn of(algorithm: &AlgorithmIdentifierRef<'a>, key_len: usize) -> Result<Self, KeyFileError> {
        let parameters = algorithm.parameters.ok_or(MALFORMED)?;
        match algorithm.oid {
            PBKDF2 => Self::of_pbkdf2(parameters, key_len),
            SCRYPT => Self::of_scrypt(parameters, key_len),
            other => Err(KeyFileError::unsupported_encryption(&other.to_string())),
        }
    }

    /// `SEQUENCE { salt OCTET STRING, iterationCount INTEGER, keyLength INTEGER OPTIONAL, prf DEFAULT hmacWithSHA1 }`.
    fn of_pbkdf2(parameters: AnyRef<'a>, key_len: usize) -> Result<Self, KeyFileError> {
        let read = parameters.sequence(|reader| {
            let salt = <&OctetStringRef>::decode(reader)?.as_bytes();
            let iterations = u64::decode(reader)?;
            let said_len = optional_integer(reader)?;
            let prf = (!reader.is_finished()).then(|| AlgorithmIdentifierRef::decode(reader));
            Ok::<_, der::Error>((salt, iterations, said_len, prf.transpose()?))
        });
        let (salt, iterations, said_len, prf) = read.map_err(|_| MALFORMED)?;
        check(salt, said_len, key_len)?;
        let iterations = u32::try_from(iterations).unwrap_or(u32::MAX);
        if iterations > MAX_ITERATIONS {
            return Err(KeyFileError::ExcessiveWork {
                demand: "PBKDF2 iterations",
            });
        }
        Ok(Self::Pbkdf2 {
            salt,
            iterations: NonZeroU32::new(iterations).ok_or(MALFORMED)?,
            prf: prf.map_or(Ok(pbkdf2::PBKDF2_HMAC_SHA1), |prf| pseudo_random(&prf))?,
        })
    }

    /// `SEQUENCE { salt OCTET STRING, N INTEGER, r INTEGER, p INTEGER, keyLength INTEGER OPTIONAL }`.
    fn of_scrypt(parameters: AnyRef<'a>, key_len: usize) -> Result<Self, KeyFileError> {
        let read = parameters.sequence(|reader| {
            let salt = <&OctetStringRef>::decode(reader)?.as_bytes();
            let cost = [
                u64::decode(reader)?,
                u64::decode(reader)?,
                u64::decode(reader)?,
            ];
            Ok::<_, der::Error>((salt, cost, optional_integer(reader)?))
        });
        let (salt, [n, r, p], said_len) = read.map_err(|_| MALFORMED)?;
        check(salt, said_len, key_len)?;
        let work = n.saturating_mul(r).saturating_mul(p);
        let memory = n.saturating_mul(r).saturating_mul(128);
        if work > MAX_SCRYPT_WORK || memory > MAX_SCRYPT_MEMORY {
            return Err(KeyFileError::ExcessiveWork {
                demand: "scrypt memory or work",
            });
        }
        if !n.is_power_of_two() || n < 2 {
            return Err(MALFORMED);
        }
        // INVARIANT: all three are at most `MAX_SCRYPT_WORK`, unless one of them is 0, which `Params` refuses.
        let narrow = |number: u64| u32::try_from(number).map_err(|_| MALFORMED);
        let log_n = u8::try_from(n.ilog2()).map_err(|_| MALFORMED)?;
        let parameters = scrypt::Params::new(log_n, narrow(r)?, narrow(p)?);
        Ok(Self::Scrypt {
            salt,
            parameters: parameters.map_err(|_| MALFORMED)?,
        })
    }

    fn derive(&self, password: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        let mut key = Zeroizing::new(vec![0; len]);
        match self {
            Self::Pbkdf2 {
                salt,
                iterations,
                prf,
            } => {
                pbkdf2::derive(*prf, *iterations, salt, password, &mut key);
            }
            Self::Scrypt { salt, parameters } => {
                scrypt::scrypt(password, salt, parameters, &mut key).map_err(|_| MALFORMED)?;
            }
        }
        Ok(key)
    }
}

fn check(salt: &[u8], said_len: Option<u64>, key_len: usize) -> Result<(), KeyFileError> {
    let fits = said_len.is_none_or(|said| usize::try_from(said) == Ok(key_len));
    (fits && salt.len() <= MAX_SALT)
        .then_some(())
        .ok_or(MALFORMED)
}

fn optional_integer<'a>(reader: &mut impl der::Reader<'a>) -> Result<Option<u64>, der::Error> {
    if reader.is_finished() || Tag::peek(reader)? != Tag::Integer {
        return Ok(None);
    }
    u64::decode(reader).map(Some)
}

fn pseudo_random(prf: &AlgorithmIdentifierRef<'_>) -> Result<pbkdf2::Algorithm, KeyFileError> {
    match prf.oid {
        HMAC_SHA1 => Ok(pbkdf2::PBKDF2_HMAC_SHA1),
        HMAC_SHA256 => Ok(pbkdf2::PBKDF2_HMAC_SHA256),
        HMAC_SHA384 => Ok(pbkdf2::PBKDF2_HMAC_SHA384),
        HMAC_SHA512 => Ok(pbkdf2::PBKDF2_HMAC_SHA512),
        other => Err(KeyFileError::unsupported_encryption(&format!(
            "PBKDF2 with {other}"
        ))),
    }
}

fn encryption_of<'a>(
    algorithm: &AlgorithmIdentifierRef<'a>,
) -> Result<(Cipher, &'a [u8]), KeyFileError> {
    let cipher = match algorithm.oid {
        AES_128_CBC => Cipher::Aes128,
        AES_192_CBC => Cipher::Aes192,
        AES_256_CBC => Cipher::Aes256,
        DES_EDE3_CBC => Cipher::DesEde3,
        other => return Err(KeyFileError::unsupported_encryption(&other.to_string())),
    };
    let iv = algorithm
        .parameters
        .filter(|parameters| parameters.tag() == Tag::OctetString)
        .map(AnyRef::value)
        .filter(|iv| iv.len() == cipher.iv_len());
    Ok((cipher, iv.ok_or(MALFORMED)?))
}

/// The schemes before PBES2, by the names under which OpenSSL knows them.
fn older(oid: ObjectIdentifier) -> String {
    let oid = oid.to_string();
    match oid.as_str() {
        "1.2.840.113549.1.5.1"
        | "1.2.840.113549.1.5.3"
        | "1.2.840.113549.1.5.4"
        | "1.2.840.113549.1.5.6"
        | "1.2.840.113549.1.5.10"
        | "1.2.840.113549.1.5.11" => format!("PBES1 ({oid})"),
        _ if oid.starts_with("1.2.840.113549.1.12.1.") => format!("PKCS#12's own scheme ({oid})"),
        _ => oid,
    }
}

const MALFORMED: KeyFileError = KeyFileError::MalformedEncryption {
    part: "PBES2 parameters",
};

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
const SCRYPT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11591.4.11");
const HMAC_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.7");
const HMAC_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const HMAC_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.10");
const HMAC_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.11");
const AES_128_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
const AES_192_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.22");
const AES_256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");
const DES_EDE3_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.3.7");
