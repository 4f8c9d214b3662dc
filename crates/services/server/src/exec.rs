//! A hand inside a container: an exec, a shared process space, a checkpoint. Nothing is released by it, so it is an act; what
//! the container holds decides whether it is refused, or permitted and counted as seen by a person.

mod concerned;

use estate::{DataSetName, ExecRule, ImageSet};
use evidence::{
    Session, Statement, WorkloadFacts,
    request::{Canonical, ExecRequest, Hand},
};
use ledger::{Act, ActKind, Actor, Effect, Guard, LeaseOutcome, LoggedRefusal, NotRecorded};

use self::concerned::Concerned;
use crate::{
    ports::{DatabaseAccounts, Store},
    release::{Answer, Circumstances, Payload, ReleaseError},
    server::Server,
};

/// One hand, and the container that it is about to enter or has entered.
struct Asked<'a> {
    at: &'a Circumstances,
    body: &'a ExecRequest,
    workload: &'a WorkloadFacts,
    /// The set of the container's own image.
    set: Option<&'a ImageSet>,
}

/// What becomes of a hand.
enum Ruling {
    /// The owner lists exactly this command as a probe.
    Probe,
    /// The container holds nothing of ours.
    Free,
    /// It may be, or has been: whatever the container holds counts as seen by a person.
    Exposed,
    /// It may not be.
    Refused(String),
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Decides about a hand inside a container and records it. The answer is one word: `probe`, `free` or `exposed`.
    ///
    /// # Errors
    /// [`ReleaseError`]; a refusal is [`ReleaseError::ExecRefused`].
    pub async fn exec(
        &self,
        on: &Session,
        statement: &Statement,
        canonical: &[u8],
    ) -> Result<Answer, ReleaseError> {
        let body = ExecRequest::from_canonical(canonical)?;
        let at = self.circumstances(on).await?;
        let verified = self
            .verifier
            .verify(statement, canonical, on, &at.node, at.now);
        let evidence = match verified {
            Ok(evidence) => evidence,
            Err(why) => {
                return Err(self
                    .refuse_exec(act_of(&at, &body), why.to_string(), &at)
                    .await);
            }
        };
        let Some(workload) = evidence.workload() else {
            let why = "it is asked in the name of no container";
            return Err(self
                .refuse_exec(act_of(&at, &body), why.to_owned(), &at)
                .await);
        };
        let image = workload.image.as_ref();
        let asked = Asked {
            at: &at,
            body: &body,
            workload,
            set: image.and_then(|image| at.world.estate.image_set_of(&image.config, at.now)),
        };
        self.rule(&asked).await
    }

    /// A lease that ends between the look and the commit fails its guard: then it is looked again.
    async fn rule(&self, asked: &Asked<'_>) -> Result<Answer, ReleaseError> {
        let mut last = None;
        for _ in 0..TRIES {
            let concerned = match asked.is_probe() {
                true => Concerned::default(),
                false => self.concerned(asked).await?,
            };
            let act = asked.act(&concerned);
            let recorded = match asked.ruling(&concerned) {
                Ruling::Refused(reason) => {
                    return Err(self.refuse_exec(act, reason, asked.at).await);
                }
                Ruling::Probe => self.permit_exec(act.field("probe", true), "probe").await,
                Ruling::Free => self.permit_exec(act, "free").await,
                Ruling::Exposed => self.expose(act, &concerned).await,
            };
            match recorded {
                Ok(answer) => return Ok(answer),
                Err(NotRecorded::Unavailable(error)) => return Err(error.into()),
                Err(NotRecorded::Refused(refusal)) => {
                    let again = matches!(refusal.guard, Guard::LeaseLive(_));
                    last = Some(refusal);
                    if !again {
                        break;
                    }
                }
            }
        }
        Err(last.map_or(ReleaseError::Busy, |refusal| overtaken(*refusal)))
    }

    async fn permit_exec(&self, act: Act, word: &str) -> Result<Answer, NotRecorded> {
        let act = Act {
            kind: ActKind::ExecPermitted,
            ..act
        };
        answer(self.ledger.record(act).await, word)
    }

    /// The leases end, the secrets are to be replaced; both in the transaction of the leaf that says so.
    async fn expose(&self, act: Act, concerned: &Concerned) -> Result<Answer, NotRecorded> {
        let mut act = Act {
            kind: ActKind::Exposure,
            ..act
        };
        for lease in &concerned.leases {
            act.effects
                .push(Effect::LeaseMoved(lease.clone(), LeaseOutcome::Ending));
            act.guards.push(Guard::LeaseLive(lease.clone()));
        }
        let secrets = concerned.secrets.iter();
        act.effects
            .extend(secrets.map(|(name, version)| Effect::SecretExposed(name.clone(), *version)));
        let answered = answer(self.ledger.record(act).await, "exposed")?;
        if !concerned.leases.is_empty() {
            self.sweep.notify_one();
            self.announce();
        }
        Ok(answered)
    }

    /// A refusal counts against the node's budget, like each denial.
    async fn refuse_exec(&self, act: Act, reason: String, at: &Circumstances) -> ReleaseError {
        let mut act = act.field("reason", reason.clone());
        // A refusal takes nothing and rests on nothing that could have changed.
        act.guards.clear();
        match self.ledger.record(act).await {
            Ok(logged) => {
                self.spend(&at.node.facts.name);
                ReleaseError::ExecRefused(Box::new(logged.commitment().clone()), reason)
            }
            Err(NotRecorded::Unavailable(error)) => error.into(),
            Err(NotRecorded::Refused(refusal)) => overtaken(*refusal),
        }
    }
}

impl Asked<'_> {
    fn is_probe(&self) -> bool {
        self.body.hand == Hand::Exec
            && self
                .set
                .is_some_and(|set| set.run.allows_probe(&self.body.argv))
    }

    fn ruling(&self, concerned: &Concerned) -> Ruling {
        if self.is_probe() {
            return Ruling::Probe;
        }
        if self.body.hand == Hand::Seen {
            return match concerned.datasets.is_empty() {
                true => Ruling::Free,
                false => Ruling::Exposed,
            };
        }
        if concerned.beyond > 0 {
            return Ruling::Refused(format!(
                "the request names {} things more than can be looked at",
                concerned.beyond
            ));
        }
        if concerned.datasets.is_empty() {
            return Ruling::Free;
        }
        let mut datasets = concerned.datasets.iter();
        match datasets.find(|dataset| self.refuses(dataset)) {
            Some(dataset) => Ruling::Refused(format!(
                "data set `{dataset}` refuses every hand inside a container that holds something of it"
            )),
            None => Ruling::Exposed,
        }
    }

    /// A data set that is in no estate any more has no owner who could permit it.
    fn refuses(&self, dataset: &DataSetName) -> bool {
        let found = self.at.world.estate.dataset(dataset);
        found.is_none_or(|dataset| dataset.exec != ExecRule::Expose)
    }

    fn act(&self, concerned: &Concerned) -> Act {
        let Self {
            at, body, workload, ..
        } = self;
        let mut act = act_of(at, body);
        if let Some(container) = &workload.container {
            act = act
                .field("target", format!("container `{}`", container.id))
                .field("container", container.id.clone());
        }
        if let Some(image) = &workload.image {
            act = act.field("image", image.config.to_string());
        }
        if let Some(pod) = &workload.pod {
            act = act.field("pod", format!("{}/{}", pod.namespace, pod.name));
        }
        // What was seen has to be on record whatever changed meanwhile; what is asked is decided by one state.
        if body.hand != Hand::Seen {
            let facts = &at.node.facts;
            act = act
                .guard(Guard::NodeEpoch(facts.name.clone(), facts.epoch))
                .guard(Guard::Policy(at.world.version()));
        }
        concerned.describe(act)
    }
}

/// The words of a command may be secrets: its program is recorded, and how many words there were.
fn act_of(at: &Circumstances, body: &ExecRequest) -> Act {
    let node = at.node.facts.name.to_string();
    let act = Act::new(ActKind::ExecRefused, Actor::Node(node.clone()))
        .field("node", node)
        .field("hand", name_of(body.hand));
    match body.argv.first() {
        Some(program) => act
            .field(
                "program",
                program.chars().take(LONGEST_PROGRAM).collect::<String>(),
            )
            .field("words", body.argv.len()),
        None => act,
    }
}

fn name_of(hand: Hand) -> &'static str {
    match hand {
        Hand::Exec => "exec",
        Hand::Join => "join",
        Hand::Checkpoint => "checkpoint",
        Hand::Seen => "seen",
    }
}

fn answer(
    recorded: Result<ledger::LoggedAct, NotRecorded>,
    word: &str,
) -> Result<Answer, NotRecorded> {
    recorded.map(|logged| Answer {
        commitment: logged.commitment().clone(),
        payload: Payload::Plain(vec![word.as_bytes().to_vec()]),
    })
}

fn overtaken(refusal: LoggedRefusal) -> ReleaseError {
    let LoggedRefusal { guard, commitment } = refusal;
    ReleaseError::ExecRefused(Box::new(commitment), guard.failure().to_owned())
}

const TRIES: usize = 4;
const LONGEST_PROGRAM: usize = 255;
