//! One blob through several stages. Threads take whatever is ready: a stage takes its pieces in their order, one at a time, and
//! which thread does it is all the same. One thread alone carries each piece to its end, while it is in that core's cache; where
//! cores are idle, more threads help.

mod piece;

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::ImageError;
use crate::ports::{BlobReader, BlobWriter};
use crate::progress::Progress;
pub(crate) use piece::Piece;

/// What happens to each piece of a blob, in the order of the blob.
pub(crate) type Stage<'a> = Box<dyn FnMut(&mut Piece) -> Result<(), ImageError> + Send + 'a>;

/// What all blobs of one run share.
pub(crate) struct Run<'a> {
    pub(crate) progress: &'a dyn Progress,
    /// Set when any of them failed: the others need not go on.
    pub(crate) stop: AtomicBool,
    /// Cores that nobody uses.
    idle: AtomicUsize,
    /// Pieces that were used before.
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

    /// Carries all that `reader` gives through `stages`, in order. Memory is bounded: a few pieces for each thread.
    pub(crate) fn carry<'s>(
        &self,
        reader: Box<dyn BlobReader + 's>,
        stages: Vec<Stage<'s>>,
    ) -> Result<(), ImageError> {
        let line = Line {
            run: self,
            work: Mutex::new(Work {
                reader: Some(reader),
                ended: false,
                read: 0,
                seats: stages.into_iter().map(Seat::new).collect(),
                under_way: 0,
                threads: 0,
                broken: false,
                failure: None,
            }),
            changed: Condvar::new(),
        };
        let stages = held(&line.work).seats.len();
        let line = &line;
        thread::scope(|scope| {
            let mut helpers = Vec::new();
            line.carry(&mut |pieces| {
                // Small blobs don't pay for threads, and more threads than stages only wait for each other.
                if pieces < SMALL || helpers.len() >= stages {
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

/// Writes the pieces.
pub(crate) fn writing<'s>(writer: &'s mut Box<dyn BlobWriter + '_>) -> Stage<'s> {
    Box::new(|piece| writer.write(piece).map_err(ImageError::Target))
}

/// A blob on its way.
struct Line<'r, 's> {
    run: &'r Run<'r>,
    work: Mutex<Work<'s>>,
    changed: Condvar,
}

struct Work<'s> {
    /// Not there while somebody reads.
    reader: Option<Box<dyn BlobReader + 's>>,
    ended: bool,
    /// Pieces that were read.
    read: u64,
    seats: Vec<Seat<'s>>,
    /// Pieces that did not come through yet.
    under_way: usize,
    threads: usize,
    broken: bool,
    failure: Option<ImageError>,
}

/// A stage and the pieces that wait for it, in order.
struct Seat<'s> {
    /// Not there while somebody works on a piece.
    stage: Option<Stage<'s>>,
    waiting: VecDeque<Piece>,
}

/// What a thread can do now.
enum Next<'s> {
    Read(Box<dyn BlobReader + 's>),
    Stage(usize, Stage<'s>, Piece),
    Wait,
    End,
}

impl<'s> Seat<'s> {
    fn new(stage: Stage<'s>) -> Self {
        Self {
            stage: Some(stage),
            waiting: VecDeque::new(),
        }
    }
}

impl<'s> Work<'s> {
    /// The longest queue first: its stage is the slowest, and must never pause. Of equals the last, which ends pieces sooner.
    fn next(&mut self) -> Next<'s> {
        if self.broken {
            return Next::End;
        }
        let ready = self.seats.iter_mut().enumerate();
        let ready = ready.filter(|(_, seat)| seat.stage.is_some() && !seat.waiting.is_empty());
        if let Some((index, seat)) = ready.max_by_key(|(index, seat)| (seat.waiting.len(), *index))
            && let Some(piece) = seat.waiting.pop_front()
            && let Some(stage) = seat.stage.take()
        {
            return Next::Stage(index, stage, piece);
        }
        if self.ended {
            return match self.under_way {
                0 => Next::End,
                _ => Next::Wait,
            };
        }
        if self.under_way >= self.threads * PIECES_EACH {
            return Next::Wait;
        }
        match self.reader.take() {
            Some(reader) => {
                self.under_way += 1;
                Next::Read(reader)
            }
            None => Next::Wait,
        }
    }

    /// The piece goes to the stage with this number; gives it back when there is none.
    fn pass(&mut self, index: usize, piece: Piece) -> Option<Piece> {
        match self.seats.get_mut(index).filter(|_| !piece.is_empty()) {
            Some(seat) => {
                seat.waiting.push_back(piece);
                None
            }
            None => {
                self.under_way -= 1;
                Some(piece)
            }
        }
    }

    /// The first reason that is one of its own stays: who was interrupted only says so.
    fn fail(&mut self, why: ImageError) {
        if matches!(self.failure, None | Some(ImageError::Interrupted)) {
            self.failure = Some(why);
        }
        self.broken = true;
    }
}

impl<'s> Line<'_, 's> {
    /// Works until everything came through or something failed, which [`Self::verdict`] tells. `before` is told how many
    /// pieces were read whenever there may be more.
    fn carry(&self, before: &mut dyn FnMut(u64)) {
        // Even if this thread panics nobody waits for the piece that it holds.
        let _watch = Watch(self);
        let mut work = held(&self.work);
        work.threads += 1;
        loop {
            match work.next() {
                Next::End => break,
                Next::Wait => {
                    work = self
                        .changed
                        .wait(work)
                        .unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Next::Read(reader) => {
                    drop(work);
                    let read = self.read(reader);
                    if let Some(pieces) = read {
                        before(pieces);
                    }
                }
                Next::Stage(index, stage, piece) => {
                    drop(work);
                    self.stage(index, stage, piece);
                }
            }
            self.changed.notify_one();
            work = held(&self.work);
        }
        drop(work);
        self.changed.notify_all();
    }

    /// Reads a piece; tells how many there were if there may be more.
    fn read(&self, mut reader: Box<dyn BlobReader + 's>) -> Option<u64> {
        let mut piece = self.run.piece();
        let read = self.fill(&mut *reader, &mut piece);
        let mut work = held(&self.work);
        work.reader = Some(reader);
        match read {
            Ok(ended) => {
                work.ended = ended;
                work.read += 1;
            }
            Err(why) => {
                work.fail(why);
                return None;
            }
        }
        let more = (!work.ended).then_some(work.read);
        self.recycle(work.pass(0, piece));
        more
    }

    fn fill(&self, reader: &mut dyn BlobReader, piece: &mut Piece) -> Result<bool, ImageError> {
        if self.run.stop.load(Ordering::Relaxed) {
            return Err(ImageError::Interrupted);
        }
        if self.run.progress.cancelled() {
            return Err(ImageError::Cancelled);
        }
        let ended = piece.fill(reader)?;
        self.run.progress.advanced(piece.len() as u64);
        Ok(ended)
    }

    fn stage(&self, index: usize, mut stage: Stage<'s>, mut piece: Piece) {
        let done = stage(&mut piece);
        let mut work = held(&self.work);
        if let Some(seat) = work.seats.get_mut(index) {
            seat.stage = Some(stage);
        }
        match done {
            Ok(()) => self.recycle(work.pass(index + 1, piece)),
            Err(why) => work.fail(why),
        }
    }

    fn recycle(&self, piece: Option<Piece>) {
        held(&self.run.spare).extend(piece);
    }

    fn verdict(&self) -> Result<(), ImageError> {
        let mut work = held(&self.work);
        match work.failure.take() {
            Some(why) => Err(why),
            None if work.broken => Err(ImageError::Interrupted),
            None => Ok(()),
        }
    }
}

/// Breaks the line when the thread that has it panics.
struct Watch<'l, 'r, 's>(&'l Line<'r, 's>);

impl Drop for Watch<'_, '_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            held(&self.0.work).broken = true;
            self.0.changed.notify_all();
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many pieces go on one thread: 1 MiB.
const SMALL: u64 = 4;
/// Bounds the memory for pieces to 16 MiB on the largest machines.
const MOST_THREADS: usize = 8;
/// Pieces under way for each thread: some wait for the slowest stage, so that it never waits.
const PIECES_EACH: usize = 4;

#[cfg(test)]
mod tests;
