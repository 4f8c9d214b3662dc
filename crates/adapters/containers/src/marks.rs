//! Whether somebody may have had a hand inside a container, from the runtime's events. Events are asynchronous, so this
//! is weak knowledge; whatever was not watched from the beginning counts as touched. Where the start gate marks containers,
//! events add what no gate was asked about.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use estate::Digest;
use evidence::ContainerRef;
use prost::Message as _;
use proto::containerd::events::{
    ContainerCreate, ContainerDelete, ContainerUpdate, TaskCheckpointed, TaskCreate, TaskExecAdded,
    TaskExecStarted,
};
use proto::containerd::services::events::v1::{Envelope, PublishRequest, SubscribeRequest};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::client::{Client, refused, within};
use crate::gate::MarkError;
use crate::locate::{self, KUBERNETES};
use crate::spec::Spec;
use crate::start::Keeping;
use crate::{RuntimeError, measure};

/// What is known since the watch began.
#[derive(Default)]
pub(crate) struct Marks {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    since: Option<SystemTime>,
    touched: HashMap<ContainerRefKey, bool>,
    /// Hands that were seen, and that no start gate was asked about; kept also when nobody watches.
    seen: HashSet<ContainerRefKey>,
}

/// Namespace and id.
type ContainerRefKey = (String, String);

impl Marks {
    /// Whether the container counts as touched. The event of a container that was made a moment ago may still be on its way.
    pub(crate) async fn touched(
        &self,
        container: &ContainerRef,
        created: Option<SystemTime>,
    ) -> bool {
        let key = (container.runtime_namespace.clone(), container.id.clone());
        let seen = timeout(LONGEST_EVENT, async {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                {
                    let state = self.lock();
                    if let Some(touched) = state.touched.get(&key) {
                        return *touched;
                    }
                    if state
                        .since
                        .zip(created)
                        .is_none_or(|(since, created)| created <= since)
                    {
                        return true;
                    }
                }
                changed.await;
            }
        });
        seen.await.unwrap_or(true)
    }

    /// Whether a hand was seen that no start gate was asked about. Unlike [`Marks::touched`], what was not watched is no.
    pub(crate) fn saw(&self, container: &ContainerRef) -> bool {
        let key = (container.runtime_namespace.clone(), container.id.clone());
        self.lock().seen.contains(&key)
    }

    /// A hand is let in, or was seen.
    pub(crate) fn see(&self, container: &ContainerRef) {
        let key = (container.runtime_namespace.clone(), container.id.clone());
        self.lock().seen.insert(key);
    }

    pub(crate) async fn watching(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.lock().since.is_some() {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, now: SystemTime) {
        self.lock().since.get_or_insert(now);
        self.changed.notify_waiters();
    }

    /// Every container that is known counts as touched.
    fn touch_all(&self) {
        self.lock()
            .touched
            .values_mut()
            .for_each(|touched| *touched = true);
        self.changed.notify_waiters();
    }

    /// A hand was seen that may be in any container; tells in which.
    fn see_all(&self) -> Vec<ContainerRef> {
        let mut state = self.lock();
        let State { touched, seen, .. } = &mut *state;
        seen.extend(touched.keys().cloned());
        let names = seen.iter().cloned();
        names
            .map(|(runtime_namespace, id)| ContainerRef {
                runtime_namespace,
                id,
            })
            .collect()
    }

    /// What happens while nobody watches is not known.
    fn forget(&self) {
        let mut state = self.lock();
        *state = State {
            seen: std::mem::take(&mut state.seen),
            ..State::default()
        };
        drop(state);
        self.changed.notify_waiters();
    }

    fn apply(&self, happened: Happened) {
        let mut state = self.lock();
        match happened {
            // A second creation under the same name, without an end of the first, wipes nothing.
            Happened::Created(key) => {
                state.touched.entry(key).or_insert(false);
            }
            Happened::Changed(key) | Happened::Hand(key) => {
                state.touched.insert(key, true);
            }
            Happened::Removed(key) => {
                state.touched.remove(&key);
                state.seen.remove(&key);
            }
            Happened::Unpacked(_) => {}
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

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

/// Whose process space a container joins.
#[derive(Debug, PartialEq, Eq)]
enum Joined {
    None,
    /// That of this process.
    Of(u32),
    Unknown,
}

fn joined(spec: &[u8]) -> Joined {
    let Ok(spec) = serde_json::from_slice::<Spec>(spec) else {
        return Joined::Unknown;
    };
    let mut paths = spec
        .linux
        .namespaces
        .iter()
        .filter(|namespace| namespace.kind == "pid" && !namespace.path.is_empty())
        .map(|namespace| namespace.path.as_str());
    let Some(path) = paths.next() else {
        return Joined::None;
    };
    let pid = path
        .strip_prefix("/proc/")
        .and_then(|rest| rest.strip_suffix("/ns/pid"))
        .and_then(|pid| pid.parse().ok());
    match (pid, paths.next()) {
        (Some(pid), None) => Joined::Of(pid),
        _ => Joined::Unknown,
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
const LONGEST_EVENT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Happened {
    Created(ContainerRefKey),
    /// Its record or its memory is another one.
    Changed(ContainerRefKey),
    /// Somebody got a process into it, or its memory out of it.
    Hand(ContainerRefKey),
    Removed(ContainerRefKey),
    /// A layer was unpacked somewhere, as the end of this chain.
    Unpacked(Digest),
}

/// containerd's event, as far as it is read.
#[derive(Clone, PartialEq, prost::Message)]
struct SnapshotCommit {
    #[prost(string, tag = "2")]
    name: String,
}

impl Happened {
    /// `None`: about something else.
    fn read(event: &Envelope) -> Option<Self> {
        let value = event
            .event
            .as_ref()
            .map(|any| any.value.as_slice())
            .unwrap_or_default();
        let key = |id: String| (event.namespace.clone(), id);
        match event.topic.as_str() {
            "/containers/create" => {
                Some(Self::Created(key(ContainerCreate::decode(value).ok()?.id)))
            }
            "/containers/delete" => {
                Some(Self::Removed(key(ContainerDelete::decode(value).ok()?.id)))
            }
            // The kubelet changes limits in this way; nobody else has a reason to.
            "/containers/update" if event.namespace != KUBERNETES => {
                Some(Self::Changed(key(ContainerUpdate::decode(value).ok()?.id)))
            }
            "/tasks/create" => {
                let created = TaskCreate::decode(value).ok()?;
                // A restored process has the memory of another life.
                (!created.checkpoint.is_empty()).then(|| Self::Changed(key(created.container_id)))
            }
            "/tasks/exec-added" => Some(Self::Hand(key(TaskExecAdded::decode(value)
                .ok()?
                .container_id))),
            "/tasks/exec-started" => Some(Self::Hand(key(TaskExecStarted::decode(value)
                .ok()?
                .container_id))),
            "/tasks/checkpointed" => Some(Self::Hand(key(TaskCheckpointed::decode(value)
                .ok()?
                .container_id))),
            "/snapshot/commit" => {
                let name = SnapshotCommit::decode(value).ok()?.name;
                name.parse().ok().map(Self::Unpacked)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn container() -> ContainerRef {
        ContainerRef {
            runtime_namespace: "default".into(),
            id: "app".into(),
        }
    }

    fn event(topic: &str, message: &impl prost::Message) -> Happened {
        let envelope = Envelope {
            namespace: "default".into(),
            topic: topic.into(),
            event: Some(prost_types::Any {
                type_url: String::new(),
                value: message.encode_to_vec(),
            }),
            ..Envelope::default()
        };
        Happened::read(&envelope).unwrap()
    }

    fn created() -> Happened {
        let create = ContainerCreate {
            id: "app".into(),
            ..ContainerCreate::default()
        };
        event("/containers/create", &create)
    }

    fn exec() -> Happened {
        let exec = TaskExecAdded {
            container_id: "app".into(),
            exec_id: "e".into(),
        };
        event("/tasks/exec-added", &exec)
    }

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    #[tokio::test]
    async fn a_container_older_than_the_watch_counts_as_touched() {
        let marks = Marks::default();
        assert!(
            marks.touched(&container(), Some(START)).await,
            "nobody watches"
        );
        marks.begin(START + PAUSE);
        assert!(marks.touched(&container(), Some(START)).await);
        assert!(marks.touched(&container(), None).await);
    }

    #[tokio::test]
    async fn a_container_that_was_watched_from_the_start_is_untouched_until_an_exec() {
        let marks = Marks::default();
        marks.begin(START);
        marks.apply(created());
        assert!(!marks.touched(&container(), None).await);
        marks.apply(exec());
        assert!(marks.touched(&container(), None).await);
    }

    #[tokio::test]
    async fn a_loss_of_events_touches_everything() {
        let marks = Marks::default();
        marks.begin(START);
        marks.apply(created());
        marks.forget();
        assert!(marks.touched(&container(), Some(START + PAUSE)).await);
    }

    #[tokio::test]
    async fn a_new_container_is_waited_for() {
        let marks = Marks::default();
        marks.begin(START);
        let container = container();
        let (touched, ()) = tokio::join!(marks.touched(&container, Some(START + PAUSE)), async {
            marks.apply(created());
        });
        assert!(!touched);
    }

    #[tokio::test]
    async fn the_mark_goes_with_the_container_and_not_with_its_task() {
        let marks = Marks::default();
        marks.begin(START);
        marks.apply(created());
        marks.apply(exec());
        let gone = ContainerDelete { id: "app".into() };
        marks.apply(event("/containers/delete", &gone));
        marks.apply(created());
        assert!(!marks.touched(&container(), None).await);
    }

    #[test]
    fn a_restored_task_is_touched() {
        let restored = TaskCreate {
            container_id: "app".into(),
            checkpoint: "sha256:…".into(),
            ..TaskCreate::default()
        };
        assert_eq!(
            event("/tasks/create", &restored),
            Happened::Changed(("default".into(), "app".into()))
        );
    }

    #[test]
    fn a_chain_that_was_unpacked_is_read_and_another_snapshots_name_is_not() {
        let committed = |name: &str| {
            let commit = SnapshotCommit { name: name.into() };
            let envelope = Envelope {
                topic: "/snapshot/commit".into(),
                event: Some(prost_types::Any {
                    type_url: String::new(),
                    value: commit.encode_to_vec(),
                }),
                ..Envelope::default()
            };
            Happened::read(&envelope)
        };
        let chain = Digest::of("chain");
        assert_eq!(
            committed(&chain.to_string()),
            Some(Happened::Unpacked(chain))
        );
        assert_eq!(committed("extract-1 sha256:"), None);
    }

    /// What no gate was asked about stays known, whoever watches.
    #[test]
    fn a_hand_that_was_seen_outlives_a_loss_of_events_and_ends_with_its_container() {
        let marks = Marks::default();
        marks.begin(START);
        marks.apply(created());
        assert!(!marks.saw(&container()));
        marks.see(&container());
        marks.forget();
        assert!(marks.saw(&container()));
        let gone = ContainerDelete { id: "app".into() };
        marks.apply(event("/containers/delete", &gone));
        assert!(!marks.saw(&container()));
    }

    /// `kubectl debug --target`: the target's own record does not change.
    #[test]
    fn a_container_that_joins_a_process_space_touches_its_owner() {
        let own = std::process::id();
        let spec = |namespaces: &str| {
            format!(r#"{{"linux":{{"namespaces":[{namespaces}]}}}}"#).into_bytes()
        };
        let joins = |path: &str| joined(&spec(&format!(r#"{{"type":"pid","path":"{path}"}}"#)));
        assert_eq!(joins(&format!("/proc/{own}/ns/pid")), Joined::Of(own));
        assert_eq!(joins("/run/pidns/app"), Joined::Unknown);
        assert_eq!(joins("/proc/self/ns/pid"), Joined::Unknown);
        assert_eq!(joined(&spec(r#"{"type":"pid"}"#)), Joined::None);
        assert_eq!(joined(&spec("")), Joined::None);
        assert_eq!(joined(b"?"), Joined::Unknown);

        let marks = Marks::default();
        marks.begin(START);
        marks.apply(created());
        marks.apply(Happened::Hand(("default".into(), "app".into())));
        marks.apply(created());
        let key: ContainerRefKey = ("default".into(), "app".into());
        assert!(
            marks.lock().touched[&key],
            "a second creation wipes nothing"
        );
    }

    proptest! {
        #[test]
        fn hostile_events_never_panic(topic in "/(tasks|containers|snapshot)/[a-z-]{0,12}", value: Vec<u8>) {
            let event = Some(prost_types::Any { type_url: String::new(), value });
            let _ = Happened::read(&Envelope { topic, event, ..Envelope::default() });
        }
    }
}
