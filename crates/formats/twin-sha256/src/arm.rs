//! SHA-256 by AArch64's SHA2 instructions: four rounds in two of them.
//!
//! On other processors, in tests, the same code runs on a model of the instructions.

#[cfg(not(target_arch = "aarch64"))]
#[path = "arm/model.rs"]
mod instructions;
#[cfg(target_arch = "aarch64")]
#[path = "arm/silicon.rs"]
#[expect(
    unsafe_code,
    reason = "SHA instructions load through pointers and exist on some processors only"
)]
mod instructions;
mod kernel;

use crate::{Block, State};

/// Proof that the processor has the instructions.
#[derive(Clone, Copy)]
pub(crate) struct Sha2(());

impl Sha2 {
    /// `None` where the processor or the system lacks one of them.
    pub(crate) fn detect() -> Option<Self> {
        instructions::exist().then_some(Self(()))
    }

    pub(crate) fn compress<const N: usize>(self, states: &mut [State; N], blocks: &[Block]) {
        instructions::compress(self, states, blocks);
    }

    /// Blocks of two messages; what is left of the longer one is taken alone.
    pub(crate) fn compress_both<const N: usize, const M: usize>(
        self,
        one: (&mut [State; N], &[Block]),
        other: (&mut [State; M], &[Block]),
    ) {
        instructions::compress_both(self, one, other);
    }
}
