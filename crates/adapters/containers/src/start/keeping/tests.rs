//! Marks as the agent sees them: what counts as the gate's, what was held, and that nothing is lost with an agent.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::gate::Making;

/// A node's folders, and a container with a bundle.
struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn config(&self) -> GateConfig {
        let path = |name: &str| self.folder.path().join(name);
        GateConfig {
            state: path("gate"),
            gated: path("gated.json"),
            programs: vec!["/opt/bailiwick-runc".into()],
            containerd_config: path("config.toml"),
        }
    }

    /// An agent that starts now.
    fn agent(&self) -> Arc<Keeping> {
        Keeping::new(self.config())
    }

    fn gate(&self) -> crate::gate::ContainerMarks {
        MarksFolder::new(self.folder.path().join("gate"))
            .make(&container())
            .unwrap()
    }

    fn bundle(&self) -> PathBuf {
        self.folder.path().join("task/default/app")
    }

    /// The gate is called for this specification.
    fn create(&self, spec: &str) -> Created {
        fs::create_dir_all(self.bundle()).unwrap();
        fs::write(self.bundle().join("config.json"), spec).unwrap();
        let created = Created {
            version: 1,
            at: now(),
            making: Making::Create,
            bundle: self.bundle(),
            spec: Digest::of(spec),
            gated: Vec::new(),
        };
        self.gate().write_created(&created).unwrap();
        created
    }

    fn marked(&self, agent: &Keeping) -> Marked {
        agent.marked(&container(), Path::new("/"))
    }
}

fn container() -> ContainerRef {
    ContainerRef {
        runtime_namespace: "default".into(),
        id: "app".into(),
    }
}

fn secret(name: &str) -> Holding {
    Holding::Secret(name.parse().unwrap())
}

fn by_gate(touched: bool) -> Marked {
    Marked::ByGate { touched }
}

fn otherwise(touched: bool) -> Marked {
    Marked::Otherwise { touched }
}

#[test]
fn a_container_that_the_gate_made_is_known_strongly_over_restarts_of_the_agent() {
    let node = Node::new();
    node.create("{}");
    assert_eq!(node.marked(&node.agent()), by_gate(false));
    assert_eq!(node.marked(&node.agent()), by_gate(false));
    node.agent()
        .mark_touched(&container(), Hand::Exec, &["sh".into()])
        .unwrap();
    assert_eq!(node.marked(&node.agent()), by_gate(true));
    // Its task starts anew: the mark of the hand stays.
    node.create("{}");
    assert_eq!(node.marked(&node.agent()), by_gate(true));
}

#[test]
fn a_container_that_came_another_way_is_known_weakly() {
    let node = Node::new();
    assert_eq!(node.marked(&node.agent()), otherwise(false));
    node.gate();
    assert_eq!(node.marked(&node.agent()), otherwise(false));
}

#[test]
fn the_mark_of_another_bundle_counts_for_nothing() {
    let node = Node::new();
    let created = node.create("{}");
    let agent = node.agent();
    let with = |change: fn(&mut Created)| {
        let mut other = created.clone();
        change(&mut other);
        node.gate().write_created(&other).unwrap();
        node.marked(&agent)
    };
    assert_eq!(with(|_| {}), by_gate(false));
    assert_eq!(
        with(|mark| mark.spec = Digest::of("other")),
        otherwise(false)
    );
    assert_eq!(
        with(|mark| mark.bundle = mark.bundle.with_file_name("other")),
        otherwise(false)
    );
    assert_eq!(
        with(|mark| mark.bundle = "/nowhere/default/app".into()),
        otherwise(false)
    );
    // The bundle was written after the gate was called: another runtime made this container.
    assert_eq!(
        with(|mark| mark.at = Timestamp::from_millis(mark.at.as_millis() - 60_000)),
        otherwise(false)
    );
}

/// The runtime's record may be changed after the start; what was started may not.
#[test]
fn the_specification_is_the_one_that_the_gate_saw() {
    let node = Node::new();
    let specification = || node.agent().specification(&container(), Path::new("/"));
    assert_eq!(specification(), None);
    let created = node.create(r#"{"process":{}}"#);
    assert_eq!(specification().as_deref(), Some(&br#"{"process":{}}"#[..]));
    fs::write(node.bundle().join("config.json"), "{}").unwrap();
    assert_eq!(specification(), None);
    let before = Created {
        spec: Digest::of("{}"),
        at: Timestamp::from_millis(created.at.as_millis() - 60_000),
        ..created
    };
    node.gate().write_created(&before).unwrap();
    assert_eq!(specification(), None, "the gate was not called for it");
}

#[test]
fn marks_that_can_not_be_read_are_a_hand() {
    let node = Node::new();
    node.create("{}");
    let path = node.folder.path().join("gate/default/app/created");
    fs::write(&path, r#"{"version":1,"more":true}"#).unwrap();
    assert_eq!(node.marked(&node.agent()), otherwise(true));
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert_eq!(node.marked(&node.agent()), otherwise(true));
    let bad = ContainerRef {
        runtime_namespace: "default".into(),
        id: "../app".into(),
    };
    assert_eq!(node.agent().marked(&bad, Path::new("/")), otherwise(true));
}

#[test]
fn what_is_held_is_there_after_a_restart_and_once() {
    let node = Node::new();
    let lease = || Holding::Lease("hospital-7".parse().unwrap());
    for what in [secret("a"), secret("b"), secret("a"), lease(), lease()] {
        let held = node.agent().hold(&container(), what, DecidedOn::Untouched);
        assert_eq!(held.unwrap(), Hold::Written);
    }
    let held = node.agent().held(&container()).unwrap();
    assert_eq!(held.secrets, ["a".parse().unwrap(), "b".parse().unwrap()]);
    assert_eq!(held.leases, ["hospital-7".parse().unwrap()]);
    node.agent()
        .change_held(&container(), |mark| mark.held.leases.clear())
        .unwrap();
    let held = node.agent().held(&container()).unwrap();
    assert_eq!((held.secrets.len(), held.leases.len()), (2, 0));
}

#[test]
fn nothing_is_held_after_a_hand_that_nobody_reckoned_with() {
    let node = Node::new();
    node.agent()
        .mark_touched(&container(), Hand::Exec, &[])
        .unwrap();
    let hold = |decided| {
        node.agent()
            .hold(&container(), secret("a"), decided)
            .unwrap()
    };
    assert_eq!(hold(DecidedOn::Untouched), Hold::TouchedMeanwhile);
    assert!(node.agent().held(&container()).unwrap().secrets.is_empty());
    assert_eq!(hold(DecidedOn::Touched), Hold::Written);
}

#[test]
fn a_delivery_waits_while_the_gate_looks_at_what_is_held() {
    let node = Node::new();
    let marks = node.gate();
    let lock = marks.lock().unwrap();
    let agent = node.agent();
    let delivery =
        std::thread::spawn(move || agent.hold(&container(), secret("a"), DecidedOn::Untouched));
    std::thread::sleep(Duration::from_millis(50));
    assert!(marks.held().unwrap().is_empty());
    // Nothing is held: the gate lets the hand in by itself.
    marks.touch(&touch(Hand::Exec, &["sh".into()])).unwrap();
    drop(lock);
    assert_eq!(delivery.join().unwrap().unwrap(), Hold::TouchedMeanwhile);
}

#[test]
fn marks_that_can_not_be_written_hold_nothing() {
    let node = Node::new();
    let open = node.folder.path().join("gate");
    fs::DirBuilder::new().mode(0o755).create(&open).unwrap();
    let held = node
        .agent()
        .hold(&container(), secret("a"), DecidedOn::Untouched);
    assert!(held.is_err(), "a folder that others may read");
}

async fn next(agent: &Keeping) -> Option<SeenHand> {
    let next = tokio::time::timeout(Duration::from_millis(20), agent.next_hand());
    next.await.ok()
}

fn unasked() -> Option<SeenHand> {
    Some(SeenHand::Unasked(container()))
}

#[tokio::test]
async fn a_hand_that_the_gate_let_in_is_told_and_a_probe_or_refusal_is_not() {
    let node = Node::new();
    let agent = node.agent();
    agent.saw_entry(&container()).unwrap();
    node.create("{}");
    agent.saw_entry(&container()).unwrap();
    assert_eq!(next(&agent).await, None);
    node.gate().touch(&touch(Hand::Exec, &[])).unwrap();
    agent.saw_entry(&container()).unwrap();
    assert_eq!(next(&agent).await, Some(SeenHand::LetIn(container())));
}

#[tokio::test]
async fn a_hand_that_was_seen_is_told_once_and_again_after_a_restart_until_it_is_reported() {
    let node = Node::new();
    let agent = node.agent();
    agent.saw_hand(&container()).unwrap();
    agent.saw_hand(&container()).unwrap();
    assert_eq!(next(&agent).await, unasked());
    assert_eq!(next(&agent).await, None);

    let agent = node.agent();
    assert_eq!(node.marked(&agent), otherwise(true));
    assert_eq!(next(&agent).await, unasked());
    agent.reported(&container()).unwrap();
    assert_eq!(next(&node.agent()).await, None);
    agent.saw_hand(&container()).unwrap();
    assert_eq!(next(&agent).await, None, "it is on record");
}

#[tokio::test]
async fn a_hand_that_the_gate_marked_is_not_told_again() {
    let node = Node::new();
    let agent = node.agent();
    agent.mark_touched(&container(), Hand::Exec, &[]).unwrap();
    agent.saw_hand(&container()).unwrap();
    assert_eq!(next(&agent).await, None);
}

#[test]
fn marks_go_with_the_container_but_not_before_its_hand_is_on_record() {
    let node = Node::new();
    let agent = node.agent();
    node.create("{}");
    agent.saw_hand(&container()).unwrap();
    agent.forget(&container()).unwrap();
    assert_eq!(agent.containers().unwrap(), [container()]);
    agent.reported(&container()).unwrap();
    agent.forget(&container()).unwrap();
    assert_eq!(agent.containers().unwrap(), []);
    agent.forget(&container()).unwrap();
}

#[test]
fn a_record_names_the_gate_by_its_path_alone() {
    let agent = Node::new().agent();
    let runs = |kind: &str, binary: &str| {
        let options = Options {
            binary_name: binary.into(),
            ..Options::default()
        };
        let runtime = proto::containerd::services::containers::v1::container::Runtime {
            name: "io.containerd.runc.v2".into(),
            options: Some(prost_types::Any {
                type_url: kind.into(),
                value: options.encode_to_vec(),
            }),
        };
        agent.runs(&Container {
            runtime: Some(runtime),
            ..Container::default()
        })
    };
    let kind = "containerd.runc.v1.Options";
    assert!(runs(kind, "/opt/bailiwick-runc"));
    for other in ["", "runc", "bailiwick-runc", "/tmp/bailiwick-runc"] {
        assert!(!runs(kind, other), "{other}");
    }
    assert!(!runs("other.Options", "/opt/bailiwick-runc"));
    assert!(!agent.runs(&Container::default()));
}

proptest! {
    #[test]
    fn no_other_path_is_the_bundle_of_a_container(path in "[/a-z.]{0,24}") {
        let path = Path::new(&path);
        prop_assert_eq!(
            is_bundle_of(path, &container()),
            path.is_absolute() && path.ends_with("default/app")
        );
    }
}
