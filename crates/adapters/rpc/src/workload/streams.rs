//! Streams of identities and bundles: each message is the whole state, and the process is measured again before each.

use std::{future::Future, sync::Arc};

use agent::{AgentError, AgentStanding, HandWatch, X509Svid};
use evidence::{ContainerRef, WorkloadFacts};
use proto::spiffe::{X509svid, X509svidResponse};
use spiffe_id::Bundle;
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, Instant, sleep, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Desk, Sent, WorkloadAgent, access::status};

/// The caller's SVID, renewed at half of its life and whenever facts, policy or bundle change; ends with the status that says
/// why the caller has none any more.
pub(super) fn x509_svids<A: WorkloadAgent>(
    desk: Desk<A>,
    caller: Arc<A::Caller>,
) -> Sent<X509svidResponse> {
    sending(move |sender| async move {
        let mut watch = Watch::new(&desk, sender);
        let mut issued = desk.issue(&caller).await?;
        loop {
            // What was issued before a hand came in is not sent after it.
            if watch.is_touched(&issued) {
                return Err(touched());
            }
            watch.send(desk.response(&issued)).await?;
            loop {
                match watch
                    .next(issued.due, issued.facts.container.as_ref())
                    .await
                {
                    Event::Gone => return Ok(()),
                    Event::Ended(why) => return Err(why),
                    Event::Due | Event::Policy => break,
                    Event::Bundle if desk.is_still(&caller, &issued.facts).await? => {
                        watch.send(desk.response(&issued)).await?;
                    }
                    Event::Look if desk.is_still(&caller, &issued.facts).await? => {}
                    Event::Bundle | Event::Look => break,
                }
            }
            match desk.renew(&caller, &issued, &watch).await? {
                Some(renewed) => issued = renewed,
                None => return Ok(()),
            }
        }
    })
}

/// The trust domain's bundle as `message` puts it, at once and after each change.
pub(super) fn bundles<A, T, F>(desk: Desk<A>, caller: Arc<A::Caller>, message: F) -> Sent<T>
where
    A: WorkloadAgent,
    T: PartialEq + Clone + Send + 'static,
    F: Fn(&Bundle) -> Result<T, Status> + Send + Sync + 'static,
{
    sending(move |sender| async move {
        let mut watch = Watch::new(&desk, sender);
        let mut last = None;
        loop {
            desk.agent
                .measure(&caller)
                .await
                .map_err(|error| status(&error))?;
            let bundle = watch.bundle();
            if bundle.x509().authorities().next().is_none() {
                return Err(Status::unavailable("this node has no bundle yet"));
            }
            let new = message(&bundle)?;
            if last.as_ref() != Some(&new) {
                watch.send(new.clone()).await?;
                last = Some(new);
            }
            match watch.next(None, None).await {
                Event::Gone => return Ok(()),
                Event::Ended(why) => return Err(why),
                Event::Due | Event::Policy | Event::Bundle | Event::Look => {}
            }
        }
    })
}

/// An SVID with the facts it was issued on.
struct Issued {
    facts: WorkloadFacts,
    svid: X509Svid,
    /// Half of its life.
    due: Option<Instant>,
    /// Its end.
    end: Instant,
}

impl<A: WorkloadAgent> Desk<A> {
    async fn issue(&self, caller: &A::Caller) -> Result<Issued, Status> {
        self.try_issue(caller).await.map_err(|error| status(&error))
    }

    async fn try_issue(&self, caller: &A::Caller) -> Result<Issued, AgentError> {
        let facts = self.agent.measure(caller).await?;
        let svid = self.agent.x509_svid(caller).await?;
        let life = svid
            .not_after
            .since((self.settings.now)())
            .unwrap_or_default();
        let now = Instant::now();
        Ok(Issued {
            facts,
            due: Some(now + life / 2),
            end: now + life,
            svid,
        })
    }

    /// Issues again. While the old SVID lives, a server that can't be reached is waited for; a denial ends the stream.
    async fn renew(
        &self,
        caller: &A::Caller,
        old: &Issued,
        watch: &Watch<X509svidResponse>,
    ) -> Result<Option<Issued>, Status> {
        let mut pause = FIRST_PAUSE;
        let mut hands = watch.hands.clone();
        loop {
            let error = match self.try_issue(caller).await {
                Ok(issued) => return Ok(Some(issued)),
                Err(error) => error,
            };
            let again = matches!(error, AgentError::NotAttested | AgentError::Unavailable(_));
            if !again || Instant::now() + pause >= old.end {
                return Err(status(&error));
            }
            tokio::select! {
                () = watch.sender.closed() => return Ok(None),
                () = hands.touched(old.facts.container.as_ref()) => return Err(touched()),
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether the process is what it was; the runtime's silence for a moment changes nothing.
    async fn is_still(&self, caller: &A::Caller, facts: &WorkloadFacts) -> Result<bool, Status> {
        match self.agent.measure(caller).await {
            Ok(now) => Ok(now == *facts),
            Err(AgentError::Unavailable(_)) => Ok(true),
            Err(error) => Err(status(&error)),
        }
    }

    fn response(&self, issued: &Issued) -> X509svidResponse {
        let bundle = self.agent.bundle().borrow().clone();
        let svid = X509svid {
            spiffe_id: issued.svid.id.to_string(),
            x509_svid: issued.svid.chain.concat(),
            x509_svid_key: issued.svid.key_pkcs8.to_vec(),
            bundle: bundle.x509().to_der_chain(),
            hint: String::new(),
        };
        X509svidResponse {
            svids: vec![svid],
            crl: Vec::new(),
            federated_bundles: Default::default(),
        }
    }
}

/// What a stream wakes up for.
enum Event {
    /// The client.
    Gone,
    /// Nothing more is given on this node.
    Ended(Status),
    /// The SVID is to be renewed.
    Due,
    /// The node's epoch or the policy changed: what was decided is decided anew.
    Policy,
    /// The bundle changed.
    Bundle,
    /// Time to look at the process.
    Look,
}

/// Everything that a stream waits for.
struct Watch<T> {
    sender: mpsc::Sender<Result<T, Status>>,
    standing: watch::Receiver<AgentStanding>,
    decided: (u64, u64),
    bundle: watch::Receiver<Arc<Bundle>>,
    hands: HandWatch,
    look_again: Duration,
}

impl<T> Watch<T> {
    fn new<A: WorkloadAgent>(desk: &Desk<A>, sender: mpsc::Sender<Result<T, Status>>) -> Self {
        let mut standing = desk.agent.standing();
        let decided = decided_on(&standing.borrow_and_update());
        let mut bundle = desk.agent.bundle();
        bundle.mark_unchanged();
        Self {
            sender,
            standing,
            decided,
            bundle,
            hands: desk.agent.hands(),
            look_again: desk.settings.look_again,
        }
    }

    fn bundle(&mut self) -> Arc<Bundle> {
        self.bundle.borrow_and_update().clone()
    }

    async fn send(&self, message: T) -> Result<(), Status> {
        self.sender
            .send(Ok(message))
            .await
            .map_err(|_| Status::cancelled("the caller went away"))
    }

    /// Whether a hand came into the container since this stream began.
    fn is_touched(&self, issued: &Issued) -> bool {
        self.hands.saw(issued.facts.container.as_ref())
    }

    async fn next(&mut self, due: Option<Instant>, container: Option<&ContainerRef>) -> Event {
        let look = Instant::now() + self.look_again;
        loop {
            tokio::select! {
                () = self.sender.closed() => return Event::Gone,
                () = self.hands.touched(container) => return Event::Ended(touched()),
                () = sleep_until(due.unwrap_or(look)), if due.is_some() => return Event::Due,
                changed = self.bundle.changed() => return if changed.is_ok() { Event::Bundle } else { stopping() },
                changed = self.standing.changed() => {
                    if changed.is_err() {
                        return stopping();
                    }
                    if let Some(event) = self.judge_standing() {
                        return event;
                    }
                }
                () = sleep_until(look) => return Event::Look,
            }
        }
    }

    fn judge_standing(&mut self) -> Option<Event> {
        let standing = self.standing.borrow_and_update().clone();
        if standing.banned {
            return Some(Event::Ended(status(&AgentError::Banned)));
        }
        if standing.offline {
            return Some(Event::Ended(Status::unavailable(
                "no server was reached for too long",
            )));
        }
        let before = std::mem::replace(&mut self.decided, decided_on(&standing));
        (before != self.decided).then_some(Event::Policy)
    }
}

/// What an issued identity depends on beside the process.
fn decided_on(standing: &AgentStanding) -> (u64, u64) {
    (standing.epoch, standing.policy)
}

/// A client comes again, and is decided about anew.
fn touched() -> Status {
    Status::permission_denied("somebody got a hand inside the container")
}

fn stopping() -> Event {
    Event::Ended(Status::unavailable("the agent is stopping"))
}

/// Runs `work`, which sends into the stream; its error becomes the stream's last item.
fn sending<T, F, W>(work: F) -> Sent<T>
where
    T: Send + 'static,
    F: FnOnce(mpsc::Sender<Result<T, Status>>) -> W,
    W: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(1);
    let last = sender.clone();
    let work = work(sender);
    tokio::spawn(async move {
        if let Err(why) = work.await {
            let _ = last.send(Err(why)).await;
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
