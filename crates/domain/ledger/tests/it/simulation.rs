//! Histories: requests, bans, new estates and clock jumps side by side, a crash at every await, a restart, more requests.

use std::sync::{Arc, Mutex};

use estate::{Digest, EstateHash, NodeName, PolicyVersion, Timestamp};
use evidence::Session;
use ledger::{
    Act, ActKind, Actor, Commitment, Effect, EstateRow, Guard, Ledger, NotRecorded, NotReleased,
};
use policy::{Kind, Request, Verdict};

use crate::{
    executor::{Executor, Random, pause},
    journal::{Defect, Disk, SimJournal, lock},
    model::{self, Answer},
    testkit::{self, MEASURED, NODES, START, SeededEntropy, World},
};

/// What is shared by the tasks of one history, across its crash.
struct History {
    world: &'static World,
    disk: Arc<Mutex<Disk>>,
    clock: Arc<Mutex<Timestamp>>,
    answers: Mutex<Vec<Answer>>,
    unavailable: Mutex<usize>,
}

/// How many of each there were: a simulation in which nothing happens proves nothing.
#[derive(Debug, Default)]
struct Seen {
    histories: usize,
    granted: usize,
    denied: usize,
    superseded: usize,
    acts: usize,
    unavailable: usize,
}

#[test]
fn ten_thousand_histories_with_a_crash_at_every_await_keep_the_promises() {
    let world: &'static World = Box::leak(Box::new(World::new()));
    let halves = [0, 1].map(|half| std::thread::spawn(move || explore(world, half, 2, 5_000)));
    let mut seen = Seen::default();
    for half in halves {
        let half = half.join().unwrap();
        seen.histories += half.histories;
        seen.granted += half.granted;
        seen.denied += half.denied;
        seen.superseded += half.superseded;
        seen.acts += half.acts;
        seen.unavailable += half.unavailable;
    }
    assert!(seen.histories >= 10_000, "{seen:?}");
    let least = [
        seen.granted,
        seen.denied,
        seen.superseded,
        seen.acts,
        seen.unavailable,
    ]
    .into_iter()
    .min();
    assert!(least >= Some(300), "too little happened: {seen:?}");
}

#[test]
fn the_model_notices_an_answer_before_its_leaf_is_durable() {
    assert!(notices(Defect::AnswersBeforeDurable).contains("not in the log"));
}

#[test]
fn the_model_notices_forgotten_guards() {
    let noticed = notices(Defect::ForgetsGuards);
    assert!(
        noticed.contains("banned before") || noticed.contains("replaced before"),
        "{noticed}"
    );
}

#[test]
fn the_model_notices_time_that_runs_back() {
    assert!(notices(Defect::LetsTimeRunBack).contains("time runs back"));
}

#[test]
fn the_model_notices_a_denial_that_nobody_decided() {
    let noticed = notices(Defect::DeniesWhenUncertain);
    assert!(
        noticed.contains("not in the log") || noticed.contains("its answer"),
        "{noticed}"
    );
}

#[test]
fn the_model_notices_an_index_used_twice() {
    assert!(notices(Defect::UsesAnIndexTwice).contains("has index"));
}

/// What the model says of the first history in which the defect shows.
fn notices(defect: Defect) -> String {
    let world: &'static World = Box::leak(Box::new(World::new()));
    let broken = |seed| {
        let whole = run(world, seed, None, defect);
        let crashes = (0..whole.polls)
            .filter_map(|crash| run(world, seed, Some(crash), defect).verdict.err());
        whole.verdict.err().or_else(|| crashes.into_iter().next())
    };
    (0..200).find_map(broken).unwrap()
}

fn explore(world: &'static World, first: u64, step: usize, histories: usize) -> Seen {
    let mut seen = Seen::default();
    for seed in (first..).step_by(step) {
        let polls = run_sound(world, seed, None, &mut seen);
        for crash in 0..polls {
            run_sound(world, seed, Some(crash), &mut seen);
        }
        if seen.histories >= histories {
            break;
        }
    }
    seen
}

fn run_sound(world: &'static World, seed: u64, crash: Option<usize>, seen: &mut Seen) -> usize {
    let Ran {
        polls,
        verdict,
        history,
    } = run(world, seed, crash, Defect::None);
    assert_eq!(verdict, Ok(()), "seed {seed}, crash {crash:?}");
    seen.histories += 1;
    seen.unavailable += *lock(&history.unavailable);
    for answer in lock(&history.answers).iter() {
        match answer.outcome {
            GRANTED => seen.granted += 1,
            DENIED => seen.denied += 1,
            SUPERSEDED => seen.superseded += 1,
            _ => seen.acts += 1,
        }
    }
    polls
}

struct Ran {
    polls: usize,
    verdict: Result<(), String>,
    history: Arc<History>,
}

fn run(world: &'static World, seed: u64, crash: Option<usize>, defect: Defect) -> Ran {
    let mut random = Random::new(seed);
    let history = Arc::new(History {
        world,
        disk: Arc::new(Mutex::new(Disk::new(
            NODES.map(|name| name.parse().unwrap()),
        ))),
        clock: Arc::new(Mutex::new(Timestamp::from_millis(START))),
        answers: Mutex::default(),
        unavailable: Mutex::default(),
    });
    let mut first = history.start(&mut random, defect);
    let ledger = first.1.clone();
    first
        .0
        .spawn(Arc::clone(&history).ban(ledger.clone(), random.clone()));
    if random.one_in(2) {
        first
            .0
            .spawn(Arc::clone(&history).apply(ledger, random.clone()));
    }
    first.0.spawn(Arc::clone(&history).jump(random.clone()));
    let polls = first.0.run(crash);
    // The process is gone; what stands on the disk is where the next one begins.
    history.start(&mut random, defect).0.run(None);
    let verdict = model::check(&lock(&history.disk).leaves, &lock(&history.answers));
    Ran {
        polls,
        verdict,
        history,
    }
}

impl History {
    /// A server process: its journal's writer and one or two requests.
    fn start(
        self: &Arc<Self>,
        random: &mut Random,
        defect: Defect,
    ) -> (Executor, Ledger<SimJournal>) {
        random.next();
        let journal = SimJournal::start(&self.disk, &self.clock, defect);
        let ledger = Ledger::new(
            Arc::clone(&journal),
            Arc::new(SeededEntropy(Mutex::new(random.clone()))),
        );
        let mut executor = Executor::new(random.clone());
        executor.spawn(journal.write(random.clone()));
        let node: NodeName = NODES[usize::from(random.one_in(4))].parse().unwrap();
        let connection = Arc::new(testkit::session(&node));
        for _ in 0..1 + random.below(2) {
            // Some requests replay the statement of another on the same connection.
            let on = if random.one_in(4) {
                Arc::clone(&connection)
            } else {
                Arc::new(testkit::session(&node))
            };
            let at = MEASURED[if random.one_in(4) { random.below(3) } else { 1 }];
            let (history, ledger) = (Arc::clone(self), ledger.clone());
            if random.one_in(2) {
                let request =
                    Request::read(testkit::read_request(), "medical-records".parse().unwrap());
                executor.spawn(history.release(ledger, request, &self.world.read, on, at));
            } else {
                let request = Request::issue(testkit::issue_request());
                executor.spawn(history.release(ledger, request, &self.world.issue, on, at));
            }
        }
        (executor, ledger)
    }

    /// The release path as the server walks it, with what the server had on record when the request came.
    async fn release<K: Kind>(
        self: Arc<Self>,
        ledger: Ledger<SimJournal>,
        request: Request<K>,
        canonical: &'static [u8],
        on: Arc<Session>,
        measured: i64,
    ) {
        let node = on.node();
        let (epoch, banned, version) = {
            let disk = lock(&self.disk);
            let (epoch, banned) = disk.nodes[node];
            (epoch, banned, disk.policy)
        };
        pause().await;
        let policies = &self.world.policies[usize::from(version == PolicyVersion(2))];
        let attested = self.world.attested(node, epoch, banned);
        let statement = self.world.statement(node, measured, canonical);
        let now = *lock(&self.clock);
        let verdict = match self
            .world
            .verifier
            .verify(statement, canonical, &on, &attested, now)
        {
            Ok(evidence) => policies.decide(evidence, request, now),
            Err(why) => Verdict::rejected(why, attested.facts.clone(), &request, policies),
        };
        pause().await;
        match ledger.commit(verdict, Vec::new()).await {
            Ok(logged) => {
                self.answered(GRANTED, logged.commitment());
                pause().await;
                // The answer could not be sealed: a second leaf says so.
                match ledger.undelivered(&logged, "the connection broke").await {
                    Ok(()) => {}
                    Err(_) => *lock(&self.unavailable) += 1,
                }
            }
            Err(NotReleased::Denied(denied)) => {
                let superseded =
                    matches!(denied.denial.reason, policy::DenialReason::Superseded(_));
                self.answered(
                    if superseded { SUPERSEDED } else { DENIED },
                    &denied.commitment,
                );
            }
            Err(_) => *lock(&self.unavailable) += 1,
        }
    }

    async fn ban(self: Arc<Self>, ledger: Ledger<SimJournal>, mut random: Random) {
        for _ in 0..random.below(6) {
            pause().await;
        }
        let node: NodeName = NODES[usize::from(random.one_in(4))].parse().unwrap();
        let act = Act::new(ActKind::NodeBan, Actor::LocalRoot)
            .field("node", node.to_string())
            .effect(Effect::Banned(node));
        self.recorded(ledger.record(act).await);
    }

    async fn apply(self: Arc<Self>, ledger: Ledger<SimJournal>, mut random: Random) {
        for _ in 0..random.below(6) {
            pause().await;
        }
        let row = EstateRow {
            version: PolicyVersion(2),
            hash: EstateHash(Digest::of("estate")),
            files: "[]".into(),
            number: estate::ChangeId(2),
            change: Digest::of("c-2"),
            record: "{}".into(),
            by: "chen@hospital.example".into(),
        };
        let act = Act::new(
            ActKind::EstateApply,
            Actor::Person("chen@hospital.example".into()),
        )
        .field("version", 2)
        .guard(Guard::Policy(PolicyVersion(1)))
        .effect(Effect::Estate(Box::new(row)));
        self.recorded(ledger.record(act).await);
    }

    async fn jump(self: Arc<Self>, mut random: Random) {
        for _ in 0..2 {
            pause().await;
            let to = [-3_600_000, -2_000, 1_000, 30_000, 150_000][random.below(5)];
            *lock(&self.clock) = Timestamp::from_millis(START + to);
        }
    }

    fn recorded(&self, outcome: Result<ledger::LoggedAct, NotRecorded>) {
        match outcome {
            Ok(logged) => self.answered(ACTED, logged.commitment()),
            Err(NotRecorded::Refused(refusal)) => self.answered(ACTED, &refusal.commitment),
            Err(_) => *lock(&self.unavailable) += 1,
        }
    }

    fn answered(&self, outcome: &'static str, commitment: &Commitment) {
        let Commitment {
            index,
            leaf,
            receipt: _,
        } = commitment;
        lock(&self.answers).push(Answer {
            outcome,
            index: *index,
            leaf: leaf.clone(),
        });
    }
}

const GRANTED: &str = "granted";
const DENIED: &str = "denied";
const SUPERSEDED: &str = "superseded";
/// Acts say nothing of an outcome.
const ACTED: &str = "";
