//! Which code compresses: the processor's instructions where it has them.

#[cfg(any(all(target_arch = "aarch64", target_endian = "little"), test))]
use crate::arm::Sha2;
use crate::portable;
#[cfg(target_arch = "x86_64")]
use crate::x86::{Avx512, ShaNi};
use crate::{Block, State};

/// One way to compress. What stands for instructions is a proof that they are there.
#[derive(Clone, Copy)]
pub(crate) enum Backend {
    Portable,
    #[cfg(target_arch = "x86_64")]
    ShaNi(ShaNi),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(any(all(target_arch = "aarch64", target_endian = "little"), test))]
    Sha2(Sha2),
}

impl Backend {
    /// The fastest that this processor has; it is asked once in the life of the process.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(instructions) = ShaNi::detect() {
            return Self::ShaNi(instructions);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(instructions) = Avx512::detect() {
            return Self::Avx512(instructions);
        }
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        if let Some(instructions) = Sha2::detect() {
            return Self::Sha2(instructions);
        }
        Self::Portable
    }

    /// Everything that runs here, for tests: on other processors AArch64's code runs on a model of its instructions.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<(&'static str, Self)> {
        let mut all = vec![("portable", Self::Portable)];
        #[cfg(target_arch = "x86_64")]
        if let Some(found) = ShaNi::detect() {
            all.push(("x86-64 SHA-NI", Self::ShaNi(found)));
            let found = found.without_avx();
            all.push(("x86-64 SHA-NI without AVX", Self::ShaNi(found)));
        }
        #[cfg(target_arch = "x86_64")]
        all.extend(Avx512::detect().map(|found| ("x86-64 AVX-512", Self::Avx512(found))));
        all.extend(Sha2::detect().map(|found| ("AArch64 SHA2", Self::Sha2(found))));
        all
    }

    /// Takes the blocks into every state.
    pub(crate) fn compress<const N: usize>(self, states: &mut [State; N], blocks: &[Block]) {
        match self {
            Self::Portable => portable::compress(states, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi(instructions) => instructions.compress(states, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(instructions) => instructions.compress(states, blocks),
            #[cfg(any(all(target_arch = "aarch64", target_endian = "little"), test))]
            Self::Sha2(instructions) => instructions.compress(states, blocks),
        }
    }

    /// Takes blocks of two messages, each into its own states, as many as there are of each.
    pub(crate) fn compress_both<const N: usize, const M: usize>(
        self,
        one: (&mut [State; N], &[Block]),
        other: (&mut [State; M], &[Block]),
    ) {
        match self {
            Self::Portable => {
                portable::compress(one.0, one.1);
                portable::compress(other.0, other.1);
            }
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi(instructions) => instructions.compress_both(one, other),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(instructions) => instructions.compress_both(one, other),
            #[cfg(any(all(target_arch = "aarch64", target_endian = "little"), test))]
            Self::Sha2(instructions) => instructions.compress_both(one, other),
        }
    }
}
