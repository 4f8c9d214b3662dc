//! What counts as a hand, by events alone.

use estate::Digest;
use proptest::prelude::*;
use prost::Message as _;
use proto::containerd::events::{ContainerCreate, ContainerDelete, TaskCreate, TaskExecAdded};
use proto::containerd::services::events::v1::Envelope;

use super::events::{Joined, SnapshotCommit, joined};
use super::*;

/// Later than what was before.
const PAUSE: Duration = Duration::from_millis(100);

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
    let spec =
        |namespaces: &str| format!(r#"{{"linux":{{"namespaces":[{namespaces}]}}}}"#).into_bytes();
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
