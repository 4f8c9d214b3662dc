//! The start gate on a real runtime: what is unpacked does not run as anything else, nobody gets a hand inside unseen, and an
//! agent that is away or killed opens nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use demo::steps::image::Image;
use demo::steps::service::launch;
use demo::{Leaf, Node, Stage, Tell, steps};
use fixture::{ContainerSpec, Daemon, DaemonSpec, Mount, Recipe, until, until_async};

use crate::PATIENCE;
use crate::forged::{Forgery, move_under_another_config};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, swtpm, PostgreSQL, docker-registry, skopeo and umoci; run by make test"]
async fn unpacked_layers_start_as_nothing_else() {
    let stage = Stage::set(Tell::silent()).await.unwrap();
    let image = steps::image::run(&stage).unwrap();
    steps::estate::run(&stage, &image).unwrap();
    let node = &stage.dal05;
    node.cri.pull(&image.reference).await.unwrap();

    // The registry's layers under a command of the thief's: they lie here unpacked, so no key is asked for.
    let mut forgery = Forgery::of(&stage, &image.reference, "thief");
    move_under_another_config(&mut forgery);
    let (reference, _) = forgery.push(&stage, "thief");
    node.cri.pull(&reference).await.unwrap();
    let spec = node.container(&reference);
    not_started(&stage, node, "thief", &spec, "ImageSet::\"medrec\"").await;

    // The plain image as its builder has it, under the same other command.
    let mut forgery = Forgery::of_layout(&stage, &image.plain.transport(), "plain-thief");
    move_under_another_config(&mut forgery);
    let (reference, _) = forgery.push(&stage, "plain-thief");
    node.cri.pull(&reference).await.unwrap();
    let spec = node.container(&reference);
    not_started(&stage, node, "plain-thief", &spec, "ImageSet::\"medrec\"").await;

    // The genuine image's file system, mounted into a stranger, whole and by its top layer.
    let stranger = plain_image(&stage, "stranger", ["/bin/sleep", "1000"]);
    node.cri.pull(&stranger).await.unwrap();
    for (name, host) in [
        ("volume", mounted_image(&stage, &image)),
        ("directory", top_layer(&stage, &image)),
    ] {
        let mut spec = node.container(&stranger);
        spec.mounts.push(Mount {
            host,
            container: "/stolen".into(),
            read_only: true,
        });
        not_started(&stage, node, name, &spec, "/stolen").await;
    }
    // What is refused is refused for that: the stranger itself starts, and so does the genuine image.
    let spec = node.container(&stranger);
    let (_, id) = node.cri.launch(&node.pod("alone"), &spec).await.unwrap();
    assert!(node.cri.status(&id).await.unwrap().running);
    launch(
        node,
        "medrec",
        &node.container(&image.reference),
        "Mary Jackson",
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, swtpm, PostgreSQL, docker-registry, skopeo and umoci; run by make test"]
async fn without_its_agent_a_node_starts_what_is_plain_and_nothing_else() {
    let stage = Stage::set(Tell::silent()).await.unwrap();
    let image = steps::image::run(&stage).unwrap();
    steps::estate::run(&stage, &image).unwrap();
    let node = &stage.dal05;
    node.cri.pull(&image.reference).await.unwrap();
    let stranger = plain_image(&stage, "stranger", ["/bin/sleep", "1000"]);
    node.cri.pull(&stranger).await.unwrap();
    let medrec = node.container(&image.reference);
    let (holder, _) = launch(node, "holder", &medrec, "Mary Jackson")
        .await
        .unwrap();
    the_owners_probe_runs_and_no_other(&stage, &holder).await;

    let before = stage.rows.leaves("kind", "start").await.unwrap().len();
    kill_agent(node);
    let spec = node.container(&stranger);
    let (_, id) = node.cri.launch(&node.pod("plain"), &spec).await.unwrap();
    assert!(node.cri.status(&id).await.unwrap().running);
    let reason = refused_start(node, "gated", &medrec).await.1;
    assert!(reason.contains("agent"), "{reason}");
    let reason = node
        .cri
        .exec(&holder, &["/bin/true"])
        .await
        .unwrap_err()
        .to_string();
    assert!(reason.contains("agent"), "{reason}");
    // The probe that was allowed before is not a question any more: an agent's upgrade kills no service.
    assert_probe(node, &holder).await;
    assert_eq!(
        stage.rows.leaves("kind", "start").await.unwrap().len(),
        before
    );

    let _agent = start_agent(&stage, node);
    launch(node, "again", &medrec, "Mary Jackson")
        .await
        .unwrap();
}

/// `[run]` of the estate allows this command, word by word.
const PROBE: [&str; 2] = ["/usr/bin/medrec", "--health"];

async fn the_owners_probe_runs_and_no_other(stage: &Stage, holder: &str) {
    let node = &stage.dal05;
    assert_probe(node, holder).await;
    for other in [
        vec!["/usr/bin/medrec", "--health", "--verbose"],
        vec!["/usr/bin/medrec"],
        vec!["/bin/sh", "-c", "/usr/bin/medrec --health"],
    ] {
        let refused = node.cri.exec(holder, &other).await.unwrap_err().to_string();
        assert!(refused.contains("denied"), "{other:?}: {refused}");
    }
    let leaves = stage.rows.leaves("container", holder).await.unwrap();
    let of = |kind: &str| {
        leaves
            .iter()
            .filter(|leaf| leaf.value("kind") == kind)
            .count()
    };
    assert_eq!(
        (of("exec-permitted"), of("exec-refused"), of("exposure")),
        (1, 3, 0)
    );
}

async fn assert_probe(node: &Node, holder: &str) {
    let probe = node.cri.exec(holder, &PROBE).await;
    assert!(probe.is_ok(), "{probe:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, swtpm, PostgreSQL, docker-registry, skopeo and umoci; run by make test"]
async fn a_hand_inside_is_remembered_over_restarts_and_exposes_what_was_there() {
    let stage = Stage::set(Tell::silent()).await.unwrap();
    let image = steps::image::run(&stage).unwrap();
    let file = stage.lab("estate/datasets.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}exec = \"expose\"\n")).unwrap();
    steps::estate::run(&stage, &image).unwrap();
    let node = &stage.dal05;
    node.cri.pull(&image.reference).await.unwrap();
    let (holder, _) = launch(
        node,
        "holder",
        &node.container(&image.reference),
        "Mary Jackson",
    )
    .await
    .unwrap();
    let asking = plain_image(&stage, "asking", ["/bin/sh", "-c", ASK_AGAIN_AND_AGAIN]);
    node.cri.pull(&asking).await.unwrap();
    let (asker, _) = launch(node, "asker", &node.container(&asking), "yes")
        .await
        .unwrap();

    // The container holds a lease; its owner lets people in, and whatever is there counts as seen.
    let exec = node.cri.exec(&holder, &["/bin/true"]).await;
    assert_eq!(exec.unwrap().code, 0);
    let exposure = stage.rows.leaves("kind", "exposure").await.unwrap();
    assert_eq!(exposure.len(), 1, "{exposure:?}");
    assert_eq!(exposure[0].value("container"), holder);
    until_async("the lease's end", PATIENCE, async || {
        stage.postgres.roles("bw_").ok()?.is_empty().then_some(())
    })
    .await
    .unwrap();

    // One that holds nothing: nobody is asked, and it gets nothing any more.
    node.cri.exec(&asker, &["/bin/true"]).await.unwrap();
    let pod = node.pod("asker");
    until("the refusal", PATIENCE, || {
        last_word(node, &pod).filter(|word| word == "no").map(drop)
    })
    .unwrap();
    kill_agent(node);
    let _agent = start_agent(&stage, node);
    let before = node.cri.log(&pod, "medrec").lines().count();
    until("answers of the new agent", PATIENCE, || {
        (node.cri.log(&pod, "medrec").lines().count() > before + 10).then_some(())
    })
    .unwrap();
    let log = node.cri.log(&pod, "medrec");
    let after: Vec<&str> = log.lines().skip(before).collect();
    assert!(after.iter().all(|line| line.trim() != "yes"), "{after:?}");
    assert!(
        after.iter().any(|line| line.contains("hand inside")),
        "{after:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, swtpm, PostgreSQL, docker-registry, skopeo and umoci; run by make test"]
async fn a_runtime_handler_without_the_gate_gets_no_key() {
    let stage = Stage::set(Tell::silent()).await.unwrap();
    let image = steps::image::run(&stage).unwrap();
    steps::estate::run(&stage, &image).unwrap();
    let node = &stage.dal05;
    let config = node.containerd.config_file();
    let wrapped = fs::read_to_string(&config).unwrap();
    let bare =
        "containerd.runtimes.bare.runtime_type = \"io.containerd.runc.v2\"\n[stream_processors";
    fs::write(&config, wrapped.replacen("[stream_processors", bare, 1)).unwrap();
    let refused = node
        .cri
        .pull(&image.reference)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("start gate"), "{refused}");
    let leaf = stage
        .rows
        .leaves("kind", "open")
        .await
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(leaf.value("outcome"), "denied");
    fs::write(&config, wrapped).unwrap();
    node.cri.pull(&image.reference).await.unwrap();
}

/// A thousand times: a process is put inside, forks twice and ends, so that its grandchild is the container's own child to
/// whoever looks, and that asks for an identity; the agent is killed again and again meanwhile.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, swtpm, PostgreSQL, docker-registry, skopeo and umoci; run by make test"]
async fn a_thousand_double_forks_under_load_get_nothing() {
    let stage = Arc::new(Stage::set(Tell::silent()).await.unwrap());
    let quiet = plain_image(&stage, "quiet", ["/bin/sleep", "10000"]);
    let asking = plain_image(&stage, "asking", ["/bin/sh", "-c", ASK_AGAIN_AND_AGAIN]);
    for reference in [&quiet, &asking] {
        stage.dal05.cri.pull(reference).await.unwrap();
    }
    let node = &stage.dal05;
    launch(node, "honest", &node.container(&asking), "yes")
        .await
        .unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let restarts = tokio::task::spawn_blocking({
        let (stage, over) = (Arc::clone(&stage), Arc::clone(&over));
        move || restart_until(&stage, &over)
    });
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (stage, quiet) = (Arc::clone(&stage), quiet.clone());
        workers.push(tokio::spawn(async move {
            double_forks(&stage, worker, &quiet).await
        }));
    }
    let mut touched = Vec::new();
    for worker in workers {
        touched.extend(worker.await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let restarted = restarts.await.unwrap();
    assert_eq!(touched.len() * EXECS, 1000);
    assert!(
        restarted > 3,
        "the agent was restarted {restarted} times only"
    );

    let issued = stage.rows.leaves("kind", "issue").await.unwrap();
    let of = |outcome: &str, leaf: &Leaf| {
        leaf.value("outcome") == outcome && touched.iter().any(|id| leaf.value("container") == id)
    };
    let got: Vec<&Leaf> = issued.iter().filter(|leaf| of("granted", leaf)).collect();
    assert!(got.is_empty(), "{got:?}");
    // They did ask, and whoever nobody touched was answered all the time.
    assert!(issued.iter().any(|leaf| of("denied", leaf)));
    let honest = node.cri.log(&node.pod("honest"), "medrec");
    let answered = honest.matches("yes").count();
    assert!(
        answered > restarted,
        "{answered} answers in {restarted} restarts: {honest}"
    );
}

const WORKERS: usize = 4;
/// Containers of each worker, and how often each is visited.
const CONTAINERS: usize = 10;
const EXECS: usize = 25;

const ASK_AGAIN_AND_AGAIN: &str = "while :; do /usr/bin/bailiwick svid jwt --audience records 2>&1 >/dev/null && echo yes || echo no; sleep 0.2; done";

async fn double_forks(stage: &Stage, worker: usize, image: &str) -> Vec<String> {
    let node = &stage.dal05;
    let mut touched = Vec::new();
    for number in 0..CONTAINERS {
        let pod = node.pod(&format!("quiet-{worker}-{number}"));
        let (pod_id, id) = node.cri.launch(&pod, &node.container(image)).await.unwrap();
        for _ in 0..EXECS {
            let forked =
                "(/usr/bin/bailiwick svid jwt --audience thief </dev/null >/dev/null 2>&1 &)";
            // A hand may be refused, too; what must not happen is that it gets something.
            let _ = node.cri.exec(&id, &["/bin/sh", "-c", forked]).await;
        }
        node.cri.remove_pod(&pod_id).await.unwrap();
        touched.push(id);
    }
    touched
}

fn restart_until(stage: &Stage, over: &AtomicBool) -> usize {
    let mut restarts = 0;
    let mut agent: Option<Daemon> = None;
    while !over.load(Ordering::Relaxed) {
        match agent.take() {
            Some(agent) => agent.kill(),
            None => kill_agent(&stage.dal05),
        }
        agent = Some(start_agent(stage, &stage.dal05));
        restarts += 1;
        std::thread::sleep(BETWEEN_RESTARTS);
    }
    restarts
}

const BETWEEN_RESTARTS: Duration = Duration::from_secs(4);

/// The container is made and must not start; the refusal is on record with these words.
async fn not_started(stage: &Stage, node: &Node, name: &str, spec: &ContainerSpec, wanted: &str) {
    let (id, reason) = refused_start(node, name, spec).await;
    let leaves = stage.rows.leaves("container", &id).await.unwrap();
    let leaf = leaves
        .last()
        .unwrap_or_else(|| unreachable!("{name}: no leaf; {reason}"));
    assert_eq!(
        (leaf.value("kind"), leaf.value("outcome")),
        ("start", "denied"),
        "{name}"
    );
    assert!(reason.contains(wanted), "{name}: {reason}");
    assert!(!node.cri.status(&id).await.unwrap().running, "{name}");
}

async fn refused_start(node: &Node, name: &str, spec: &ContainerSpec) -> (String, String) {
    let pod = node.pod(name);
    let pod_id = node.cri.run_pod(&pod).await.unwrap();
    let id = node.cri.create(&pod_id, &pod, spec).await.unwrap();
    let refused = node.cri.start(&id).await.unwrap_err().to_string();
    (id, refused)
}

/// An image that nobody encrypted, with the program in it.
fn plain_image<const N: usize>(stage: &Stage, name: &str, entry_point: [&str; N]) -> String {
    let layout = Recipe::busybox(name)
        .program("/usr/bin/bailiwick", steps::image::stripped(stage).unwrap())
        .entry_point(entry_point)
        .build(&stage.scratch)
        .unwrap();
    stage.registry.push(&layout, &format!("{name}:1")).unwrap()
}

fn last_word(node: &Node, pod: &fixture::PodSpec) -> Option<String> {
    let log = node.cri.log(pod, "medrec");
    log.lines().last().map(|line| line.trim().to_owned())
}

/// The genuine image's whole file system, as a runtime mounts an image volume.
fn mounted_image(stage: &Stage, image: &Image) -> PathBuf {
    let target = stage.scratch.join("volume");
    fs::create_dir_all(&target).unwrap();
    let mounts = view(stage, image, "volume", &target);
    let mut command = stage.dal05.containerd.enter();
    let status = command.args(["sh", "-c", &mounts]).status().unwrap();
    assert!(status.success(), "{mounts}");
    target
}

/// The directory of the genuine image's top layer.
fn top_layer(stage: &Stage, image: &Image) -> PathBuf {
    let mounts = view(stage, image, "top", Path::new("/nowhere"));
    let lower = mounts.split_once("lowerdir=").unwrap().1;
    let end = lower.find([':', ',', ' ']).unwrap_or(lower.len());
    PathBuf::from(&lower[..end])
}

/// A view of the image's chain, as the command that mounts it.
fn view(stage: &Stage, image: &Image, key: &str, target: &Path) -> String {
    let containerd = &stage.dal05.containerd;
    let ctr = |words: &[&str]| {
        let all = ["--namespace", "k8s.io"]
            .into_iter()
            .chain(words.iter().copied());
        containerd.ctr(all).unwrap()
    };
    let config: serde_json::Value =
        serde_json::from_str(&ctr(&["content", "get", &image.config])).unwrap();
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    let mut chain = diff_ids[0].as_str().unwrap().to_owned();
    for diff_id in &diff_ids[1..] {
        let text = format!("{chain} {}", diff_id.as_str().unwrap());
        let script = format!("printf %s '{text}' | sha256sum");
        let hashed = fixture::run("sh", ["-c", &script]).unwrap();
        chain = format!("sha256:{}", hashed.split_whitespace().next().unwrap());
    }
    ctr(&["snapshots", "view", key, &chain]);
    ctr(&["snapshots", "mounts", target.to_str().unwrap(), key])
}

fn agent_config(node: &Node) -> PathBuf {
    node.folder().join("agent.toml")
}

/// Ends the node's agent as `kill -9` does.
fn kill_agent(node: &Node) {
    let config = agent_config(node).display().to_string();
    let running = || {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            (line.contains("agent\0run") && line.contains(&config)).then_some(pid)
        })
    };
    let pid = running().unwrap();
    fixture::run("kill", ["-9", &pid.to_string()]).unwrap();
    until("the agent's end", PATIENCE, || {
        running().is_none().then_some(())
    })
    .unwrap();
}

fn start_agent(stage: &Stage, node: &Node) -> Daemon {
    let agent = DaemonSpec::new(format!("agent-{}", node.name), stage.bailiwick.program())
        .args(["agent", "run", "--config"])
        .args([agent_config(node)])
        .start(&stage.scratch)
        .unwrap();
    agent
        .ready(PATIENCE, || {
            std::os::unix::net::UnixStream::connect(node.socket()).ok()
        })
        .unwrap();
    agent
}
