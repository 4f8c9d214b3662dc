//! RSA session keys, decrypted in constant time.
//!
//! The library's own RSA takes a time that depends on the secret (RUSTSEC-2023-0071, "Marvin"). Whoever may hand packets to
//! us and watch the clock could decrypt others by that, so keys of 2048 bits and more go to aws-lc-rs. Smaller ones, which
//! it does not take and which nobody should have any more, stay with the library.

use aws_lc_rs::rand;
use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use pgp::composed::PlainSessionKey;
use pgp::crypto::rsa::SecretKey;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::ser::Serialize as _;
use pgp::types::{Mpi, RsaPublicParams};
use zeroize::Zeroizing;

use crate::packet::pkcs7::der::{
    INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, element,
};

/// A key that decrypts.
pub(super) struct RsaKey(PrivateDecryptingKey);

impl RsaKey {
    /// The same key; none where it is too small.
    pub(super) fn of(public: &RsaPublicParams, secret: &SecretKey) -> Option<Self> {
        let der = pkcs8(public, secret)?;
        PrivateDecryptingKey::from_pkcs8(&der).ok().map(Self)
    }

    /// The session key in a packet (RFC 9580 section 5.1.3), or a random one where it does not open, as the holder of a
    /// wrong key would see it: the attack avoided is Bleichenbacher's, so padding, checksum and lengths have no error of
    /// their own. What follows fails in the same way in all cases.
    pub(super) fn session_key(&self, encrypted: &Mpi) -> Option<PlainSessionKey> {
        let mut random = Zeroizing::new(vec![0; 32]);
        rand::fill(&mut random).ok()?;
        let decrypted = self.decrypt(encrypted.as_ref());
        let found = decrypted.as_ref().and_then(|block| session_key(block));
        Some(found.unwrap_or_else(|| PlainSessionKey::V3_4 {
            sym_alg: SymmetricKeyAlgorithm::AES256,
            key: random.into(),
        }))
    }

    fn decrypt(&self, encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let size = self.0.key_size_bytes();
        let missing = size.checked_sub(encrypted.len())?;
        // The packet leaves out leading zeros.
        let padded = [&vec![0; missing], encrypted].concat();
        let mut buffer = Zeroizing::new(vec![0; size]);
        let key = Pkcs1PrivateDecryptingKey::new(self.0.clone()).ok()?;
        let length = key.decrypt(&padded, &mut buffer).ok()?.len();
        buffer.truncate(length);
        Some(buffer)
    }
}

/// An algorithm, a key for it, and a sum of the key's bytes.
fn session_key(block: &[u8]) -> Option<PlainSessionKey> {
    let (&algorithm, rest) = block.split_first()?;
    let (key, sum) = rest.split_last_chunk::<2>()?;
    let algorithm = SymmetricKeyAlgorithm::from(algorithm);
    let counted = key
        .iter()
        .fold(0u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
    let is_right =
        counted == u16::from_be_bytes(*sum) && key.len() == algorithm.key_size() && !key.is_empty();
    is_right.then(|| PlainSessionKey::V3_4 {
        sym_alg: algorithm,
        key: key.into(),
    })
}

/// The length of a modulus in bytes.
pub(super) fn modulus_len(public: &RsaPublicParams) -> usize {
    let written = public.to_bytes().unwrap_or_default();
    Mpi::try_from_reader(written.as_slice()).map_or(0, |modulus| modulus.len())
}

/// PKCS#8 (RFC 5958) around RSAPrivateKey (RFC 8017 appendix A.1.2). OpenPGP keeps p⁻¹ mod q, PKCS#1 q⁻¹ mod p: so the two
/// primes change places.
fn pkcs8(public: &RsaPublicParams, secret: &SecretKey) -> Option<Zeroizing<Vec<u8>>> {
    let written = public.to_bytes().ok()?;
    let mut written = written.as_slice();
    let n = Mpi::try_from_reader(&mut written).ok()?;
    let e = Mpi::try_from_reader(&mut written).ok()?;
    let (d, p, q, u) = secret.to_bytes();
    let [d, p, q, u] = [d, p, q, u].map(Zeroizing::new);
    let (d_p, d_q) = (remainder(&d, &one_less(&p)), remainder(&d, &one_less(&q)));
    let numbers = [&[0], n.as_ref(), e.as_ref(), &d, &q, &p, &d_q, &d_p, &u];
    let numbers = numbers.map(integer);
    let numbers: Vec<&[u8]> = numbers.iter().map(|number| number.as_slice()).collect();
    let key = Zeroizing::new(element(SEQUENCE, &numbers));
    let key = Zeroizing::new(element(OCTET_STRING, &[&key]));
    let algorithm = element(
        SEQUENCE,
        &[
            &element(OBJECT_IDENTIFIER, &[RSA_ENCRYPTION]),
            &element(NULL, &[]),
        ],
    );
    let version = element(INTEGER, &[&[0]]);
    Some(Zeroizing::new(element(
        SEQUENCE,
        &[&version, &algorithm, &key],
    )))
}

/// A number that is not negative.
fn integer(number: &[u8]) -> Zeroizing<Vec<u8>> {
    let first = number.iter().position(|byte| *byte != 0);
    let digits = first.and_then(|first| number.get(first..)).unwrap_or(&[0]);
    let sign: &[u8] = match digits.first() {
        Some(0x80..) => &[0],
        _ => &[],
    };
    Zeroizing::new(element(INTEGER, &[sign, digits]))
}

/// A prime less one: primes are odd, so nothing is carried.
fn one_less(prime: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut less = Zeroizing::new(prime.to_vec());
    if let Some(last) = less.last_mut() {
        *last &= !1;
    }
    less
}

/// Long division, bit by bit, once for each key: what is slow and simple is good enough.
fn remainder(number: &[u8], divisor: &[u8]) -> Zeroizing<Vec<u8>> {
    // One byte more than the divisor, for what is shifted out.
    let mut rest = Zeroizing::new(vec![0u8; divisor.len() + 1]);
    let divisor = Zeroizing::new([&[0], divisor].concat());
    for bit in number
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1))
    {
        let mut carried = bit;
        for digit in rest.iter_mut().rev() {
            let next = *digit >> 7;
            *digit = (*digit << 1) | carried;
            carried = next;
        }
        let mut less = rest.clone();
        if subtract(&mut less, &divisor) {
            rest = less;
        }
    }
    rest
}

/// Subtracts in place; whether there was enough.
fn subtract(from: &mut [u8], number: &[u8]) -> bool {
    let mut borrowed = false;
    for (digit, other) in from.iter_mut().zip(number).rev() {
        let (once, first) = digit.overflowing_sub(*other);
        let (twice, second) = once.overflowing_sub(u8::from(borrowed));
        *digit = twice;
        borrowed = first || second;
    }
    !borrowed
}

const RSA_ENCRYPTION: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_with_a_wrong_sum_or_length_hold_no_key() {
        let block = |algorithm: u8, key: &[u8], sum: u16| {
            session_key(&[&[algorithm], key, &sum.to_be_bytes()[..]].concat()).is_some()
        };
        assert!(block(9, &[1; 32], 32));
        assert!(block(7, &[255; 16], 16 * 255));
        assert!(!block(9, &[1; 32], 33));
        assert!(!block(9, &[1; 16], 16));
        assert!(!block(0, &[], 0));
        assert!(!block(200, &[1; 32], 32));
        assert!(session_key(&[9, 0]).is_none());
    }

    proptest! {
        #[test]
        fn remainders_are_those_of_numbers(number: u128, divisor in 1u64..) {
            let rest = remainder(&number.to_be_bytes(), &divisor.to_be_bytes());
            let expected = number % u128::from(divisor);
            let found = rest.iter().fold(0u128, |sum, digit| (sum << 8) | u128::from(*digit));
            prop_assert_eq!(found, expected);
        }
    }
}
