//! Key files in JSON: one key (RFC 7517 section 4) or a set (section 5), public or private.

use aws_lc_rs::agreement;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use zeroize::{Zeroize, Zeroizing};

use super::{KeyFileError, PRIVATE, PUBLIC};
use crate::base64url;
use crate::jwe::{DecryptionKey, REJECTED_KEY};
use crate::jwk::{Curve, Jwk, JwkError, JwkJson};
use crate::strict_json;

/// Most keys in a set.
const MAX_KEYS: usize = 64;

/// The public keys of a file.
pub(super) fn public_keys(text: &[u8]) -> Result<Vec<Jwk>, KeyFileError> {
    if !is_set(text, PUBLIC)? {
        return public_key(parse(text, PUBLIC)?).map(|key| vec![key]);
    }
    let PublicSet { keys } = parse(text, PUBLIC)?;
    of_set(keys, JwkJson::is_for_signatures, public_key)
}

/// The private keys of a file.
pub(super) fn private_keys(text: &[u8]) -> Result<Vec<DecryptionKey>, KeyFileError> {
    if !is_set(text, PRIVATE)? {
        let key: Zeroizing<PrivateJwk> = Zeroizing::new(parse(text, PRIVATE)?);
        return private_key(&key).map(|key| vec![key]);
    }
    let PrivateSet { keys } = parse(text, PRIVATE)?;
    of_set(keys, |key| key.usage == "sig", |key| private_key(&key))
}

/// Every key of a set, those for signatures apart: their owner says that nothing is to be encrypted to them.
fn of_set<J, K>(
    keys: Vec<J>,
    is_for_signatures: impl Fn(&J) -> bool,
    read: impl Fn(J) -> Result<K, KeyFileError>,
) -> Result<Vec<K>, KeyFileError> {
    if keys.len() > MAX_KEYS {
        return Err(KeyFileError::Several { count: keys.len() });
    }
    let numbered = (1..).zip(keys).filter(|(_, key)| !is_for_signatures(key));
    let read = numbered.map(|(number, key)| {
        read(key).map_err(|source| KeyFileError::InSet {
            number,
            source: Box::new(source),
        })
    });
    let read: Vec<K> = read.collect::<Result<_, _>>()?;
    if read.is_empty() {
        return Err(KeyFileError::EmptySet);
    }
    Ok(read)
}

fn public_key(json: JwkJson) -> Result<Jwk, KeyFileError> {
    if let Some(found) = json.unusual_kind() {
        return Err(KeyFileError::unsupported_key(found));
    }
    Jwk::try_from(json).map_err(|source| match source {
        JwkError::Private => KeyFileError::wrong_kind("private JWK", PUBLIC),
        source => KeyFileError::Public { source },
    })
}

#[derive(Deserialize)]
struct Members {
    keys: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct PublicSet {
    keys: Vec<JwkJson>,
}

#[derive(Deserialize)]
struct PrivateSet {
    keys: Vec<Zeroizing<PrivateJwk>>,
}

fn is_set(text: &[u8], wanted: &'static str) -> Result<bool, KeyFileError> {
    Ok(parse::<Members>(text, wanted)?.keys.is_some())
}

/// The parser's own words are left out: they may quote the file.
fn parse<T: DeserializeOwned>(text: &[u8], wanted: &'static str) -> Result<T, KeyFileError> {
    strict_json::from_slice(text).map_err(|_| KeyFileError::NotUnderstood { wanted })
}

/// A private JWK (RFC 7518 sections 6.2.2 and 6.3.2). RSA keys must bring all their numbers, as all tools write them.
#[derive(Default, Deserialize, Zeroize)]
#[serde(default)]
struct PrivateJwk {
    kty: String,
    crv: String,
    #[serde(rename = "use")]
    usage: String,
    x: String,
    y: String,
    n: String,
    e: String,
    d: String,
    p: String,
    q: String,
    dp: String,
    dq: String,
    qi: String,
}

fn private_key(json: &PrivateJwk) -> Result<DecryptionKey, KeyFileError> {
    match json.kty.as_str() {
        "EC" | "RSA" if json.d.is_empty() => Err(KeyFileError::wrong_kind("public JWK", PRIVATE)),
        "EC" => ec_key(json),
        "RSA" => rsa_key(json),
        "OKP" => Err(KeyFileError::unsupported_key(&json.crv)),
        other => Err(KeyFileError::unsupported_key(other)),
    }
}

fn ec_key(json: &PrivateJwk) -> Result<DecryptionKey, KeyFileError> {
    let curve =
        Curve::from_name(&json.crv).map_err(|_| KeyFileError::unsupported_key(&json.crv))?;
    let point = [
        vec![4],
        member("x", &json.x)?.to_vec(),
        member("y", &json.y)?.to_vec(),
    ]
    .concat();
    let public =
        Jwk::from_ec_point(curve, &point).map_err(|source| KeyFileError::Public { source })?;
    let key = agreement::PrivateKey::from_private_key(curve.agreement(), &member("d", &json.d)?);
    let key = key.map_err(|_| REJECTED)?;
    let key =
        DecryptionKey::from_ec(curve, key).map_err(|source| KeyFileError::Private { source })?;
    key.is_for(&public).then_some(key).ok_or(REJECTED)
}

fn rsa_key(json: &PrivateJwk) -> Result<DecryptionKey, KeyFileError> {
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: member("n", &json.n)?,
            e: member("e", &json.e)?,
        },
        d: member("d", &json.d)?,
        p: member("p", &json.p)?,
        q: member("q", &json.q)?,
        dP: member("dp", &json.dp)?,
        dQ: member("dq", &json.dq)?,
        qInv: member("qi", &json.qi)?,
    };
    let pair = KeyPair::from_components(&components).map_err(|_| REJECTED)?;
    DecryptionKey::from_rsa(&pair).map_err(|source| KeyFileError::Private { source })
}

fn member(member: &'static str, text: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let bytes = base64url::decode(text).filter(|bytes| !bytes.is_empty());
    bytes.map(Zeroizing::new).ok_or(KeyFileError::Public {
        source: JwkError::Member { member },
    })
}

const REJECTED: KeyFileError = KeyFileError::Private {
    source: REJECTED_KEY,
};
