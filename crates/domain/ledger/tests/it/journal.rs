//! A journal in memory that loses what was not durable: what stands in `Disk` survives a crash, all else does not.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use estate::{Epoch, NodeName, PolicyVersion, Timestamp};
use ledger::{Commitment, Effect, Entry, Guard, Journal, JournalError, SealedLeaf, Written};

use crate::executor::{Random, pause};

/// How a journal may be wrong. The model has to notice each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    AnswersBeforeDurable,
    ForgetsGuards,
    LetsTimeRunBack,
    DeniesWhenUncertain,
    UsesAnIndexTwice,
}

/// What survives.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) leaves: Vec<(u64, SealedLeaf)>,
    pub(crate) nodes: BTreeMap<NodeName, (Epoch, bool)>,
    pub(crate) policy: PolicyVersion,
    time: Timestamp,
}

impl Disk {
    pub(crate) fn new(nodes: impl IntoIterator<Item = NodeName>) -> Self {
        Self {
            leaves: Vec::new(),
            nodes: nodes
                .into_iter()
                .map(|name| (name, (Epoch(1), false)))
                .collect(),
            policy: PolicyVersion(1),
            time: Timestamp::MIN,
        }
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::NodeEpoch(name, epoch) => self.nodes.get(name) == Some(&(*epoch, false)),
            Guard::Policy(version) => self.policy == *version,
            other => unreachable!("not in this simulation: {other:?}"),
        }
    }

    fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Banned(name) => {
                if let Some((epoch, banned)) = self.nodes.get_mut(name) {
                    (*epoch, *banned) = (epoch.next(), true);
                }
            }
            Effect::Estate(row) => self.policy = row.version,
            other => unreachable!("not in this simulation: {other:?}"),
        }
    }

    fn write(&mut self, entry: &Entry, now: Timestamp, defect: Defect) -> Written {
        let failed = entry.guards.iter().find(|guard| !self.holds(guard));
        let failed = failed.filter(|_| defect != Defect::ForgetsGuards).cloned();
        self.time = if defect == Defect::LetsTimeRunBack {
            now
        } else {
            self.time.max(now)
        };
        let draft = if failed.is_some() {
            &entry.refused
        } else {
            &entry.granted
        };
        let sealed = draft.seal(self.time).unwrap();
        let next = self.leaves.len() as u64;
        let index = if defect == Defect::UsesAnIndexTwice {
            next.saturating_sub(1)
        } else {
            next
        };
        let commitment = Commitment {
            index,
            leaf: sealed.bytes.clone(),
            receipt: String::new(),
        };
        self.leaves.push((index, sealed));
        match failed {
            Some(guard) => Written::Refused(commitment, guard),
            None => {
                entry.effects.iter().for_each(|effect| self.apply(effect));
                Written::Granted(commitment)
            }
        }
    }
}

/// An entry that waits, and where its answer goes.
type Waiting = (Entry, Answer);
type Answer = Arc<Mutex<(Option<Result<Written, JournalError>>, Option<Waker>)>>;

/// The process: what waits, and the clock.
pub(crate) struct SimJournal {
    disk: Arc<Mutex<Disk>>,
    clock: Arc<Mutex<Timestamp>>,
    inbox: Mutex<(VecDeque<Waiting>, Option<Waker>)>,
    defect: Defect,
}

impl SimJournal {
    /// Starts on what the disk holds.
    pub(crate) fn start(
        disk: &Arc<Mutex<Disk>>,
        clock: &Arc<Mutex<Timestamp>>,
        defect: Defect,
    ) -> Arc<Self> {
        let inbox = Mutex::new((VecDeque::new(), None));
        Arc::new(Self {
            disk: Arc::clone(disk),
            clock: Arc::clone(clock),
            inbox,
            defect,
        })
    }

    /// The writer: takes what waits, writes it into a transaction, commits, answers.
    pub(crate) async fn write(self: Arc<Self>, mut random: Random) {
        loop {
            let batch = self.take(1 + random.below(4)).await;
            pause().await;
            let before = lock(&self.disk).clone();
            let mut after = before.clone();
            let now = *lock(&self.clock);
            let answers: Vec<_> = batch
                .iter()
                .map(|(entry, _)| after.write(entry, now, self.defect))
                .collect();
            pause().await;
            if self.defect == Defect::AnswersBeforeDurable {
                answer_all(&batch, answers.iter().cloned().map(Ok));
                pause().await;
            }
            if random.one_in(8) {
                let error = JournalError::Unavailable("disk full".into());
                answer_all(&batch, batch.iter().map(|_| Err(error.clone())));
                continue;
            }
            let uncertain = random.one_in(8);
            if !uncertain || random.one_in(2) {
                *lock(&self.disk) = after;
            }
            pause().await;
            if uncertain && self.defect == Defect::DeniesWhenUncertain {
                let refused = |written| match written {
                    Written::Granted(commitment) => {
                        Written::Refused(commitment, Guard::Policy(before.policy))
                    }
                    refused => refused,
                };
                answer_all(
                    &batch,
                    answers.into_iter().map(|written| Ok(refused(written))),
                );
            } else if uncertain {
                answer_all(&batch, batch.iter().map(|_| Err(JournalError::Uncertain)));
            } else {
                for ((_, slot), written) in batch.iter().zip(answers) {
                    answer(slot, Ok(written));
                    pause().await;
                }
            }
        }
    }

    async fn take(&self, most: usize) -> Vec<Waiting> {
        poll_fn(|context| {
            let mut inbox = lock(&self.inbox);
            if inbox.0.is_empty() {
                inbox.1 = Some(context.waker().clone());
                return Poll::Pending;
            }
            let count = most.min(inbox.0.len());
            Poll::Ready(inbox.0.drain(..count).collect())
        })
        .await
    }
}

impl Journal for SimJournal {
    async fn append(&self, entry: Entry) -> Result<Written, JournalError> {
        let slot = Answer::default();
        let waker = {
            let mut inbox = lock(&self.inbox);
            inbox.0.push_back((entry, Arc::clone(&slot)));
            inbox.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
        poll_fn(|context| {
            let mut slot = lock(&slot);
            match slot.0.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    slot.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

fn answer_all(batch: &[Waiting], answers: impl Iterator<Item = Result<Written, JournalError>>) {
    batch
        .iter()
        .zip(answers)
        .for_each(|((_, slot), written)| answer(slot, written));
}

fn answer(slot: &Answer, written: Result<Written, JournalError>) {
    let mut slot = lock(slot);
    slot.0.get_or_insert(written);
    slot.1.take().into_iter().for_each(Waker::wake);
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
