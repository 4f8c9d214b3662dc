//! Attacks on "as shipped": each starts from what containerd really writes, and changes one thing.

use estate::Digest;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::power::is_privileged;
use crate::{PlatformMountKind, mountinfo};

/// Written by `ctr run -d` of containerd 1.6.20.
const CTR: &str = include_str!("specs/ctr.json");

type Change = fn(&mut Value);

fn image() -> ImageConfig {
    let text = json!({
        "config": {
            "Entrypoint": ["/bin/sleep"], "Cmd": ["1000"],
            "Env": ["PATH=/bin", "MODE=prod"], "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of("layer").to_string()] },
    });
    ImageConfig::parse(text.to_string().as_bytes()).unwrap()
}

/// Written by containerd 1.6.20 for a container of a pod in the host's network.
const CRI: &str = include_str!("specs/cri.json");

fn ours() -> [PlatformMount; 2] {
    [
        PlatformMount {
            source: "/run/bailiwick/agent.sock".into(),
            destination: "/run/bailiwick.sock".into(),
            kind: PlatformMountKind::Socket,
        },
        PlatformMount {
            source: "/run/bailiwick/workload".into(),
            destination: "/run/bailiwick".into(),
            kind: PlatformMountKind::Folder,
        },
    ]
}

fn ctr(change: impl FnOnce(&mut Value)) -> Spec {
    let mut spec: Value = serde_json::from_str(CTR).unwrap();
    change(&mut spec);
    serde_json::from_value(spec).unwrap()
}

fn judged(cri: bool, change: impl FnOnce(&mut Value)) -> Vec<Deviation> {
    let mounts = ours();
    let platform = Platform {
        cri,
        mounts: &mounts,
        hostname: "node",
        runtime: RuntimeIsKnown::Yes,
    };
    from_spec(&ctr(change), &image(), &Users::default(), &platform)
        .into_iter()
        .collect()
}

fn changed(change: impl FnOnce(&mut Value)) -> Vec<Deviation> {
    judged(false, change)
}

fn privileged(change: impl FnOnce(&mut Value)) -> bool {
    let mounts = ours();
    let platform = Platform {
        cri: false,
        mounts: &mounts,
        hostname: "node",
        runtime: RuntimeIsKnown::Yes,
    };
    is_privileged(&ctr(change), &platform, &[])
}

fn push(spec: &mut Value, place: &str, item: Value) {
    spec.pointer_mut(place)
        .unwrap()
        .as_array_mut()
        .unwrap()
        .push(item);
}

fn env(name: &str) -> Deviation {
    Deviation::Env { name: name.into() }
}

fn mount(destination: &str, source: &str) -> Deviation {
    Deviation::Mount {
        destination: destination.into(),
        source: source.into(),
    }
}

#[test]
fn what_ctr_writes_for_an_image_is_as_shipped() {
    assert_eq!(changed(|_| {}), []);
    assert!(!privileged(|_| {}));
}

#[test]
fn what_cri_writes_for_an_image_is_as_shipped() {
    let spec: Spec = serde_json::from_str(CRI).unwrap();
    let mut image = image();
    image.config.as_mut().unwrap().env = Some(vec!["PATH=/bin".into(), "MODE=cri".into()]);
    let platform = Platform {
        cri: true,
        mounts: &[],
        hostname: "node",
        runtime: RuntimeIsKnown::Yes,
    };
    assert_eq!(
        from_spec(&spec, &image, &Users::default(), &platform),
        BTreeSet::new()
    );
    assert!(!is_privileged(&spec, &platform, &["network", "uts"]));
    let not_cri = Platform {
        cri: false,
        ..platform
    };
    assert!(from_spec(&spec, &image, &Users::default(), &not_cri).len() > 4);
}

#[test]
fn another_command_is_told_whole() {
    let value: Vec<String> = ["/bin/sh", "-c", "cat /secret"].map(Into::into).into();
    let found = changed(|spec| spec["process"]["args"] = json!(value));
    assert_eq!(found, [Deviation::Args { value }]);
}

#[test]
fn an_added_changed_removed_or_doubled_variable_is_told_by_name_alone() {
    let added = changed(|spec| push(spec, "/process/env", json!("LD_PRELOAD=/data/evil.so")));
    assert_eq!(added, [env("LD_PRELOAD")]);
    assert_eq!(
        changed(|spec| spec["process"]["env"] = json!(["PATH=/evil", "MODE=prod"])),
        [env("PATH")]
    );
    assert_eq!(
        changed(|spec| spec["process"]["env"] = json!(["PATH=/bin"])),
        [env("MODE")]
    );
    let doubled = changed(|spec| push(spec, "/process/env", json!("MODE=prod")));
    assert_eq!(doubled, [env("MODE")]);
    assert_eq!(
        changed(|spec| push(spec, "/process/env", json!("MODE"))),
        [env("MODE")]
    );
    // Only CRI gives other names than the node's own.
    let hostname = |spec: &mut Value| push(spec, "/process/env", json!("HOSTNAME=pod"));
    assert_eq!(changed(hostname), [env("HOSTNAME")]);
    assert_eq!(judged(true, hostname), []);
    // Whoever writes the pod may set the variable, too: to a name, not to a program.
    for evil in ["$(id)", "a b", "/etc", "", &"a".repeat(254)] {
        let hostname = |spec: &mut Value| {
            push(spec, "/process/env", json!(format!("HOSTNAME={evil}")));
        };
        assert_eq!(judged(true, hostname), [env("HOSTNAME")], "{evil}");
    }
    assert_eq!(
        changed(|spec| push(spec, "/process/env", json!("HOSTNAME=node"))),
        []
    );
}

#[test]
fn a_binary_mounted_over_the_images_is_a_mount() {
    let bind = json!({"destination": "/bin/sleep", "type": "bind", "source": "/tmp/evil", "options": ["rbind", "ro"]});
    assert_eq!(
        changed(|spec| push(spec, "/mounts", bind)),
        [mount("/bin/sleep", "/tmp/evil")]
    );
}

#[test]
fn a_bind_that_calls_itself_a_platform_mount_is_a_mount() {
    for options in [json!(["rbind"]), json!(["nosuid", "bind"])] {
        let disguised =
            json!({"destination": "/run", "type": "tmpfs", "source": "/evil", "options": options});
        assert_eq!(
            changed(|spec| push(spec, "/mounts", disguised)),
            [mount("/run", "/evil")]
        );
    }
    let elsewhere =
        json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": []});
    assert_eq!(
        changed(|spec| push(spec, "/mounts", elsewhere)),
        [mount("/etc", "tmpfs")]
    );
}

#[test]
fn a_writable_sys_is_a_mount_and_power() {
    let writable = |spec: &mut Value| {
        spec["mounts"][5]["options"] = json!(["nosuid", "noexec", "nodev", "rw"])
    };
    assert_eq!(changed(writable), [mount("/sys", "sysfs")]);
    assert!(privileged(writable));
}

#[test]
fn our_socket_is_the_platforms_only_from_its_place_to_its_place() {
    let socket = |source: &str, destination: &str| json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rw"]});
    let (source, destination) = ("/run/bailiwick/agent.sock", "/run/bailiwick.sock");
    assert_eq!(
        changed(|spec| push(spec, "/mounts", socket(source, destination))),
        []
    );
    assert_eq!(
        changed(|spec| push(spec, "/mounts", socket("/tmp/fake", destination))),
        [mount(destination, "/tmp/fake")]
    );
    assert_eq!(
        changed(|spec| push(spec, "/mounts", socket(source, "/bin/app"))),
        [mount("/bin/app", source)]
    );
}

/// Whoever could write there would put a socket of their own before all the others' eyes.
#[test]
fn our_folder_is_the_platforms_only_where_it_can_not_be_written() {
    let folder = |options: &[&str]| json!({"destination": "/run/bailiwick", "type": "bind", "source": "/run/bailiwick/workload", "options": options});
    for options in [vec!["rbind", "ro"], vec!["bind", "rprivate", "rw", "ro"]] {
        assert_eq!(
            changed(|spec| push(spec, "/mounts", folder(&options))),
            [],
            "{options:?}"
        );
    }
    for options in [
        vec!["rbind", "rw"],
        vec!["rbind"],
        vec!["rbind", "ro", "rw"],
    ] {
        assert_eq!(
            changed(|spec| push(spec, "/mounts", folder(&options))),
            [mount("/run/bailiwick", "/run/bailiwick/workload")],
            "{options:?}"
        );
    }
}

#[test]
fn a_pods_files_are_the_platforms_only_under_cri_and_from_their_places() {
    let sandbox = "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/abc";
    let bind = |destination: &str, source: String| json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", "rw"]});
    let all = |spec: &mut Value| {
        push(
            spec,
            "/mounts",
            bind("/etc/hostname", format!("{sandbox}/hostname")),
        );
        push(
            spec,
            "/mounts",
            bind("/etc/resolv.conf", format!("{sandbox}/resolv.conf")),
        );
        push(
            spec,
            "/mounts",
            bind("/etc/hosts", "/var/lib/kubelet/pods/1/etc-hosts".into()),
        );
    };
    assert_eq!(judged(true, all), []);
    assert_eq!(changed(all).len(), 3);
    let climbing = format!("{sandbox}/../../../../../tmp/hosts");
    assert_eq!(
        judged(true, |spec| push(
            spec,
            "/mounts",
            bind("/etc/hosts", climbing.clone())
        )),
        [mount("/etc/hosts", &climbing)]
    );
    let preload = "/var/lib/kubelet/pods/1/volumes/x";
    assert_eq!(
        judged(true, |spec| push(
            spec,
            "/mounts",
            bind("/etc/ld.so.preload", preload.into())
        )),
        [mount("/etc/ld.so.preload", preload)]
    );
}

#[test]
fn what_a_pods_author_fills_is_no_platform_file() {
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let judge = |destination: &str, below: &str| {
        let source = format!("/var/lib/kubelet/pods/1/{below}");
        let bind = json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", "ro"]});
        let found = judged(true, |spec| push(spec, "/mounts", bind));
        (found, vec![mount(destination, &source)])
    };
    for (destination, below) in [
        (
            account,
            "volumes/kubernetes.io~projected/kube-api-access-x7k2p",
        ),
        ("/etc/hosts", "etc-hosts"),
        ("/dev/termination-log", "containers/app/4f1c"),
    ] {
        assert_eq!(judge(destination, below).0, [], "{below}");
    }
    for (destination, below) in [
        (
            account,
            "volumes/kubernetes.io~configmap/kube-api-access-x7k2p",
        ),
        (
            account,
            "volumes/kubernetes.io~empty-dir/kube-api-access-x7k2p",
        ),
        (account, "volumes/kubernetes.io~projected/mine"),
        (account, "volume-subpaths/kube-api-access-x7k2p/app/0"),
        (account, "etc-hosts"),
        ("/etc/hosts", "volumes/kubernetes.io~configmap/hosts"),
        (
            "/dev/termination-log",
            "volumes/kubernetes.io~host-path/log",
        ),
    ] {
        let (found, expected) = judge(destination, below);
        assert_eq!(found, expected, "{below}");
    }
}

#[test]
fn user_cwd_terminal_hooks_and_powers_are_told() {
    let cases: [(Change, Deviation); 9] = [
        (
            |spec| spec["process"]["user"]["uid"] = json!(7),
            Deviation::User {
                value: "7:0".into(),
            },
        ),
        (
            |spec| push(spec, "/process/user/additionalGids", json!(42)),
            Deviation::User {
                value: "0:0".into(),
            },
        ),
        (
            |spec| spec["process"]["cwd"] = json!("/tmp"),
            Deviation::Cwd {
                value: "/tmp".into(),
            },
        ),
        (
            |spec| spec["process"]["terminal"] = json!(true),
            other("process.terminal"),
        ),
        (
            |spec| spec["hooks"] = json!({"createRuntime": [{"path": "/evil"}]}),
            Deviation::Hook {
                path: "/evil".into(),
            },
        ),
        (
            |spec| {
                push(
                    spec,
                    "/process/capabilities/bounding",
                    json!("CAP_SYS_PTRACE"),
                )
            },
            Deviation::Capability {
                name: "CAP_SYS_PTRACE".into(),
            },
        ),
        (
            |spec| spec["process"]["capabilities"]["ambient"] = json!(["CAP_BPF"]),
            Deviation::Capability {
                name: "CAP_BPF".into(),
            },
        ),
        (
            |spec| spec["root"]["path"] = json!("/other/root"),
            other("root.path"),
        ),
        (
            |spec| spec["annotations"] = json!({"org.systemd.property.X": "1"}),
            other("annotations.org.systemd.property.X"),
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(changed(change), [expected]);
    }
}

#[test]
fn a_hidden_file_of_the_image_is_told() {
    for list in ["maskedPaths", "readonlyPaths"] {
        let found =
            changed(|spec| push(spec, &format!("/linux/{list}"), json!("/app/policy.json")));
        assert_eq!(found, [other(&format!("linux.{list}./app/policy.json"))]);
    }
}

#[test]
fn missing_masks_are_power() {
    let open = |spec: &mut Value| spec["linux"]["maskedPaths"] = json!([]);
    assert_eq!(changed(open), [other("linux.maskedPaths")]);
    assert!(privileged(open));
}

#[test]
fn shared_and_foreign_namespaces_are_told() {
    let namespace = |name: &str| Deviation::Namespace { name: name.into() };
    assert_eq!(
        changed(|spec| {
            spec["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .remove(4);
        }),
        [namespace("network")]
    );
    let joined =
        |spec: &mut Value| spec["linux"]["namespaces"][0]["path"] = json!("/proc/1/ns/pid");
    assert_eq!(changed(joined), [namespace("pid")]);
    assert_eq!(
        judged(true, joined),
        [namespace("pid")],
        "a pod's shared process space lets others in"
    );
    assert!(privileged(joined));
    assert_eq!(
        changed(|spec| push(spec, "/linux/namespaces", json!({"type": "time"}))),
        [namespace("time")]
    );
    assert_eq!(
        judged(true, |spec| spec["linux"]["namespaces"][4]["path"] =
            json!("/proc/9/ns/net")),
        []
    );
}

#[test]
fn devices_filters_and_settings_are_told() {
    let cases: [(Change, &str); 6] = [
        (
            |spec| spec["linux"]["devices"] = json!([{"path": "/dev/mem"}]),
            "linux.devices",
        ),
        (
            |spec| {
                push(
                    spec,
                    "/linux/resources/devices",
                    json!({"allow": true, "access": "rwm"}),
                )
            },
            "linux.resources.devices",
        ),
        (
            |spec| spec["linux"]["sysctl"] = json!({"net.x": "1"}),
            "linux.sysctl.net.x",
        ),
        (
            |spec| {
                spec["linux"]["seccomp"] =
                    json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"})
            },
            "linux.seccomp",
        ),
        (
            |spec| spec["linux"]["rootfsPropagation"] = json!("shared"),
            "linux.rootfsPropagation",
        ),
        (
            |spec| spec["linux"]["personality"] = json!({"domain": "LINUX32"}),
            "linux.personality",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(changed(change), [other(expected)]);
    }
    assert_eq!(
        changed(|spec| spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO"})),
        []
    );
}

#[test]
fn another_runtime_is_told() {
    let platform = Platform {
        cri: false,
        mounts: &[],
        hostname: "node",
        runtime: RuntimeIsKnown::No,
    };
    let found = from_spec(&ctr(|_| {}), &image(), &Users::default(), &platform);
    assert!(found.into_iter().eq([other("runtime")]));
}

#[test]
fn the_hosts_own_folders_are_power() {
    let bind = |source: &str| json!({"destination": "/data", "type": "bind", "source": source, "options": ["rbind", "rw"]});
    for source in [
        "/",
        "/run/containerd/containerd.sock",
        "/etc",
        "/srv/../etc",
        "/proc",
    ] {
        assert!(
            privileged(|spec| push(spec, "/mounts", bind(source))),
            "{source}"
        );
    }
    for source in ["/srv/data", "/running", "/procession"] {
        assert!(
            !privileged(|spec| push(spec, "/mounts", bind(source))),
            "{source}"
        );
    }
}

/// What the kernel showed of that container.
const SEEN: &str =
    "92 68 0:40 / / rw - overlay overlay rw,lowerdir=/s/1/fs,upperdir=/s/2/fs,workdir=/s/2/work
93 92 0:43 / /proc rw - proc proc rw
94 92 0:44 / /dev rw - tmpfs tmpfs rw
95 94 0:45 / /dev/pts rw - devpts devpts rw
96 94 0:46 / /dev/shm rw - tmpfs shm rw
97 94 0:42 / /dev/mqueue rw - mqueue mqueue rw
98 92 0:47 / /sys ro - sysfs sysfs ro
99 92 0:48 / /run rw - tmpfs tmpfs rw
72 93 0:43 /sys /proc/sys ro - proc proc rw
74 93 0:44 /null /proc/keys rw - tmpfs tmpfs rw
76 98 0:50 / /sys/firmware ro - tmpfs tmpfs ro
";

fn seen(more: &str, shared: &[&str]) -> Vec<Deviation> {
    let root = Root::of_snapshot(&[proto::containerd::types::Mount {
        r#type: "overlay".into(),
        options: vec!["upperdir=/s/2/fs".into(), "lowerdir=/s/1/fs".into()],
        ..Default::default()
    }])
    .unwrap();
    let mounts = mountinfo::parse(&format!("{SEEN}{more}")).unwrap();
    from_kernel(&ctr(|_| {}), &root, &mounts, shared)
        .into_iter()
        .collect()
}

#[test]
fn what_the_kernel_shows_of_such_a_container_is_explained() {
    assert_eq!(seen("", &[]), []);
}

#[test]
fn a_mount_that_came_later_is_told() {
    let later = |point: &str| format!("9 92 8:1 /evil {point} rw - ext4 /dev/vda rw\n");
    for point in ["/bin/sleep", "/run/inner", "/proc"] {
        assert_eq!(seen(&later(point), &[]), [mount(point, "/dev/vda")]);
    }
    let second_root = "9 92 0:99 / / rw - overlay overlay rw,lowerdir=/x,upperdir=/y,workdir=/z\n";
    assert_eq!(seen(second_root, &[]), [mount("/", "overlay")]);
}

#[test]
fn a_namespace_that_is_the_hosts_is_told_whatever_the_specification_says() {
    assert_eq!(
        seen("", &["network"]),
        [Deviation::Namespace {
            name: "network".into()
        }]
    );
}

proptest! {
    #[test]
    fn no_command_but_the_images_passes(args in prop::collection::vec("[ -~]{0,12}", 0..4)) {
        prop_assume!(args != ["/bin/sleep", "1000"]);
        let found = changed(|spec| spec["process"]["args"] = json!(args));
        prop_assert_eq!(found, [Deviation::Args { value: args }]);
    }

    #[test]
    fn no_variable_passes_unseen(name in "[A-Z_]{1,10}", value in "[ -~]{0,12}") {
        prop_assume!(name != "PATH" && name != "MODE");
        let found = changed(|spec| push(spec, "/process/env", json!(format!("{name}={value}"))));
        prop_assert_eq!(found, [env(&name)]);
    }

    #[test]
    fn no_bind_passes_unseen(destination in "(/[a-z.]{1,6}){1,4}", source in "(/[a-z.]{1,6}){1,4}", kind in "bind|tmpfs|proc|none") {
        let bind = json!({"destination": destination, "type": kind, "source": source, "options": ["rbind"]});
        prop_assert_eq!(changed(|spec| push(spec, "/mounts", bind)), [mount(&destination, &source)]);
    }

    #[test]
    fn no_unknown_member_passes_unseen(place in "process|linux", name in "x[a-z]{1,8}") {
        let found = changed(|spec| spec[&place][&name] = json!(1));
        prop_assert_eq!(found, [other(&format!("{place}.{name}"))]);
    }
}
