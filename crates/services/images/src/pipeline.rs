//! One blob through several stages. A piece goes through all of them on one thread, so that it stays in that core's cache, and
//! each stage takes the pieces in their order; where cores are idle, more threads bring pieces.

use std::num::NonZero;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::ImageError;
use crate::ports::BlobReader;
use crate::progress::Progress;

/// What happens to each piece of a blob, in the order of the blob.
pub(crate) type Stage<'a> = Box<dyn FnMut(&mut Piece) -> Result<(), ImageError> + Send + 'a>;

/// What all blobs of one run share.
pub(crate) struct Run<'a> {
    pub(crate) progress: &'a dyn Progress,
    /// Set when any of them failed: the others need not go on.
    pub(crate) stop: AtomicBool,
    /// Cores that nobody uses.
    idle: AtomicUsize,
    /// Pieces that were used before. There are never more than threads.
    spare: Mutex<Vec<Piece>>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(progress: &'a dyn Progress) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self::on(cores.min(MOST_THREADS), progress)
    }

    fn on(threads: usize, progress: &'a dyn Progress) -> Self {
        Self {
            progress,
            stop: AtomicBool::new(false),
            idle: AtomicUsize::new(threads.saturating_sub(1)),
            spare: Mutex::default(),
        }
    }

    /// A core for one more thread, if one is idle.
    pub(crate) fn core(&self) -> Option<Core<'_>> {
        self.take().then(|| Core(&self.idle))
    }

    /// Lets others have the core of the thread that calls, while it only waits for them.
    pub(crate) fn lend(&self, wait: impl FnOnce()) {
        self.idle.fetch_add(1, Ordering::Relaxed);
        wait();
        // INVARIANT: whoever borrowed it has ended, so that there is one.
        self.take();
    }

    fn take(&self) -> bool {
        let fewer = |idle: usize| idle.checked_sub(1);
        self.idle
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer)
            .is_ok()
    }

    /// Carries all that `reader` gives through `stages`, in order. Memory is bounded by two slots for each thread.
    pub(crate) fn carry<'s>(
        &self,
        reader: Box<dyn BlobReader + 's>,
        stages: Vec<Stage<'s>>,
    ) -> Result<(), ImageError> {
        let line = Line {
            run: self,
            source: Mutex::new(Source {
                reader,
                pieces: 0,
                ended: false,
            }),
            stages: stages.into_iter().map(Gate::new).collect(),
            broken: AtomicBool::new(false),
            failure: Mutex::default(),
        };
        let line = &line;
        thread::scope(|scope| {
            let mut helpers = Vec::new();
            line.carry(&mut |pieces| {
                // Small blobs don't pay for threads, and more threads than stages only wait for each other.
                if pieces < SMALL || helpers.len() >= line.stages.len() {
                    return;
                }
                let Some(core) = self.core() else { return };
                let help = move || {
                    line.carry(&mut |_| {});
                    drop(core);
                };
                // Where no thread can be had the work goes on without it.
                helpers.extend(thread::Builder::new().spawn_scoped(scope, help));
            });
            for helper in helpers {
                // If it panicked the line is broken, and the verdict says so.
                let _ = helper.join();
            }
        });
        line.verdict()
    }

    fn piece(&self) -> Piece {
        held(&self.spare).pop().unwrap_or_else(Piece::new)
    }
}

/// A core in use, until it is dropped.
pub(crate) struct Core<'r>(&'r AtomicUsize);

impl Drop for Core<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Some bytes of a blob, and room for what becomes of them.
pub(crate) struct Piece {
    bytes: Box<[u8]>,
    room: Box<[u8]>,
    length: usize,
}

impl Piece {
    fn new() -> Self {
        Self {
            bytes: vec![0; PIECE].into(),
            room: vec![0; PIECE].into(),
            length: 0,
        }
    }

    /// Puts other bytes, of the same number, into the place of these; gives `work` both.
    pub(crate) fn replace<E>(
        &mut self,
        work: impl FnOnce(&[u8], &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (bytes, _) = self.bytes.split_at(self.length);
        let (room, _) = self.room.split_at_mut(self.length);
        work(bytes, room)?;
        std::mem::swap(&mut self.bytes, &mut self.room);
        Ok(())
    }

    /// Fills it as far as the stream goes; `true` at its end.
    fn fill(&mut self, reader: &mut dyn BlobReader) -> Result<bool, ImageError> {
        self.length = 0;
        while let Some(rest) = self
            .bytes
            .get_mut(self.length..)
            .filter(|rest| !rest.is_empty())
        {
            match reader.read(rest).map_err(ImageError::Source)? {
                0 => return Ok(true),
                count => self.length += count,
            }
        }
        Ok(false)
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.split_at(self.length).0
    }
}

/// A blob on its way.
struct Line<'r, 's> {
    run: &'r Run<'r>,
    source: Mutex<Source<'s>>,
    stages: Vec<Gate<'s>>,
    /// Set with the failure: pieces that wait for one before them would wait for ever.
    broken: AtomicBool,
    failure: Mutex<Option<ImageError>>,
}

struct Source<'s> {
    reader: Box<dyn BlobReader + 's>,
    pieces: u64,
    ended: bool,
}

/// A stage, which only the next piece may enter.
struct Gate<'s> {
    inside: Mutex<Inside<'s>>,
    moved: Condvar,
}

struct Inside<'s> {
    stage: Stage<'s>,
    next: u64,
}

impl<'s> Gate<'s> {
    fn new(stage: Stage<'s>) -> Self {
        Self {
            inside: Mutex::new(Inside { stage, next: 0 }),
            moved: Condvar::new(),
        }
    }
}

impl Line<'_, '_> {
    /// Brings pieces until there are no more or something failed, which [`Self::verdict`] tells. `before` is told how many
    /// pieces were read whenever there may be more.
    fn carry(&self, before: &mut dyn FnMut(u64)) {
        // Even if this thread panics nobody waits for the piece that it holds.
        let _watch = Watch(self);
        let mut piece = self.run.piece();
        loop {
            match self.read(&mut piece) {
                Ok(Read::Piece { number, more }) => {
                    if more {
                        before(number + 1);
                    }
                    if let Err(why) = self.pass(number, &mut piece) {
                        return self.fail(why);
                    }
                    if !more {
                        break;
                    }
                }
                Ok(Read::End) => break,
                Err(why) => return self.fail(why),
            }
        }
        held(&self.run.spare).push(piece);
    }

    fn read(&self, piece: &mut Piece) -> Result<Read, ImageError> {
        let mut source = self.source.lock().map_err(|_| ImageError::Interrupted)?;
        if source.ended {
            return Ok(Read::End);
        }
        if self.run.stop.load(Ordering::Relaxed) || self.broken.load(Ordering::Relaxed) {
            return Err(ImageError::Interrupted);
        }
        if self.run.progress.cancelled() {
            return Err(ImageError::Cancelled);
        }
        source.ended = piece.fill(&mut *source.reader)?;
        self.run.progress.advanced(piece.len() as u64);
        if piece.is_empty() {
            return Ok(Read::End);
        }
        let number = source.pieces;
        source.pieces += 1;
        Ok(Read::Piece {
            number,
            more: !source.ended,
        })
    }

    fn pass(&self, number: u64, piece: &mut Piece) -> Result<(), ImageError> {
        for gate in &self.stages {
            let mut inside = gate.inside.lock().map_err(|_| ImageError::Interrupted)?;
            while inside.next != number {
                if self.broken.load(Ordering::Relaxed) {
                    return Err(ImageError::Interrupted);
                }
                inside = gate
                    .moved
                    .wait(inside)
                    .map_err(|_| ImageError::Interrupted)?;
            }
            (inside.stage)(piece)?;
            inside.next += 1;
            drop(inside);
            gate.moved.notify_all();
        }
        Ok(())
    }

    /// The first reason that is one of its own stays: who was interrupted only says so.
    fn fail(&self, why: ImageError) {
        let mut failure = held(&self.failure);
        if matches!(*failure, None | Some(ImageError::Interrupted)) {
            *failure = Some(why);
        }
        drop(failure);
        self.give_up();
    }

    fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
        for gate in &self.stages {
            // Who holds the lock has either not looked at `broken` yet, or waits already and is woken.
            drop(held(&gate.inside));
            gate.moved.notify_all();
        }
    }

    fn verdict(&self) -> Result<(), ImageError> {
        match held(&self.failure).take() {
            Some(why) => Err(why),
            None if self.broken.load(Ordering::Relaxed) => Err(ImageError::Interrupted),
            None => Ok(()),
        }
    }
}

/// What a look at the source gave.
enum Read {
    Piece { number: u64, more: bool },
    End,
}

/// Breaks the line when the thread that has it panics.
struct Watch<'l, 'r, 's>(&'l Line<'r, 's>);

impl Drop for Watch<'_, '_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.give_up();
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Measured from 64 KiB to 1 MiB: see docs/why/image-speed.md.
const PIECE: usize = 256 * 1024;
/// So many pieces go on one thread: 1 MiB.
const SMALL: u64 = 4;
/// Bounds the memory for pieces to 4 MiB on the largest machines.
const MOST_THREADS: usize = 8;

#[cfg(test)]
mod tests;
