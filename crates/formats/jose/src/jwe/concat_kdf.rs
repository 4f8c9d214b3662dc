//! Concat KDF (NIST SP 800-56A section 5.8.1) as RFC 7518 section 4.6.2 uses it, with SHA-256.

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::{Zeroize as _, Zeroizing};

/// Derives up to 32 bytes: one round is all that the key wraps need.
pub(super) fn derive(
    z: &[u8],
    alg: &str,
    apu: &[u8],
    apv: &[u8],
    len: usize,
) -> Option<Zeroizing<Vec<u8>>> {
    if len > 32 {
        return None;
    }
    let mut hash = Context::new(&SHA256);
    hash.update(&1u32.to_be_bytes());
    hash.update(z);
    for field in [alg.as_bytes(), apu, apv] {
        hash.update(&u32::try_from(field.len()).ok()?.to_be_bytes());
        hash.update(field);
    }
    hash.update(&u32::try_from(len * 8).ok()?.to_be_bytes());
    let mut key = Zeroizing::new(hash.finish().as_ref().to_vec());
    if let Some(surplus) = key.get_mut(len..) {
        surplus.zeroize();
    }
    key.truncate(len);
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_rfc_holds() {
        // RFC 7518 appendix C.
        let z = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49,
            110, 163, 218, 128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let key = derive(&z, "A128GCM", b"Alice", b"Bob", 16).unwrap();
        assert_eq!(crate::base64url::encode(&*key), "VqqN6vgjbSBcIijNcacQGg");
    }
}
