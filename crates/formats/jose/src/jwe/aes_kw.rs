//! AES key wrap (RFC 3394), for the three key sizes: the library lacks the middle one.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

/// Wraps a key of at least 16 bytes in whole groups of eight.
pub(super) fn wrap(kek: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    if !is_wrappable(key.len()) {
        return None;
    }
    let cipher = EncryptingKey::ecb(unbound(kek)?).ok()?;
    let mut register = INITIAL;
    let mut groups = key.to_vec();
    let count = groups.len() / 8;
    for round in 0..6 {
        for (at, group) in groups.chunks_exact_mut(8).enumerate() {
            let mut block = join(register, group)?;
            cipher.encrypt(block.as_mut()).ok()?;
            register = split(&block, group)? ^ step(count * round + at);
        }
    }
    Some([register.to_be_bytes().as_slice(), &groups].concat())
}

/// Unwraps; `None` when the key or the wrapped text is not the right one.
pub(super) fn unwrap(kek: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // An empty or short text must end here: others crashed on it.
    let (register, groups) = wrapped.split_first_chunk::<8>()?;
    if !is_wrappable(groups.len()) {
        return None;
    }
    let cipher = DecryptingKey::ecb(unbound(kek)?).ok()?;
    let mut register = u64::from_be_bytes(*register);
    let mut groups = Zeroizing::new(groups.to_vec());
    let count = groups.len() / 8;
    for round in (0..6).rev() {
        for (at, group) in groups.chunks_exact_mut(8).enumerate().rev() {
            let mut block = join(register ^ step(count * round + at), group)?;
            cipher
                .decrypt(block.as_mut(), DecryptionContext::None)
                .ok()?;
            register = split(&block, group)?;
        }
    }
    verify_slices_are_equal(&register.to_be_bytes(), &INITIAL.to_be_bytes()).ok()?;
    Some(groups)
}

const INITIAL: u64 = 0xA6A6_A6A6_A6A6_A6A6;

fn is_wrappable(len: usize) -> bool {
    (16..=64).contains(&len) && len.is_multiple_of(8)
}

fn unbound(kek: &[u8]) -> Option<UnboundCipherKey> {
    let algorithm: &'static Algorithm = match kek.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        _ => return None,
    };
    UnboundCipherKey::new(algorithm, kek).ok()
}

/// The RFC counts from one.
fn step(at: usize) -> u64 {
    at as u64 + 1
}

fn join(register: u64, group: &[u8]) -> Option<Zeroizing<[u8; 16]>> {
    let group = u64::from_be_bytes(group.try_into().ok()?);
    Some(Zeroizing::new(
        (u128::from(register) << 64 | u128::from(group)).to_be_bytes(),
    ))
}

fn split(block: &[u8; 16], group: &mut [u8]) -> Option<u64> {
    let (register, rest) = block.split_first_chunk::<8>()?;
    group.copy_from_slice(rest);
    Some(u64::from_be_bytes(*register))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::key_wrap::{AES_256 as LIBRARY_AES_256, AesKek, KeyWrap as _};

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    #[test]
    fn the_vectors_of_the_rfc_hold() {
        let kek = bytes("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
        let key = bytes("00112233445566778899AABBCCDDEEFF0001020304050607");
        // RFC 3394 sections 4.1, 4.2, 4.3 and 4.4.
        for (kek_len, key_len, wrapped) in [
            (16, 16, "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"),
            (24, 16, "96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D"),
            (32, 16, "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"),
            (
                24,
                24,
                "031D33264E15D33268F24EC260743EDCE1C6C7DDEE725A936BA814915C6762D2",
            ),
        ] {
            assert_eq!(
                wrap(&kek[..kek_len], &key[..key_len]).unwrap(),
                bytes(wrapped)
            );
            assert_eq!(
                *unwrap(&kek[..kek_len], &bytes(wrapped)).unwrap(),
                key[..key_len]
            );
        }
    }

    #[test]
    fn the_library_agrees() {
        let (kek, key) = ([7; 32], [9; 32]);
        let mut wrapped = [0; 40];
        AesKek::new(&LIBRARY_AES_256, &kek)
            .unwrap()
            .wrap(&key, &mut wrapped)
            .unwrap();
        assert_eq!(wrap(&kek, &key).unwrap(), wrapped);
    }

    #[test]
    fn wrong_lengths_keys_and_bits_are_refused() {
        let wrapped = wrap(&[7; 32], &[9; 32]).unwrap();
        for len in 0..wrapped.len() {
            assert!(unwrap(&[7; 32], &wrapped[..len]).is_none(), "{len}");
        }
        assert!(unwrap(&[8; 32], &wrapped).is_none());
        for bit in 0..wrapped.len() * 8 {
            let mut flipped = wrapped.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap(&[7; 32], &flipped).is_none(), "{bit}");
        }
        assert!(wrap(&[7; 32], &[9; 8]).is_none() && wrap(&[7; 31], &[9; 32]).is_none());
    }
}
