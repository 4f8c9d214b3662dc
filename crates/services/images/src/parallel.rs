//! The layers of a manifest, several at a time.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::ImageError;
use crate::pipeline::Run;

/// Does `work` for 0 to `count`, a few at a time, and gives the results in order. The first failure ends all.
pub(crate) fn for_each<T: Send>(
    run: &Run<'_>,
    count: usize,
    work: impl Fn(usize) -> Result<T, ImageError> + Sync,
) -> Result<Vec<T>, ImageError> {
    among(run, count, workers(count), work)
}

/// As [`for_each`], `most` at a time.
pub(crate) fn among<T: Send>(
    run: &Run<'_>,
    count: usize,
    most: usize,
    work: impl Fn(usize) -> Result<T, ImageError> + Sync,
) -> Result<Vec<T>, ImageError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count || run.stop.load(Ordering::Relaxed) {
                return;
            }
            let result = work(index);
            if result.is_err() {
                run.stop.store(true, Ordering::Relaxed);
            }
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..most.min(count) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    collect(done.into_iter().map(|(_, result)| result), count)
}

/// Everything, or the first reason that is one of its own: who was stopped only says so.
fn collect<T>(
    results: impl Iterator<Item = Result<T, ImageError>>,
    count: usize,
) -> Result<Vec<T>, ImageError> {
    let mut all = Vec::with_capacity(count);
    let mut interrupted = false;
    for result in results {
        match result {
            Ok(value) => all.push(value),
            Err(ImageError::Interrupted) => interrupted = true,
            Err(error) => return Err(error),
        }
    }
    if interrupted || all.len() != count {
        return Err(ImageError::Interrupted);
    }
    Ok(all)
}

/// Each worker's pipeline keeps a few threads busy and a ring of buffers in memory.
fn workers(count: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    cores.min(count).clamp(1, MOST)
}

const MOST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn results_come_in_order() {
        let run = Run::new(&Silent);
        assert_eq!(
            for_each(&run, 100, Ok).unwrap(),
            (0..100).collect::<Vec<_>>()
        );
        assert!(for_each(&run, 0, Ok).unwrap().is_empty());
    }

    #[test]
    fn a_failure_ends_all_and_says_why() {
        let run = Run::new(&Silent);
        let result = for_each(&run, 1000, |index| match index {
            5 => Err(ImageError::NoKey { index }),
            _ if run.stop.load(Ordering::Relaxed) => Err(ImageError::Interrupted),
            _ => Ok(()),
        });
        assert!(matches!(result, Err(ImageError::NoKey { index: 5 })));
        assert!(run.stop.load(Ordering::Relaxed));
    }
}
