//! One or more states that run over the same bytes, and how they end.

use zeroize::{Zeroize, Zeroizing};

use crate::backend::Backend;
use crate::blocks::Pending;
use crate::{BLOCK, State};

/// States that take the same blocks.
pub(crate) struct Running<const N: usize> {
    states: [State; N],
    pending: Pending,
    backend: Backend,
}

impl<const N: usize> Running<N> {
    pub(crate) fn new(backend: Backend, states: [State; N]) -> Self {
        Self {
            states,
            pending: Pending::new(),
            backend,
        }
    }

    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let Self {
            states,
            pending,
            backend,
        } = self;
        pending.feed(bytes, |blocks| backend.compress(states, blocks));
    }

    /// Takes a piece while `other` takes one of its own. Blocks that were begun are ended first, each alone; so both may be in
    /// the middle of one, each in another place.
    pub(crate) fn update_beside<const M: usize>(
        &mut self,
        bytes: &[u8],
        other: &mut Running<M>,
        others: &[u8],
    ) {
        let Self {
            states,
            pending,
            backend,
        } = self;
        let other_states = &mut other.states;
        let (blocks, rest) = pending.begin(bytes, |block| backend.compress(states, block));
        let (other_blocks, other_rest) = other
            .pending
            .begin(others, |block| backend.compress(other_states, block));
        backend.compress_both((states, blocks), (other_states, other_blocks));
        pending.keep(rest);
        other.pending.keep(other_rest);
    }

    /// `before` is how many bytes each state took before the first that all of them saw. Padding holds the length, so
    /// the last blocks differ and each state ends alone.
    pub(crate) fn finish(&self, before: [u64; N]) -> [State; N] {
        let mut ended = self.states;
        for (state, before) in ended.iter_mut().zip(before) {
            let ending = self.pending.ending(before);
            self.backend
                .compress(std::array::from_mut(state), ending.blocks());
        }
        ended
    }
}

impl<const N: usize> Drop for Running<N> {
    fn drop(&mut self) {
        self.states.zeroize();
    }
}

/// HMAC's second hash: the outer padded key, which `outer` has taken, and the inner hash.
pub(crate) fn outer_hash(backend: Backend, outer: State, mut inner: State) -> State {
    let mut pending = Pending::new();
    pending.feed(&*Zeroizing::new(to_bytes(inner)), |_| {});
    let mut state = [outer];
    backend.compress(&mut state, pending.ending(BLOCK as u64).blocks());
    inner.zeroize();
    let [mac] = state;
    mac
}

/// A state as the digest that it is at the end.
pub(crate) fn to_bytes(state: State) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    bytes
}
