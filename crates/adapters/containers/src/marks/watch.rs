//! Following the runtime's events: each is remembered, and what the start gate's marks lack is added to them.

use std::convert::Infallible;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use evidence::ContainerRef;
use proto::containerd::services::events::v1::{PublishRequest, SubscribeRequest};
use tokio::time::{sleep, timeout};

use super::events::{Happened, Joined, joined};
use super::{ContainerRefKey, Marks};
use crate::client::{Client, refused, within};
use crate::gate::MarkError;
use crate::start::Keeping;
use crate::{RuntimeError, locate, measure};

/// Follows events for ever, again after each loss.
pub(crate) async fn watch(client: &Client, marks: &Marks, gate: Option<&Keeping>) {
    let mut told = false;
    loop {
        let Err(error) = follow(client, marks, gate).await;
        // A runtime that stays away is told of once.
        if !told || marks.lock().since.is_some() {
            tracing::warn!(
                %error,
                "the runtime's events are not followed; every running container counts as interactive"
            );
        }
        told = true;
        marks.forget();
        sleep(PAUSE).await;
    }
}

async fn follow(
    client: &Client,
    marks: &Marks,
    gate: Option<&Keeping>,
) -> Result<Infallible, RuntimeError> {
    let mut events = client.events();
    let mut subscribed = pin!(events.subscribe(SubscribeRequest::default()));
    // The answer to a subscription comes with the first event, so one is made; it also tells from when on all are seen.
    let mut stream = loop {
        match timeout(PAUSE, &mut subscribed).await {
            Ok(answer) => break answer.map_err(refused("events"))?.into_inner(),
            Err(_) => publish_fence(client).await?,
        }
    };
    publish_fence(client).await?;
    loop {
        let event = stream.message().await.map_err(refused("events"))?;
        let event = event.ok_or(RuntimeError::Malformed { what: "events" })?;
        if event.topic == FENCE {
            marks.begin(now());
            if let Some(gate) = gate {
                gate.lost_sight();
            }
        } else if let Some(happened) = Happened::read(&event) {
            let watch = Watch {
                client,
                marks,
                gate,
            };
            watch.take(happened).await?;
        }
    }
}

/// What an event is judged with.
struct Watch<'a> {
    client: &'a Client,
    marks: &'a Marks,
    gate: Option<&'a Keeping>,
}

impl Watch<'_> {
    async fn take(&self, happened: Happened) -> Result<(), RuntimeError> {
        if let Happened::Created(key) = &happened {
            self.touch_joined(key).await?;
        }
        self.marks.apply(happened.clone());
        let Some(gate) = self.gate else {
            return Ok(());
        };
        let name = |(namespace, id): ContainerRefKey| ContainerRef {
            runtime_namespace: namespace,
            id,
        };
        match happened {
            Happened::Created(_) => {}
            Happened::Hand(key) => self.saw_hand(gate, name(key)).await?,
            Happened::Changed(key) => {
                let container = name(key);
                self.marks.see(&container);
                warn_of(gate.saw_change(&container));
            }
            Happened::Removed(key) => {
                let container = name(key);
                // Another one may have its name already, and its marks.
                if measure::record(self.client, &container).await?.is_none() {
                    warn_of(gate.forget(&container));
                }
            }
            Happened::Unpacked(chain) => gate.saw_unpacked(chain),
        }
        Ok(())
    }

    /// Where the gate is called for each hand, it knows better what was one: a refused exec and a probe are none.
    async fn saw_hand(&self, gate: &Keeping, container: ContainerRef) -> Result<(), RuntimeError> {
        let record = measure::record(self.client, &container).await;
        let is_asked_about = match &record {
            Ok(Some(record)) => gate.is_asked_about(&container, record),
            Ok(None) | Err(_) => gate.was_asked(&container),
        };
        if is_asked_about {
            warn_of(gate.saw_entry(&container));
            return Ok(());
        }
        self.marks.see(&container);
        warn_of(gate.saw_hand(&container));
        Ok(())
    }

    /// Whoever sits in a container's process space can look into its processes: a debug container touches its target, whose
    /// own record says nothing of it.
    async fn touch_joined(&self, (namespace, id): &ContainerRefKey) -> Result<(), RuntimeError> {
        let joiner = ContainerRef {
            runtime_namespace: namespace.clone(),
            id: id.clone(),
        };
        // What is gone, or has no specification, does not run.
        let Some(record) = measure::record(self.client, &joiner).await? else {
            return Ok(());
        };
        let Some(spec) = &record.spec else {
            return Ok(());
        };
        let is_asked_about = self.gate.is_some_and(|gate| gate.runs(&record));
        match joined(&spec.value) {
            Joined::None => {}
            Joined::Of(pid) => {
                if let Some(target) = locate::id_by_cgroup(pid) {
                    let key = (namespace.clone(), target);
                    self.marks.apply(Happened::Hand(key.clone()));
                    if let Some(gate) = self.gate.filter(|_| !is_asked_about) {
                        let (runtime_namespace, id) = key;
                        let target = ContainerRef {
                            runtime_namespace,
                            id,
                        };
                        self.marks.see(&target);
                        warn_of(gate.saw_hand(&target));
                    }
                }
            }
            Joined::Unknown => {
                self.marks.touch_all();
                if let Some(gate) = self.gate.filter(|_| !is_asked_about) {
                    for container in self.marks.see_all() {
                        warn_of(gate.saw_change(&container));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The event is remembered all the same, as long as this program runs.
fn warn_of(marked: Result<(), MarkError>) {
    if let Err(error) = marked {
        tracing::warn!(%error, "a container's marks do not show what was seen");
    }
}

async fn publish_fence(client: &Client) -> Result<(), RuntimeError> {
    let fence = PublishRequest {
        topic: FENCE.to_owned(),
        event: Some(prost_types::Any {
            type_url: "google.protobuf.Empty".to_owned(),
            value: Vec::new(),
        }),
    };
    let published = client.events().publish(within("default", fence)?).await;
    published.map(|_| ()).map_err(refused("publish"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with the creation times that the runtime on this machine gives"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

const FENCE: &str = "/bailiwick/watching";
const PAUSE: Duration = Duration::from_millis(100);
