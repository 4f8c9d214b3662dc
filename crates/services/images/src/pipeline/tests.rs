//! Pieces on their way: sizes, splits, numbers of threads, and every way to fail.

use std::sync::atomic::AtomicU64;

use super::piece::PIECE;
use super::*;
use crate::error::Kind;
use crate::ports::PortError;
use crate::progress::Silent;

struct Numbers {
    at: usize,
    length: usize,
    most: usize,
    fails: bool,
}

impl BlobReader for Numbers {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PortError> {
        let count = (self.length - self.at).min(buffer.len()).min(self.most);
        if count == 0 && self.fails {
            let gone = std::io::Error::other("gone");
            return Err(PortError::new(Kind::Unavailable, gone));
        }
        for (byte, number) in buffer.iter_mut().zip(self.at..self.at + count) {
            *byte = number_at(number);
        }
        self.at += count;
        Ok(count)
    }
}

fn number_at(at: usize) -> u8 {
    (at % 251) as u8
}

fn numbers(length: usize) -> Box<Numbers> {
    split(length, 100_001)
}

fn split(length: usize, most: usize) -> Box<Numbers> {
    Box::new(Numbers {
        at: 0,
        length,
        most,
        fails: false,
    })
}

/// Adds one to each byte.
fn add<'s>() -> Stage<'s> {
    Box::new(|piece| {
        piece.replace(|input, output| {
            for (input, output) in input.iter().zip(output) {
                *output = input.wrapping_add(1);
            }
            Ok(())
        })
    })
}

#[derive(Default)]
struct Counted {
    bytes: AtomicU64,
    cancelled_after: Option<u64>,
}

impl Progress for Counted {
    fn started(&self, _total: u64) {}

    fn advanced(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        let passed = self.bytes.load(Ordering::Relaxed);
        self.cancelled_after.is_some_and(|after| passed >= after)
    }
}

const SIZES: [usize; 9] = [
    0,
    1,
    10_000,
    PIECE - 1,
    PIECE,
    PIECE + 1,
    4 * PIECE,
    5 * PIECE,
    30 * PIECE + 7,
];

#[test]
fn all_bytes_pass_all_stages_in_order_on_any_number_of_threads() {
    for threads in [1, 2, 3, 8] {
        for length in SIZES {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            let progress = Counted::default();
            let run = Run::on(threads, &progress);
            let keep = |kept: &mut Vec<u8>, piece: &[u8]| kept.extend_from_slice(piece);
            run.carry(
                numbers(length),
                vec![
                    Box::new(|piece| {
                        keep(&mut before, piece);
                        Ok(())
                    }),
                    add(),
                    add(),
                    Box::new(|piece| {
                        keep(&mut after, piece);
                        Ok(())
                    }),
                ],
            )
            .unwrap();
            let plain: Vec<u8> = (0..length).map(number_at).collect();
            assert!(before == plain, "{threads} {length}");
            let added: Vec<u8> = plain.iter().map(|byte| byte + 2).collect();
            assert!(after == added, "{threads} {length}");
            assert_eq!(progress.bytes.load(Ordering::Relaxed), length as u64);
            assert_eq!(run.idle.into_inner(), threads - 1, "a core was lost");
            assert!(run.spare.into_inner().unwrap().len() <= threads * PIECES_EACH);
        }
    }
}

#[test]
fn how_the_source_splits_the_bytes_changes_nothing() {
    for most in [1_000, PIECE - 1, PIECE, usize::MAX] {
        let mut seen = Vec::new();
        let keep: Stage<'_> = Box::new(|piece| {
            seen.push(piece.len());
            Ok(())
        });
        Run::on(2, &Silent)
            .carry(split(6 * PIECE + 5, most), vec![add(), keep])
            .unwrap();
        assert_eq!(seen, [PIECE, PIECE, PIECE, PIECE, PIECE, PIECE, 5]);
    }
}

#[test]
fn the_reason_of_a_failure_arrives_from_any_stage_at_any_piece() {
    for threads in [1, 2, 8] {
        for failing in 0..3 {
            for at in [1, 2, 5, 40] {
                let mut after = 0;
                let stages = (0..3).map(|number| -> Stage<'_> {
                    let mut seen = 0;
                    Box::new(move |_| {
                        seen += 1;
                        if number == failing && seen == at {
                            return Err(ImageError::NothingToEncrypt);
                        }
                        assert!(number < failing || seen < at, "it went on");
                        Ok(())
                    })
                });
                let mut stages: Vec<_> = stages.collect();
                stages.push(Box::new(|_| {
                    after += 1;
                    Ok(())
                }));
                let run = Run::on(threads, &Silent);
                let ended = run.carry(numbers(40 * PIECE), stages);
                assert!(
                    matches!(ended, Err(ImageError::NothingToEncrypt)),
                    "{threads} {failing} {at}"
                );
                assert!(after < at, "it went on");
                assert_eq!(run.idle.into_inner(), threads - 1);
            }
        }
    }
}

#[test]
fn a_source_that_breaks_ends_it() {
    for threads in [1, 2, 8] {
        let mut reader = numbers(9 * PIECE);
        reader.fails = true;
        let ended = Run::on(threads, &Silent).carry(reader, vec![add(), add()]);
        assert!(matches!(ended, Err(ImageError::Source(_))));
    }
}

#[test]
fn whoever_watches_can_end_it() {
    for threads in [1, 2] {
        let progress = Counted {
            cancelled_after: Some(7 * PIECE as u64),
            ..Counted::default()
        };
        let ended = Run::on(threads, &progress).carry(numbers(100 * PIECE), vec![add(), add()]);
        assert!(matches!(ended, Err(ImageError::Cancelled)));
        assert_eq!(progress.bytes.into_inner(), 7 * PIECE as u64);
    }
}

#[test]
fn a_stage_that_panics_on_a_helping_thread_ends_it_with_an_error() {
    let caller = thread::current().id();
    let stages: Vec<Stage<'_>> = vec![
        add(),
        Box::new(move |_| {
            assert_eq!(
                thread::current().id(),
                caller,
                "meant to be seen in the log"
            );
            Ok(())
        }),
    ];
    let ended = Run::on(2, &Silent).carry(numbers(1000 * PIECE), stages);
    assert!(matches!(ended, Err(ImageError::Interrupted)));
}

#[test]
fn a_stopped_run_ends_early() {
    let run = Run::new(&Silent);
    run.stop.store(true, Ordering::Relaxed);
    let ended = run.carry(numbers(1), vec![]);
    assert!(matches!(ended, Err(ImageError::Interrupted)));
}

#[test]
fn small_blobs_stay_on_the_thread_that_carries_them() {
    let caller = thread::current().id();
    let stage: Stage<'_> = Box::new(move |_| {
        assert_eq!(thread::current().id(), caller);
        Ok(())
    });
    Run::on(8, &Silent)
        .carry(numbers(4 * PIECE - 1), vec![stage, add()])
        .unwrap();
}

#[test]
fn a_core_that_is_lent_comes_back() {
    let run = Run::on(2, &Silent);
    let core = run.core().unwrap();
    assert!(run.core().is_none());
    run.lend(|| assert!(run.core().is_some()));
    assert!(run.core().is_none());
    drop(core);
    assert!(run.core().is_some());
}
