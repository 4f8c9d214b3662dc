//! The life of an agent: attest, connect, follow the server's directives, renew; and begin again when it breaks.

use std::{sync::Arc, time::Duration};

use evidence::{AttestBinding, Proof, Purpose};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    agent::Agent,
    backoff::{BackOff, jittered},
    ports::{Connector, Directive, LinkError, Probe, ServerLink},
    session::{Identity, Session, SessionError},
};

/// What outlives one connection.
#[derive(Default)]
struct Life {
    /// The newest admission, while its certificate is good for another connection.
    identity: Option<Arc<Identity>>,
    /// Whether this process attested before: then it renews, for a second `enrol` looks like a second node.
    attested_before: bool,
    /// Whether the last session came up.
    came_up: bool,
}

impl<C: Connector, P: Probe> Agent<C, P> {
    /// Attests, keeps the connection, answers quotes, renews, and starts again; returns when the node is banned.
    pub async fn run_forever(self: Arc<Self>) {
        tokio::select! {
            () = self.live() => {}
            () = self.watch_contact() => {}
        }
    }

    async fn live(&self) {
        let mut life = Life::default();
        let mut back_off = BackOff::new();
        loop {
            life.came_up = false;
            let why = match self.one_session(&mut life).await {
                Ok(never) => match never {},
                Err(why) => why,
            };
            self.withdraw(&why);
            match why {
                SessionError::Banned => {
                    tracing::error!("the node is banned: nothing is given any more");
                    return self.stop();
                }
                // The keys are worth nothing any more; what was issued under them is not handed out again.
                SessionError::Reattest | SessionError::Link(LinkError::Refused(_)) => {
                    life.identity = None;
                    self.svids.clear();
                }
                _ => {}
            }
            tracing::warn!(error = %why, "no session with a server");
            if life.came_up {
                back_off = BackOff::new();
            }
            sleep(back_off.pause()).await;
        }
    }

    /// One connection from its beginning to its end.
    async fn one_session(&self, life: &mut Life) -> Result<std::convert::Infallible, SessionError> {
        let now = self.clock.now();
        let identity = match life.identity.take_if(|identity| !identity.is_due(now)) {
            Some(identity) => identity,
            None => self.admitted(life).await?,
        };
        life.identity = Some(Arc::clone(&identity));
        let session = self.connect(identity).await?;
        self.publish(&session);
        tracing::info!("a session with a server is up");
        life.came_up = true;
        self.keep(session, life).await
    }

    async fn admitted(&self, life: &mut Life) -> Result<Arc<Identity>, SessionError> {
        let purpose = if life.attested_before {
            Purpose::Renew
        } else {
            Purpose::Enrol
        };
        let (identity, bundle) = self.attest(purpose).await?;
        life.attested_before = true;
        self.touch();
        self.publish_bundle(bundle);
        tracing::info!(
            epoch = identity.epoch,
            purpose = purpose.as_str(),
            "the node is admitted"
        );
        Ok(Arc::new(identity))
    }

    /// A mutual connection to a server whose ledger holds everything that is known of it.
    async fn connect(
        &self,
        identity: Arc<Identity>,
    ) -> Result<Arc<Session<C::Link>>, SessionError> {
        let link = self.connector.mutual(identity.chain.clone()).await?;
        let exporter = link.exporter();
        self.prove_ledger(&link).await?;
        Ok(Arc::new(Session::new(identity, link, exporter)))
    }

    /// Follows directives and renews until something ends the session.
    async fn keep(
        &self,
        mut session: Arc<Session<C::Link>>,
        life: &mut Life,
    ) -> Result<std::convert::Infallible, SessionError> {
        let mut directives = self.read_directives(&session);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_proof = Instant::now() + PROOF_INTERVAL;
        let mut next_renewal = Instant::now();
        loop {
            let mut renewal = None;
            tokio::select! {
                directive = directives.next() => match self.follow(&session, directive?).await {
                    Err(SessionError::Reattest) => renewal = Some(Renewal::Ordered),
                    followed => followed?,
                },
                _ = tick.tick() => {
                    self.touch();
                    if session.identity.is_due(self.clock.now()) && Instant::now() >= next_renewal {
                        renewal = Some(Renewal::Due);
                    }
                    if Instant::now() >= next_proof {
                        self.prove_ledger(&session.link).await?;
                        next_proof = Instant::now() + PROOF_INTERVAL;
                    }
                }
                why = session.ended() => return Err(why),
            }
            match renewal {
                None => {}
                Some(why) => match self.renew(life).await {
                    Ok(renewed) => {
                        session = renewed;
                        directives = self.read_directives(&session);
                    }
                    Err(error @ (SessionError::Link(_) | SessionError::Keys(_)))
                        if why == Renewal::Due && !session.identity.is_over(self.clock.now()) =>
                    {
                        tracing::warn!(%error, "the node's certificate could not be renewed yet");
                        next_renewal = Instant::now() + RENEWAL_PAUSE + jittered(RENEWAL_PAUSE);
                    }
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// New keys and a new connection. Requests on their way end before, new ones wait: the server knows one statement
    /// key per node, so a statement signed before and judged after the change would be a denial on record.
    async fn renew(&self, life: &mut Life) -> Result<Arc<Session<C::Link>>, SessionError> {
        let slow = || SessionError::Link(LinkError::Unavailable("requests do not end".into()));
        let _alone = timeout(IN_FLIGHT_LIMIT, self.gate.write())
            .await
            .map_err(|_| slow())?;
        let identity = self.admitted(life).await?;
        life.identity = Some(Arc::clone(&identity));
        let session = self.connect(identity).await?;
        self.publish(&session);
        Ok(session)
    }

    async fn follow(
        &self,
        session: &Session<C::Link>,
        directive: Directive,
    ) -> Result<(), SessionError> {
        self.touch();
        let Directive {
            node_epoch,
            policy,
            bundle,
            quote,
            reattest,
            banned,
            ended_leases,
        } = directive;
        if banned {
            return Err(SessionError::Banned);
        }
        let known = self.standing().borrow().bundle_sequence;
        self.change_standing(|standing| {
            standing.policy = policy;
            standing.ended_leases = ended_leases;
        });
        self.svids.keep_policy(policy);
        if reattest || node_epoch != session.identity.epoch {
            return Err(SessionError::Reattest);
        }
        if bundle != known {
            let (document, sequence) = session.link.bundle().await?;
            self.publish_bundle(self.parse_bundle(&document)?);
            self.change_standing(|standing| standing.bundle_sequence = sequence);
        }
        match quote {
            Some((nonce, pcrs)) => self.quote(session, nonce, pcrs).await,
            None => Ok(()),
        }
    }

    /// Answers a quote directive over this connection's exporter.
    async fn quote(
        &self,
        session: &Session<C::Link>,
        nonce: [u8; 32],
        pcrs: Vec<u8>,
    ) -> Result<(), SessionError> {
        let binding = AttestBinding {
            purpose: Purpose::Quote,
            exporter: session.exporter,
            ..session.identity.binding.clone()
        };
        let qualifying = binding.qualifying_data(&nonce);
        let proof = self
            .with_keys(move |keys| {
                Ok(Proof {
                    quote: keys.quote(&qualifying, &pcrs)?,
                    event_log: keys.event_log()?,
                    ..Proof::default()
                })
            })
            .await?;
        match session.link.quote(nonce, proof).await {
            // The next directive asks again; until then what needs a fresh quote is denied by the server.
            Err(LinkError::Unavailable(error)) => {
                tracing::warn!(%error, "the quote was not taken");
                Ok(())
            }
            Err(LinkError::Refused(_)) => Err(SessionError::Reattest),
            other => Ok(other?),
        }
    }

    /// Demands proof that the server's ledger extends everything known of it.
    async fn prove_ledger(&self, link: &C::Link) -> Result<(), SessionError> {
        for _ in 0..PROOF_ROUNDS {
            let tips = self.witness.to_prove();
            if tips.is_empty() {
                let (proof, checkpoint) = link.consistency(0).await?;
                self.witness.extend(None, &proof, &checkpoint)?;
            }
            for tip in &tips {
                let (proof, checkpoint) = link.consistency(tip.size).await.map_err(no_such_tree)?;
                self.witness.extend(Some(tip), &proof, &checkpoint)?;
            }
            if self.witness.is_settled() {
                break;
            }
        }
        let witness = Arc::clone(&self.witness);
        let kept = tokio::task::spawn_blocking(move || witness.keep()).await;
        Ok(kept
            .map_err(|_| SessionError::Keys("the newest checkpoint could not be kept".into()))??)
    }

    fn read_directives(&self, session: &Arc<Session<C::Link>>) -> Directives {
        let (sender, receiver) = mpsc::channel(4);
        let session = Arc::clone(session);
        let checkpoint = self.witness.newest();
        let task = tokio::spawn(async move {
            loop {
                let directive = session.link.next_directive(&checkpoint).await;
                let last = directive.is_err();
                if sender.send(directive).await.is_err() || last {
                    return;
                }
            }
        });
        Directives { receiver, task }
    }
}

/// Why keys are renewed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewal {
    /// Half of the certificate's life is over.
    Due,
    /// The server wants it: the present keys are worth nothing.
    Ordered,
}

/// The stream of one session; dropping it ends the task that reads.
struct Directives {
    receiver: mpsc::Receiver<Result<Directive, LinkError>>,
    task: tokio::task::JoinHandle<()>,
}

impl Directives {
    async fn next(&mut self) -> Result<Directive, LinkError> {
        let ended = || {
            Err(LinkError::Unavailable(
                "the stream of directives ended".into(),
            ))
        };
        self.receiver.recv().await.unwrap_or_else(ended)
    }
}

impl Drop for Directives {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A tree that the server says it never had is a smaller or another tree.
fn no_such_tree(error: LinkError) -> SessionError {
    match error {
        LinkError::Request(why) => {
            SessionError::Distrusted(format!("its ledger was rolled back: {why}"))
        }
        other => other.into(),
    }
}

const TICK: Duration = Duration::from_millis(500);
/// How often the ledger is proven on a quiet connection: what people and the server itself do is witnessed within seconds, too.
const PROOF_INTERVAL: Duration = Duration::from_secs(5);
/// The log may grow between two proofs; after so many rounds the rest waits for the next time.
const PROOF_ROUNDS: usize = 4;
const RENEWAL_PAUSE: Duration = Duration::from_secs(15);
/// Longer than any request may take.
const IN_FLIGHT_LIMIT: Duration = Duration::from_secs(20);
