//! Public keys in X.509's form (RFC 5280 section 4.1.2.7, RFC 5480, RFC 8017).

use spki::der::asn1::{AnyRef, BitString, BitStringRef, UintRef};
use spki::der::{Decode as _, Encode as _, Reader as _, SliceReader};
use spki::{AlgorithmIdentifier, AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfo};

use super::{Curve, Jwk, JwkError};

/// Reads a `SubjectPublicKeyInfo`; compressed points are refused.
pub(super) fn parse(der: &[u8]) -> Result<Jwk, JwkError> {
    let malformed = || JwkError::Member {
        member: "SubjectPublicKeyInfo",
    };
    let info = SubjectPublicKeyInfo::<AnyRef<'_>, BitStringRef<'_>>::from_der(der)
        .map_err(|_| malformed())?;
    let key = info.subject_public_key.as_bytes().ok_or_else(malformed)?;
    let oid = info.algorithm.oid;
    if oid == RSA {
        let (n, e) = rsa_numbers(key).map_err(|_| malformed())?;
        return Jwk::from_rsa(n, e);
    }
    if oid != EC {
        return Err(JwkError::unknown("algorithm", &name(oid)));
    }
    let parameters = info.algorithm.parameters.ok_or_else(malformed)?;
    let curve = parameters
        .decode_as::<ObjectIdentifier>()
        .map_err(|_| malformed())?;
    let known = Curve::ALL.into_iter().find(|known| oid_of(*known) == curve);
    Jwk::from_ec_point(
        known.ok_or_else(|| JwkError::unknown("curve", &name(curve)))?,
        key,
    )
}

/// Writes the `SubjectPublicKeyInfo` of an uncompressed point.
pub(super) fn encode_ec(curve: Curve, point: &[u8]) -> Result<Vec<u8>, JwkError> {
    let encode = || {
        let algorithm = AlgorithmIdentifier {
            oid: EC,
            parameters: Some(oid_of(curve)),
        };
        SubjectPublicKeyInfo {
            algorithm,
            subject_public_key: BitString::from_bytes(point)?,
        }
        .to_der()
    };
    encode().map_err(|_| JwkError::Invalid { kind: "EC" })
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }`.
pub(super) fn rsa_numbers(der: &[u8]) -> Result<(&[u8], &[u8]), spki::der::Error> {
    let mut reader = SliceReader::new(der)?;
    let numbers = reader.sequence(|reader| {
        let n = UintRef::decode(reader)?;
        let e = UintRef::decode(reader)?;
        Ok::<_, spki::der::Error>((n.as_bytes(), e.as_bytes()))
    })?;
    reader.finish()?;
    Ok(numbers)
}

/// The kind of key that an algorithm is for, by its curve where it has one; `None` for those that are known here.
pub(crate) fn unusual_kind(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<String> {
    let kind = match (algorithm.oid, algorithm.parameters) {
        (RSA, _) | (EC, None) => return None,
        (EC, Some(parameters)) => parameters.decode_as().ok()?,
        (other, _) => other,
    };
    let is_known = Curve::ALL.into_iter().any(|curve| oid_of(curve) == kind);
    (!is_known).then(|| name(kind))
}

/// The names that people know; other identifiers stay numbers.
fn name(oid: ObjectIdentifier) -> String {
    let text = oid.to_string();
    let known = match text.as_str() {
        "1.3.101.110" => "X25519",
        "1.3.101.111" => "X448",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        "1.2.840.113549.1.1.7" => "RSA-OAEP",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.10040.4.1" => "DSA",
        "1.2.840.113549.1.3.1" => "DH",
        "1.3.132.0.33" => "P-224",
        "1.3.132.0.10" => "secp256k1",
        _ => return text,
    };
    known.to_owned()
}

fn oid_of(curve: Curve) -> ObjectIdentifier {
    match curve {
        Curve::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        Curve::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        Curve::P521 => ObjectIdentifier::new_unwrap("1.3.132.0.35"),
    }
}

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
