//! What a bundle says before there is a process. This process plays the gate.

use std::fs;

use proptest::prelude::*;
use proto::containerd::types::Mount as SnapshotMount;

use super::*;

const LINUX: &str = r#""linux":{"namespaces":[
    {"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"network"}]}"#;

fn bundle(spec: &str) -> (tempfile::TempDir, io::Result<Bundle>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("default/app");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("config.json"), spec).unwrap();
    let bundle = Bundle::read(std::process::id(), &path);
    (folder, bundle)
}

fn usual() -> (tempfile::TempDir, Bundle) {
    let (folder, bundle) = bundle(&format!(r#"{{"root":{{"path":"rootfs"}},{LINUX}}}"#));
    (folder, bundle.unwrap())
}

fn snapshot() -> Snapshot {
    let mount = SnapshotMount {
        r#type: "overlay".into(),
        options: vec!["upperdir=/s/2/fs".into(), "lowerdir=/s/1/fs".into()],
        ..SnapshotMount::default()
    };
    Snapshot {
        chain_id: Digest::of("chain"),
        root: Root::of_snapshot(&[mount]).unwrap(),
    }
}

/// As if the kernel showed these.
fn with_mounts(mounts: &[(&str, &str)]) -> Bundle {
    let (_folder, mut bundle) = usual();
    bundle.root = "/b/rootfs".into();
    bundle.mountinfo = mounts
        .iter()
        .map(|(point, upper)| {
            format!("9 8 0:4 / {point} rw - overlay overlay rw,lowerdir=/s/1/fs,upperdir={upper}\n")
        })
        .collect();
    bundle.mounts = mountinfo::parse(&bundle.mountinfo).unwrap();
    bundle
}

#[test]
fn the_root_is_the_snapshot_that_lies_uppermost_on_it() {
    let is = |mounts: &[(&str, &str)]| with_mounts(mounts).is_rooted_in(&snapshot());
    assert!(is(&[("/", "/x"), ("/b/rootfs", "/s/2/fs")]));
    assert!(!is(&[("/b/rootfs", "/s/2/fs"), ("/b/rootfs", "/evil")]));
    assert!(!is(&[("/b/other", "/s/2/fs")]));
    assert!(!is(&[]));
}

#[test]
fn what_is_mounted_below_the_root_differs_from_the_image() {
    let mounts = [
        ("/b/rootfs", "/s/2/fs"),
        ("/b/rootfs/bin", "/evil"),
        ("/b/rootfs2", "/other"),
    ];
    let below = with_mounts(&mounts).below_root();
    let found = crate::deviations::before_start(&below, &["pid"]);
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [
            evidence::Deviation::Mount {
                destination: "/b/rootfs/bin".into(),
                source: "overlay".into()
            },
            evidence::Deviation::Namespace { name: "pid".into() }
        ]
    );
}

#[test]
fn a_namespace_that_is_not_named_or_is_the_hosts_is_shared() {
    let shared = |namespaces: &str| {
        let (_folder, bundle) = bundle(&format!(r#"{{"linux":{{"namespaces":[{namespaces}]}}}}"#));
        bundle.unwrap().shared
    };
    let own = r#"{"type":"pid"},{"type":"uts"},{"type":"mount"},{"type":"network"}"#;
    assert_eq!(shared(own), ["ipc"]);
    let gone = r#"{"type":"ipc","path":"/nowhere"}"#;
    assert_eq!(shared(&format!("{own},{gone}")), Vec::<&str>::new());
    let path = format!("/proc/{}/ns/ipc", std::process::id());
    let hosts = format!(r#"{own},{{"type":"ipc","path":"{path}"}}"#);
    assert_eq!(shared(&hosts), ["ipc"]);
}

#[test]
fn a_restore_a_terminal_and_a_shared_process_space_are_hands_from_the_start() {
    let spec = |text: &str| serde_json::from_str::<Spec>(text).unwrap();
    let plain = || spec(&format!("{{{LINUX}}}"));
    let judged = |operation, spec: &Spec, touched| {
        let found = interactive(operation, spec, touched);
        assert_eq!(found.strength, Strength::Strong);
        found.yes
    };
    assert!(!judged(GateOperation::Create, &plain(), false));
    assert!(judged(GateOperation::Restore, &plain(), false));
    assert!(judged(GateOperation::Create, &plain(), true));
    let terminal = spec(&format!(r#"{{"process":{{"terminal":true}},{LINUX}}}"#));
    assert!(judged(GateOperation::Create, &terminal, false));
    assert!(judged(GateOperation::Create, &spec("{}"), false));
}

fn listed(chain: &str, place: Option<&str>) -> Gated {
    let mut gated = Gated::default();
    gated.add(crate::gate::GatedLayer {
        chain: Digest::of(chain),
        config: Digest::of("config"),
        image: "medrec".parse().unwrap(),
        places: place.map(|place| vec![PathBuf::from(place)]),
    });
    gated
}

#[test]
fn opened_layers_are_found_below_the_root_and_below_mounts() {
    let mut bundle = with_mounts(&[("/", "/x"), ("/b/rootfs", "/s/2/fs")]);
    let found = |bundle: &Bundle, listed: &Gated| bundle.chains(listed, Some(&snapshot()));
    let ours = listed("a", Some("/s/1/fs"));
    assert_eq!(found(&bundle, &ours).unwrap(), [Digest::of("a")]);
    let others = listed("b", Some("/s/7/fs"));
    assert_eq!(found(&bundle, &others).unwrap(), []);
    // An image volume.
    bundle.spec.mounts.push(Mount {
        destination: "/model".into(),
        kind: "bind".into(),
        source: "/s/7/fs".into(),
        ..Mount::default()
    });
    assert_eq!(found(&bundle, &others).unwrap(), [Digest::of("b")]);
    assert_eq!(found(&bundle, &listed("c", None)).unwrap(), []);
}

#[test]
fn what_can_not_be_told_is_refused() {
    // A folder of somebody's own as root, not a snapshot's.
    let bundle = with_mounts(&[]);
    let ours = listed("a", Some("/s/1/fs"));
    assert!(matches!(
        bundle.chains(&ours, None),
        Err(ProbeError::Caller(_))
    ));
    // A copy: its snapshot's name tells, unless something else made of layers is mounted.
    let copy = Snapshot {
        chain_id: Digest::of("chain"),
        root: Root::Copy("/b/rootfs".into()),
    };
    let mut bundle = with_mounts(&[("/", "/x")]);
    bundle.mountinfo = "9 8 0:4 / / rw - ext4 /dev/x rw\n".into();
    assert_eq!(bundle.chains(&ours, Some(&copy)).unwrap(), []);
    bundle.spec.mounts.push(Mount {
        kind: "bind".into(),
        source: "/var/lib/containerd/io.containerd.snapshotter.v1.native/snapshots/7".into(),
        ..Mount::default()
    });
    assert!(bundle.chains(&ours, Some(&copy)).is_err());
}

#[test]
fn a_bundle_that_leads_elsewhere_or_can_not_be_read_is_none() {
    for bad in ["", "{", r#"{"root":{"path":"../../other"}}"#, "[]"] {
        assert!(bundle(bad).1.is_err(), "{bad}");
    }
    let none = Bundle::read(std::process::id(), Path::new("/nowhere/default/app"));
    assert!(none.is_err());
    let relative = Bundle::read(std::process::id(), Path::new("default/app"));
    assert!(relative.is_err());
}

proptest! {
    #[test]
    fn hostile_specifications_never_panic(text in "[\\[\\]{}:,\"a-z0-9/.]{0,120}", bytes: Vec<u8>) {
        let _ = bundle(&text);
        let _ = bundle(&String::from_utf8_lossy(&bytes));
    }
}
