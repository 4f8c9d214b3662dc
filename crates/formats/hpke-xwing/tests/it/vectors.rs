//! Messages made by others long ago.

use std::collections::HashMap;

use hpke_xwing::{PrivateKey, PublicKey, Suite, open};

//= RFC 9180, test vectors: KEM 0x0020, KDF 1, AEAD 2
#[test]
fn the_rfc_vector_of_x25519_opens() {
    opens(
        Suite::X25519,
        include_str!("../vectors/x25519-aes256gcm.txt"),
    );
}

//= draft-ietf-hpke-pq: KEM 0x647a, KDF 1, AEAD 2; sealed by Go's crypto/hpke
#[test]
fn the_pinned_message_of_xwing_opens() {
    opens(Suite::XWing, include_str!("../vectors/xwing-aes256gcm.txt"));
}

fn opens(suite: Suite, text: &str) {
    let vector: HashMap<_, _> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| (name, hex::decode(value).unwrap()))
        .collect();
    let private = PrivateKey::from_bytes(suite, &vector["skRm"]).unwrap();
    assert_eq!(
        private.public_key(),
        &PublicKey::from_bytes(suite, &vector["pkRm"]).unwrap()
    );
    assert_eq!(private.expose_bytes().as_slice(), vector["skRm"]);
    let opened = open(
        &private,
        &vector["enc"],
        &vector["info"],
        &vector["aad"],
        &vector["ct"],
    )
    .unwrap();
    assert_eq!(opened.as_slice(), vector["pt"]);
}
