//! HMAC's key as the two states that it leaves behind (RFC 2104).

use zeroize::{Zeroize, Zeroizing};

use crate::backend::Backend;
use crate::constants::INITIAL;
use crate::{BLOCK, Block, Sha256, State};

/// The states after the padded key.
pub(crate) struct Pads {
    pub(crate) inner: State,
    pub(crate) outer: State,
}

impl Pads {
    pub(crate) fn new(backend: Backend, key: &[u8]) -> Self {
        let block = to_block(backend, key);
        let pad = |byte: u8| {
            let padded = Zeroizing::new(block.map(|key| key ^ byte));
            let mut state = [INITIAL];
            backend.compress(&mut state, std::slice::from_ref(&*padded));
            let [state] = state;
            state
        };
        Self {
            inner: pad(0x36),
            outer: pad(0x5c),
        }
    }
}

/// A key that is longer than a block counts as its digest.
fn to_block(backend: Backend, key: &[u8]) -> Zeroizing<Block> {
    let mut block = Zeroizing::new([0; BLOCK]);
    if key.len() <= BLOCK {
        fill(&mut block, key);
        return block;
    }
    let mut hash = Sha256::on(backend);
    hash.update(key);
    let mut digest = hash.finish();
    fill(&mut block, &digest);
    digest.zeroize();
    block
}

fn fill(block: &mut Block, bytes: &[u8]) {
    for (to, from) in block.iter_mut().zip(bytes) {
        *to = *from;
    }
}
