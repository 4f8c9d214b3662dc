//! The layers of a manifest, several at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::ImageError;
use crate::pipeline::Run;

/// Does `work` for 0 to `count`, a few at a time, and gives the results in order. The first failure ends all.
///
/// Each thread has a core: those that are left over, at the start or when fewer pieces of work are left, help with the blobs.
pub(crate) fn for_each<T: Send>(
    run: &Run<'_>,
    count: usize,
    work: impl Fn(usize) -> Result<T, ImageError> + Sync,
) -> Result<Vec<T>, ImageError> {
    let task = Task::new(run, count, work);
    let task = &task;
    thread::scope(|scope| {
        let mut others = Vec::new();
        while others.len() + 1 < MOST.min(count)
            && let Some(core) = run.core()
        {
            let other = move || {
                task.work();
                drop(core);
            };
            others.extend(thread::Builder::new().spawn_scoped(scope, other));
        }
        task.work();
        run.lend(|| {
            for other in others {
                // If it panicked its result is missing, and nothing comes of it.
                let _ = other.join();
            }
        });
    });
    task.results()
}

/// As [`for_each`], `most` at a time: for work that waits on others and needs no core.
pub(crate) fn among<T: Send>(
    run: &Run<'_>,
    count: usize,
    most: usize,
    work: impl Fn(usize) -> Result<T, ImageError> + Sync,
) -> Result<Vec<T>, ImageError> {
    let task = Task::new(run, count, work);
    thread::scope(|scope| {
        for _ in 1..most.min(count) {
            scope.spawn(|| task.work());
        }
        task.work();
    });
    task.results()
}

struct Task<'r, T, W> {
    run: &'r Run<'r>,
    count: usize,
    work: W,
    next: AtomicUsize,
    done: Mutex<Vec<(usize, Result<T, ImageError>)>>,
}

impl<'r, T, W: Fn(usize) -> Result<T, ImageError>> Task<'r, T, W> {
    fn new(run: &'r Run<'r>, count: usize, work: W) -> Self {
        Self {
            run,
            count,
            work,
            next: AtomicUsize::new(0),
            done: Mutex::default(),
        }
    }

    /// Works until nothing is left or something failed.
    fn work(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.count || self.run.stop.load(Ordering::Relaxed) {
                return;
            }
            let result = (self.work)(index);
            if result.is_err() {
                self.run.stop.store(true, Ordering::Relaxed);
            }
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((index, result));
        }
    }

    fn results(&self) -> Result<Vec<T>, ImageError> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = std::mem::take(&mut *done);
        done.sort_by_key(|(index, _)| *index);
        collect(done.into_iter().map(|(_, result)| result), self.count)
    }
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

/// Layers at the same time: unpacking one may take 32 MiB.
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
