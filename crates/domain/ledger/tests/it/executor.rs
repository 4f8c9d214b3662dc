//! Polls futures by hand, in an order that a seed decides, and stops between any two polls: that is the crash.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Randomness that a seed repeats (xorshift64*).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) as usize) % end
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Tasks on one thread.
pub(crate) struct Executor {
    tasks: Vec<(Task, Arc<Flag>)>,
    random: Random,
}

impl Executor {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            tasks: Vec::new(),
            random,
        }
    }

    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.tasks
            .push((Box::pin(task), Arc::new(Flag(AtomicBool::new(true)))));
    }

    /// Polls until nobody can go on, or `crash` polls were made; then every task is dropped where it stands.
    /// Answers how many polls were made.
    pub(crate) fn run(mut self, crash: Option<usize>) -> usize {
        let mut polls = 0;
        while crash.is_none_or(|crash| polls < crash) {
            let ready: Vec<usize> = (0..self.tasks.len())
                .filter(|&at| self.tasks[at].1.0.load(Ordering::SeqCst))
                .collect();
            if ready.is_empty() {
                break;
            }
            let at = ready[self.random.below(ready.len())];
            let (task, flag) = &mut self.tasks[at];
            flag.0.store(false, Ordering::SeqCst);
            polls += 1;
            let waker = Waker::from(Arc::clone(flag));
            if task
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                drop(self.tasks.swap_remove(at));
            }
        }
        polls
    }
}

/// A place where others may go first, and where a crash may happen.
pub(crate) async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
