//! Key derivation of TPM 2.0 (Library part 1, 11.4.10): `KDFa` over HMAC and `KDFe` over a hash.

use zeroize::Zeroizing;

use crate::hash::HashAlgorithm;

/// `KDFa(hash, key, label, contextU, contextV, bits)`.
pub(crate) fn kdf_a(
    hash: HashAlgorithm,
    key: &[u8],
    label: &str,
    [context_u, context_v]: [&[u8]; 2],
    bits: u16,
) -> Zeroizing<Vec<u8>> {
    let bits_word = u32::from(bits).to_be_bytes();
    expand(hash, bits, |counter| {
        hash.hmac(
            key,
            &[
                counter,
                label.as_bytes(),
                &[0],
                context_u,
                context_v,
                &bits_word,
            ],
        )
    })
}

/// `KDFe(hash, z, use, partyU, partyV, bits)`.
pub(crate) fn kdf_e(
    hash: HashAlgorithm,
    z: &[u8],
    label: &str,
    [party_u, party_v]: [&[u8]; 2],
    bits: u16,
) -> Zeroizing<Vec<u8>> {
    expand(hash, bits, |counter| {
        hash.digest(&[counter, z, label.as_bytes(), &[0], party_u, party_v])
    })
}

fn expand(hash: HashAlgorithm, bits: u16, block: impl Fn(&[u8]) -> Vec<u8>) -> Zeroizing<Vec<u8>> {
    let wanted = usize::from(bits / 8);
    let blocks = wanted.div_ceil(hash.size());
    let mut out = Zeroizing::new(Vec::with_capacity(blocks * hash.size()));
    for counter in (1_u32..).take(blocks) {
        out.extend_from_slice(&Zeroizing::new(block(&counter.to_be_bytes())));
    }
    out.truncate(wanted);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // Computed with Python's `hmac` and `hashlib` from the formulas of part 1, 11.4.10.2 and 11.4.10.3.
    #[test]
    fn kdf_a_counts_blocks_and_ends_with_the_size_in_bits() {
        let key = kdf_a(
            HashAlgorithm::Sha256,
            b"seed",
            "STORAGE",
            [b"name", b""],
            128,
        );
        assert_eq!(hex::encode(&*key), "79f9abeb5a577bee60b4a69ad068a71a");
        let key = kdf_a(
            HashAlgorithm::Sha384,
            b"seed",
            "INTEGRITY",
            [b"u", b"v"],
            512,
        );
        assert_eq!(
            hex::encode(&*key),
            "7b0a3e37e06276f8075472803c7edd5653d9ffb1c6faeea4888857b3d7980683073de59e0311e86c030a48081250e1344b2d5bb770bea41c50cbf85474126376"
        );
    }

    #[test]
    fn kdf_e_counts_blocks() {
        let key = kdf_e(HashAlgorithm::Sha256, b"z", "IDENTITY", [b"u", b"v"], 384);
        assert_eq!(
            hex::encode(&*key),
            "d4f6befd5f2d84835f0ac9b584ea8bb71655b1fc7b8857cfcfaa1c858ce8aba1633ef9bbe67726b79f508a56f535f426"
        );
    }
}
