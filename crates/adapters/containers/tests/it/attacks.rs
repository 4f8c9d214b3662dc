//! What an attacker with the runtime's command line tries, and what the measurement says.

use std::fs;

use containers::MeasureError;
use evidence::{Deviation, Strength};

use crate::runtime::{Runtime, busybox, mount};

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn an_image_run_as_it_is_shipped_is_measured_whole() {
    let mut runtime = Runtime::start();
    let image = runtime.image("example/app:v1", "one", &["--config.user", "app"]);
    let socket = runtime.path("agent.sock");
    fs::write(&socket, "").unwrap();
    let containers = runtime.watched();
    let ours = format!(
        "type=bind,src={},dst=/run/bailiwick.sock,options=rbind:rw",
        socket.display()
    );
    let (id, pid) = runtime.run(&["--mount", &ours], &image.name, &[]);
    let facts = runtime.measure(&containers, pid);

    let container = facts.container.unwrap();
    assert_eq!(
        (container.runtime_namespace.as_str(), container.id.as_str()),
        ("default", id.as_str())
    );
    let measured = facts.image.unwrap();
    assert_eq!(
        (measured.config, measured.chain_id),
        (image.config, image.diff_id)
    );
    assert_eq!(facts.deviations.unwrap(), []);
    let exe = facts.exe.unwrap();
    assert_eq!((exe.digest, exe.from_image), (busybox(), Some(true)));
    let interactive = facts.interactive.unwrap();
    assert_eq!(
        (interactive.yes, interactive.strength),
        (false, Strength::Weak)
    );
    assert_eq!(facts.privileged, Some(false));
    assert_eq!(facts.pod, None);

    runtime.remove(&id);
    assert!(matches!(
        runtime.try_measure(&containers, pid),
        Err(MeasureError::Gone)
    ));
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn a_swapped_command_variable_or_binary_is_told() {
    let mut runtime = Runtime::start();
    let image = runtime.image("example/app:v1", "one", &[]);
    let containers = runtime.watched();

    let (_, pid) = runtime.run(&[], &image.name, &["/bin/sleep", "999"]);
    let facts = runtime.measure(&containers, pid);
    assert_eq!(facts.image.unwrap().config, image.config);
    let value = vec!["/bin/sleep".into(), "999".into()];
    assert_eq!(facts.deviations.unwrap(), [Deviation::Args { value }]);

    let (_, pid) = runtime.run(&["--env", "LD_PRELOAD=/tmp/evil.so"], &image.name, &[]);
    let name = "LD_PRELOAD".to_owned();
    assert_eq!(
        runtime.measure(&containers, pid).deviations.unwrap(),
        [Deviation::Env { name }]
    );

    let evil = runtime.path("evil");
    let mut bytes = fs::read("/bin/busybox").unwrap();
    bytes.extend_from_slice(b"evil");
    fs::write(&evil, &bytes).unwrap();
    run_mode(&evil);
    let evil = evil.display().to_string();
    let over = format!("type=bind,src={evil},dst=/bin/busybox,options=rbind:ro");
    let (_, pid) = runtime.run(&["--mount", &over], &image.name, &[]);
    let facts = runtime.measure(&containers, pid);
    assert_eq!(
        facts.image.unwrap().config,
        image.config,
        "it is the image, with something over it"
    );
    assert_eq!(facts.deviations.unwrap(), [mount("/bin/busybox", &evil)]);
    let exe = facts.exe.unwrap();
    assert_eq!(
        (exe.digest, exe.from_image),
        (estate::Digest::of(&bytes), Some(false))
    );
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn a_program_that_the_container_wrote_is_not_from_the_image() {
    let mut runtime = Runtime::start();
    let app = runtime.image("example/app:v1", "one", &[]);
    let replaced = "/bin/cp /bin/busybox /bin/new && /bin/mv /bin/new /bin/busybox-app && exec /bin/busybox-app sleep 1000";
    let elsewhere = "/bin/cp /bin/busybox /tmp/busybox-x && exec /tmp/busybox-x sleep 1000";
    let untouched = "exec /bin/busybox-app sleep 1000";
    let containers = runtime.watched();
    for (script, from_image) in [(replaced, false), (elsewhere, false), (untouched, true)] {
        let name = format!("example/script:{}", script.len());
        let config = [
            "--config.entrypoint",
            "/bin/sh",
            "--config.entrypoint",
            "-c",
            "--config.cmd",
            script,
        ];
        let image = runtime.image(&name, "one", &config);
        assert_eq!(image.diff_id, app.diff_id);
        let (_, pid) = runtime.run(&[], &image.name, &[]);
        let ready = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("\0sleep\0"))
        });
        assert!(ready, "the script did not come to its end");
        let exe = runtime.measure(&containers, pid).exe.unwrap();
        assert_eq!(
            (exe.digest, exe.from_image),
            (busybox(), Some(from_image)),
            "{script}"
        );
    }
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn a_debug_container_in_the_process_space_marks_its_target_for_good() {
    let mut runtime = Runtime::start();
    let image = runtime.image("example/app:v1", "one", &[]);
    let containers = runtime.watched();
    let (_, target) = runtime.run(&[], &image.name, &[]);
    let (_, bystander) = runtime.run(&[], &image.name, &[]);
    let space = format!("pid:/proc/{target}/ns/pid");
    let touched =
        |runtime: &Runtime, pid| runtime.measure(&containers, pid).interactive.unwrap().yes;
    assert!(!touched(&runtime, target));

    let (hand, pid) = runtime.run(&["--with-ns", &space], &image.name, &[]);
    assert!(touched(&runtime, target) && touched(&runtime, pid));
    assert!(!touched(&runtime, bystander));
    runtime.remove(&hand);
    assert!(touched(&runtime, target), "the mark stays");
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn an_exec_session_marks_the_container_for_good() {
    let mut runtime = Runtime::start();
    let image = runtime.image("example/app:v1", "one", &[]);
    let containers = runtime.watched();
    let (id, pid) = runtime.run(&[], &image.name, &[]);
    assert!(!runtime.measure(&containers, pid).interactive.unwrap().yes);

    runtime.ctr(&[
        "tasks",
        "exec",
        "--detach",
        "--exec-id",
        "hand",
        &id,
        "/bin/sleep",
        "998",
    ]);
    let other = runtime
        .processes(&id)
        .into_iter()
        .find(|found| *found != pid)
        .unwrap();
    for seen in [other, pid] {
        let facts = runtime.measure(&containers, seen);
        assert_eq!(facts.container.unwrap().id, id);
        assert!(facts.interactive.unwrap().yes);
    }
    runtime.ctr(&["tasks", "kill", "--signal", "9", "--exec-id", "hand", &id]);
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        runtime.processes(&id) == [pid]
    });
    assert!(gone);
    assert!(
        runtime.measure(&containers, pid).interactive.unwrap().yes,
        "the mark stays"
    );

    let (_, untouched) = runtime.run(&[], &image.name, &[]);
    assert!(
        !runtime
            .measure(&containers, untouched)
            .interactive
            .unwrap()
            .yes
    );
    let (_, open) = runtime.run(&["--null-io=false"], &image.name, &[]);
    assert!(
        runtime.measure(&containers, open).interactive.unwrap().yes,
        "anybody may write to its standard input"
    );

    // Whoever begins to watch now does not know what was done before.
    assert!(
        runtime
            .measure(&runtime.watched(), untouched)
            .interactive
            .unwrap()
            .yes
    );
    assert!(
        runtime
            .measure(&runtime.unwatched(), untouched)
            .interactive
            .unwrap()
            .yes
    );
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn a_child_of_the_first_process_is_the_workload_and_an_exec_behind_a_dead_parent_is_not() {
    let mut runtime = Runtime::start();
    let script = "/bin/sleep 996 & wait";
    let config = [
        "--config.entrypoint",
        "/bin/sh",
        "--config.entrypoint",
        "-c",
        "--config.cmd",
        script,
    ];
    let image = runtime.image("example/app:v1", "one", &config);
    let containers = runtime.watched();
    let (id, first) = runtime.run(&[], &image.name, &[]);
    let children = |runtime: &Runtime, known: &[u32]| {
        (0..100).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let all = runtime.processes(&id);
            all.into_iter().find(|pid| !known.contains(pid))
        })
    };
    let child = children(&runtime, &[first]).unwrap();
    let facts = runtime.measure(&containers, child);
    assert_eq!(facts.image.unwrap().config, image.config);
    assert_eq!(facts.deviations.unwrap(), []);
    assert!(!facts.interactive.unwrap().yes);

    let hidden = "/bin/sleep 995 & exit 0";
    let exec = [
        "tasks",
        "exec",
        "--exec-id",
        "hand",
        &id,
        "/bin/sh",
        "-c",
        hidden,
    ];
    runtime.ctr(&exec);
    let hidden = children(&runtime, &[first, child]).unwrap();
    for pid in [hidden, child, first] {
        assert!(runtime.measure(&containers, pid).interactive.unwrap().yes);
    }
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn host_power_and_late_mounts_are_told() {
    let mut runtime = Runtime::start();
    let image = runtime.image("example/app:v1", "one", &[]);
    let containers = runtime.watched();

    let (_, pid) = runtime.run(&["--net-host"], &image.name, &[]);
    let facts = runtime.measure(&containers, pid);
    let network = Deviation::Namespace {
        name: "network".into(),
    };
    assert_eq!(facts.deviations.unwrap(), [network]);
    assert_eq!(facts.privileged, Some(false));

    let (_, pid) = runtime.run(&["--privileged"], &image.name, &[]);
    let facts = runtime.measure(&containers, pid);
    assert_eq!(facts.privileged, Some(true));
    assert!(facts.deviations.unwrap().contains(&Deviation::Capability {
        name: "CAP_SYS_ADMIN".into()
    }));

    let (_, pid) = runtime.run(&[], &image.name, &[]);
    assert_eq!(runtime.measure(&containers, pid).deviations.unwrap(), []);
    let late = std::process::Command::new("nsenter")
        .args([
            "--mount",
            "--target",
            &pid.to_string(),
            "/bin/mount",
            "-t",
            "tmpfs",
            "late",
            "/etc",
        ])
        .status()
        .unwrap();
    assert!(late.success());
    assert_eq!(
        runtime.measure(&containers, pid).deviations.unwrap(),
        [mount("/etc", "late")]
    );

    let own = runtime.measure(&containers, std::process::id());
    assert_eq!(
        (own.container, own.image, own.deviations),
        (None, None, None)
    );
    assert_eq!(own.exe.unwrap().from_image, None);
}

fn run_mode(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
