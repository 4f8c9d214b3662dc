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
