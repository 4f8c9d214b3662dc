//! SHA-256 without special instructions (FIPS 180-4, 6.2.2).
//!
//! Two states at once would not fit into the sixteen registers of x86-64. So each block's schedule is made once, and every
//! state walks over it; processors begin the second walk while the first is under way.

use zeroize::Zeroizing;

use crate::constants::ROUNDS;
use crate::{Block, State};

pub(crate) fn compress<const N: usize>(states: &mut [State; N], blocks: &[Block]) {
    let mut schedule = Zeroizing::new([[0; 8]; 8]);
    for block in blocks {
        fill(&mut schedule, block);
        for state in &mut *states {
            let mut next = *state;
            for eight in &*schedule {
                let [w0, w1, w2, w3, w4, w5, w6, w7] = *eight;
                round(&mut next, w0);
                round(&mut next, w1);
                round(&mut next, w2);
                round(&mut next, w3);
                round(&mut next, w4);
                round(&mut next, w5);
                round(&mut next, w6);
                round(&mut next, w7);
            }
            for (word, next) in state.iter_mut().zip(next) {
                *word = word.wrapping_add(next);
            }
        }
    }
}

/// The words of all 64 rounds, each with its round's constant added.
fn fill(schedule: &mut [[u32; 8]; 8], block: &Block) {
    let mut words = [0_u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let sixteens = schedule.as_chunks_mut::<2>().0.iter_mut().zip(&ROUNDS.0);
    for (number, (scheduled, constants)) in sixteens.enumerate() {
        if number > 0 {
            advance(&mut words);
        }
        let sums = words.iter().zip(constants.iter().flat_map(|four| &four.0));
        for (scheduled, (word, constant)) in scheduled.as_flattened_mut().iter_mut().zip(sums) {
            *scheduled = word.wrapping_add(*constant);
        }
    }
}

/// The next sixteen words.
fn advance(words: &mut [u32; 16]) {
    macro_rules! next {
        ($($at:literal)*) => {$(
            words[$at] = words[$at]
                .wrapping_add(small_sigma_0(words[($at + 1) % 16]))
                .wrapping_add(words[($at + 9) % 16])
                .wrapping_add(small_sigma_1(words[($at + 14) % 16]));
        )*};
    }
    next!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// One round; the names are the specification's.
#[inline(always)]
fn round(state: &mut State, scheduled: u32) {
    let [a, b, c, d, e, f, g, h] = *state;
    let big_sigma_1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
    let choice = g ^ (e & (f ^ g));
    let t1 = h
        .wrapping_add(big_sigma_1)
        .wrapping_add(choice)
        .wrapping_add(scheduled);
    let big_sigma_0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
    let majority = (a & b) ^ (c & (a ^ b));
    let t2 = big_sigma_0.wrapping_add(majority);
    *state = [t1.wrapping_add(t2), a, b, c, d.wrapping_add(t1), e, f, g];
}

fn small_sigma_0(word: u32) -> u32 {
    word.rotate_right(7) ^ word.rotate_right(18) ^ (word >> 3)
}

fn small_sigma_1(word: u32) -> u32 {
    word.rotate_right(17) ^ word.rotate_right(19) ^ (word >> 10)
}
