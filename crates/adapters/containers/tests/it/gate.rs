//! With a start gate: a script plays it, writes the marks, and calls runc.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::ports::{Gate as _, GatedLayer, Probe as _, ProbeError, SeenHand};
use agent::{GateOperation, GateQuestion};
use containers::gate::Gated;
use containers::{Containers, GateConfig, NodeProbe};
use evidence::{ContainerRef, Interactive, Strength};

use crate::runtime::{ByNumber, Image, Runtime};

const SCRIPT: &str = r#"#!/bin/sh
op="" prev="" bundle="" root=""
for a in "$@"; do
  case "$prev" in --bundle) bundle=$a;; --root) root=$a;; esac
  case "$a" in create|exec) [ -z "$op" ] && op=$a;; esac
  prev=$a
done
here="@HERE@"; marks="$here/marks/$(basename "$root")/$prev"
case "$op" in
create)
  umask 077; mkdir -p "$marks"
  at=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
  spec=$(sha256sum "$bundle/config.json" | cut -d' ' -f1)
  echo "{\"version\":1,\"at\":\"$at\",\"making\":\"create\",\"bundle\":\"$bundle\",\"spec\":\"sha256:$spec\",\"gated\":[]}" > "$marks/created"
  if [ -e "$here/wait" ]; then
    echo "$$ $bundle" > "$here/asking.new"; mv "$here/asking.new" "$here/asking"
    while [ -e "$here/wait" ]; do sleep 0.05; done
  fi;;
exec)
  [ -e "$here/refuse" ] && exit 1
  [ -e "$here/probe" ] || (umask 077; echo '{}' >> "$marks/touched");;
esac
exec runc "$@"
"#;

struct Played {
    runtime: Runtime,
    image: Image,
    wrapper: String,
}

impl Played {
    fn start() -> Self {
        let runtime = Runtime::start();
        let image = runtime.image("example/app:v1", "one", &[]);
        let wrapper = runtime.path("bailiwick-runc");
        let script = SCRIPT.replace("@HERE@", &runtime.path("").display().to_string());
        fs::write(&wrapper, script).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            wrapper: wrapper.display().to_string(),
            runtime,
            image,
        }
    }

    /// An agent that starts now.
    fn agent(&self) -> Containers {
        self.runtime.gated(GateConfig {
            state: self.runtime.path("marks"),
            gated: self.runtime.path("gated.json"),
            programs: vec![PathBuf::from(&self.wrapper)],
            containerd_config: self.runtime.path("config.toml"),
        })
    }

    fn run(&mut self) -> (String, u32) {
        let options = ["--runc-binary", self.wrapper.as_str()];
        self.runtime.run(&options, &self.image.name, &[])
    }

    fn exec(&self, id: &str) -> bool {
        let name = format!("hand-{id}");
        self.runtime
            .try_ctr(&["tasks", "exec", "--exec-id", &name, id, "/bin/true"])
            .is_some()
    }

    fn interactive(&self, agent: &Containers, pid: u32) -> Interactive {
        self.runtime.measure(agent, pid).interactive.unwrap()
    }

    fn set(&self, name: &str, there: bool) {
        let path = self.runtime.path(name);
        match there {
            true => fs::write(path, "").unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }

    fn next_hand(&self, agent: &Containers) -> Option<SeenHand> {
        let probe: NodeProbe<ByNumber> = NodeProbe::new(agent.clone(), Vec::new());
        let next = async {
            let next = probe.gate().unwrap().next_hand();
            tokio::time::timeout(Duration::from_secs(2), next)
                .await
                .ok()
        };
        self.runtime.block_on(next)
    }
}

fn known(yes: bool, strength: Strength) -> Interactive {
    Interactive { yes, strength }
}

fn container(id: &str) -> ContainerRef {
    ContainerRef {
        runtime_namespace: "default".into(),
        id: id.into(),
    }
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn what_the_gate_marked_is_known_strongly_also_by_an_agent_that_starts_later() {
    let mut played = Played::start();
    let agent = played.agent();
    let (_, wrapped) = played.run();
    let name = played.image.name.clone();
    let (_, plain) = played.runtime.run(&[], &name, &[]);
    let facts = played.runtime.measure(&agent, wrapped);
    assert_eq!(facts.interactive, Some(known(false, Strength::Strong)));
    assert_eq!(facts.deviations.unwrap(), [], "the wrapper is no deviation");
    assert_eq!(
        played.interactive(&agent, plain),
        known(false, Strength::Weak)
    );

    let later = played.agent();
    assert_eq!(
        played.interactive(&later, wrapped),
        known(false, Strength::Strong)
    );
    assert_eq!(
        played.interactive(&later, plain),
        known(true, Strength::Weak)
    );
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn a_hand_that_the_gate_lets_in_stays_known_and_a_refused_one_or_a_probe_is_none() {
    let mut played = Played::start();
    let agent = played.agent();
    let (id, pid) = played.run();
    played.set("refuse", true);
    assert!(!played.exec(&id));
    played.set("refuse", false);
    played.set("probe", true);
    assert!(played.exec(&id));
    played.set("probe", false);
    assert_eq!(played.next_hand(&agent), None);
    assert_eq!(
        played.interactive(&agent, pid),
        known(false, Strength::Strong)
    );

    assert!(played.exec(&id));
    assert_eq!(
        played.interactive(&agent, pid),
        known(true, Strength::Strong)
    );
    assert_eq!(
        played.next_hand(&agent),
        Some(SeenHand::LetIn(container(&id)))
    );
    let later = played.agent();
    assert_eq!(
        played.interactive(&later, pid),
        known(true, Strength::Strong)
    );
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn a_hand_through_another_runtime_is_seen_and_kept_over_a_restart() {
    let mut played = Played::start();
    let agent = played.agent();
    let name = played.image.name.clone();
    let (id, pid) = played.runtime.run(&[], &name, &[]);
    assert!(played.exec(&id));
    let unasked = Some(SeenHand::Unasked(container(&id)));
    assert_eq!(played.next_hand(&agent), unasked);
    assert!(played.interactive(&agent, pid).yes);
    let later = played.agent();
    assert_eq!(played.next_hand(&later), unasked, "nobody reported it");
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn marks_end_with_their_container_and_not_before() {
    let mut played = Played::start();
    let _agent = played.agent();
    let (id, _) = played.run();
    let (other, _) = played.run();
    let marks = |id: &str| played.runtime.path("marks/default").join(id).exists();
    assert!(marks(&id) && marks(&other));
    played.runtime.remove(&id);
    let gone = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        !marks(&id)
    });
    assert!(gone && marks(&other));
    let orphan = played.runtime.path("marks/default/orphan");
    fs::create_dir(&orphan).unwrap();
    fs::set_permissions(&orphan, fs::Permissions::from_mode(0o700)).unwrap();
    let _later = played.agent();
    let gone = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        !orphan.exists()
    });
    assert!(gone && marks(&other));
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn an_opened_layer_is_found_as_soon_as_it_is_unpacked() {
    let played = Played::start();
    let agent = played.agent();
    let probe: NodeProbe<ByNumber> = NodeProbe::new(agent.clone(), Vec::new());
    let set = "medrec".parse().unwrap();
    played.runtime.block_on(async {
        let uses = agent.manifests_listing_layer(played.image.layer).await;
        let gate = probe.gate().unwrap();
        gate.confirm(gate.claim(&set, &uses.unwrap()).await.unwrap())
            .await;
    });
    let places = || {
        let listed = Gated::read(&played.runtime.path("gated.json")).unwrap();
        listed.layers()[0].places.clone()
    };
    let name = &played.image.name;
    played.runtime.ctr(&["images", "rm", "--sync", name]);
    assert_eq!(places(), None);
    let again = played.runtime.image(name, "one", &[]);
    assert_eq!(again.diff_id, played.image.diff_id);
    let found = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        places().is_some()
    });
    assert!(found);
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn a_layer_that_was_opened_and_not_unpacked_is_nowhere_until_it_is() {
    let played = Played::start();
    let name = &played.image.name;
    {
        let agent = played.agent();
        let probe: NodeProbe<ByNumber> = NodeProbe::new(agent.clone(), Vec::new());
        let set = "medrec".parse().unwrap();
        played.runtime.block_on(async {
            let uses = agent.manifests_listing_layer(played.image.layer).await;
            let gate = probe.gate().unwrap();
            gate.confirm(gate.claim(&set, &uses.unwrap()).await.unwrap())
                .await;
        });
    }
    played.runtime.ctr(&["images", "rm", "--sync", name]);
    let places = || {
        let listed = Gated::read(&played.runtime.path("gated.json")).unwrap();
        listed.layers()[0].places.clone()
    };
    let becomes = |wanted: fn(&Option<Vec<PathBuf>>) -> bool| {
        (0..60).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            wanted(&places())
        })
    };
    let unpacking = format!("extract-1-x {}", played.image.diff_id);
    played.runtime.ctr(&["snapshots", "prepare", &unpacking]);
    let _early = played.agent();
    assert!(!becomes(Option::is_some), "it is being unpacked");
    played.runtime.ctr(&["snapshots", "rm", &unpacking]);
    let _later = played.agent();
    assert!(becomes(|places| places.as_ref().is_some_and(Vec::is_empty)));
    played.runtime.image(name, "one", &[]);
    assert!(becomes(|places| places
        .as_ref()
        .is_some_and(|places| places.len() == 1)));
}

/// What the gate would be told of the container that waits for it.
fn starting(
    played: &Played,
    agent: &Containers,
    change: impl FnOnce(&mut GateQuestion),
) -> Result<agent::ports::Starting, ProbeError> {
    let asking = played.runtime.path("asking");
    let asked = (0..200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        fs::read_to_string(&asking).ok()
    });
    let asked = asked.unwrap();
    let (pid, bundle) = asked.trim().split_once(' ').unwrap();
    let id = Path::new(bundle).file_name().unwrap().to_str().unwrap();
    let mut question = GateQuestion {
        operation: GateOperation::Create,
        container: container(id),
        bundle: bundle.into(),
        gated: Vec::new(),
        argv: Vec::new(),
    };
    change(&mut question);
    let probe: NodeProbe<ByNumber> = NodeProbe::new(agent.clone(), Vec::new());
    let caller = ByNumber(pid.parse().unwrap());
    played
        .runtime
        .block_on(probe.gate().unwrap().starting(&caller, &question))
}

#[test]
#[ignore = "needs root and containerd; run by make test"]
fn a_container_is_measured_before_it_starts_and_its_opened_layers_are_found() {
    let played = Played::start();
    let agent = played.agent();
    let image = &played.image;
    let probe: NodeProbe<ByNumber> = NodeProbe::new(agent.clone(), Vec::new());
    let set = "medrec".parse().unwrap();
    let claim = played.runtime.block_on(async {
        let uses = agent.manifests_listing_layer(image.layer).await.unwrap();
        let gate = probe.gate().unwrap();
        gate.confirm(gate.claim(&set, &uses).await.unwrap()).await;
        gate.claim(&set, &uses).await.unwrap()
    });
    let ours = GatedLayer {
        chain: image.diff_id,
        config: image.config,
        image: set.clone(),
    };
    assert_eq!(claim.0, BTreeSet::from([ours.clone()]));

    played.set("wait", true);
    let id = format!("bw-start-{}", std::process::id());
    let options = ["run", "-d", "--null-io", "--runc-binary", &played.wrapper];
    let more = [image.name.as_str(), id.as_str()];
    let args = [&options[..], &more].concat();
    let (found, whole) = std::thread::scope(|scope| {
        let running = scope.spawn(|| played.runtime.ctr(&args));
        let found = starting(&played, &agent, |_| {});
        let elsewhere = starting(&played, &agent, |asked| asked.container.id = "other".into());
        let unknown = starting(&played, &agent, |asked| {
            asked.gated = vec![estate::Digest::of("no such chain")];
        });
        played.set("wait", false);
        running.join().unwrap();
        let pid = played.runtime.processes(&id)[0];
        let whole = played.runtime.measure(&agent, pid);
        played.runtime.remove(&id);
        assert!(matches!(elsewhere, Err(ProbeError::Caller(_))));
        assert!(matches!(unknown, Err(ProbeError::Caller(_))));
        (found.unwrap(), whole)
    });
    assert_eq!(found.gated.into_iter().collect::<Vec<_>>(), [ours]);
    assert_eq!(found.facts.image, whole.image);
    assert_eq!(found.facts.image.unwrap().config, image.config);
    assert_eq!(found.facts.deviations.unwrap(), []);
    assert_eq!(found.facts.container, whole.container);
    assert_eq!(
        found.facts.interactive,
        Some(known(false, Strength::Strong))
    );
    assert_eq!(found.facts.privileged, Some(false));
    assert!(found.facts.exe.is_none() && found.facts.uid.is_none());

    let listed = Gated::read(&played.runtime.path("gated.json")).unwrap();
    let places = listed.layers()[0].places.clone().unwrap();
    assert_eq!(places.len(), 1);
    assert!(places[0].join("etc/text").exists(), "the very folder");
}
