//! The start gate in runc's place: a script plays runc and writes down what it was told and which marks it found.

use std::{
    fs,
    os::unix::{
        ffi::OsStringExt,
        fs::{PermissionsExt, symlink},
    },
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use agent::{AgentError, Delivered, GateAnswer, GateOperation, GateQuestion, ports::Outcome};
use containers::gate::{Gated, GatedLayer, HeldMark, MarksFolder};
use estate::Digest;
use evidence::{
    ContainerRef,
    request::{ExecRequest, Hand, Held},
};
use ledger::{Draft, Entropy};
use rpc::{
    gate_socket::{GateAgent, serve},
    unix::{self, Access},
};
use tempfile::TempDir;
use tlog::{Checkpoint, Receipt, leaf_hash};

use crate::workload::log;

/// A gate, and a script behind it.
struct Scene {
    folder: TempDir,
}

fn scene() -> Scene {
    let scene = Scene {
        folder: tempfile::tempdir().unwrap(),
    };
    let at = |name: &str| scene.at(name);
    symlink(env!("CARGO_BIN_EXE_bailiwick"), at("bailiwick-runc")).unwrap();
    // What was told, what was there already, and which descriptors are open.
    let script = format!(
        "#!/bin/sh\nprintf '%s\\0' \"$@\" > {0}/told\nls {0}/state/default/app > {0}/marks 2>/dev/null\nls /proc/$$/fd > {0}/open\nenv > {0}/environment\n",
        scene.folder.path().display()
    );
    fs::write(at("runc"), script).unwrap();
    fs::set_permissions(at("runc"), fs::Permissions::from_mode(0o755)).unwrap();
    let text = |name: &str| format!("{:?}", at(name).to_str().unwrap());
    let config = format!(
        "runtime = {}\nstate = {}\ngated = {}\nsocket = {}\ncontainerd = {}\nallow_lab = true\n",
        text("runc"),
        text("state"),
        text("gated.json"),
        text("gate.sock"),
        text("no-containerd")
    );
    fs::write(at("bailiwick-runc.toml"), config).unwrap();
    fs::create_dir_all(at("bundle/rootfs")).unwrap();
    let spec = r#"{"root":{"path":"rootfs"},"process":{"args":["app"],"env":["A=b"],"user":{"uid":7}},"mounts":[],"linux":{"namespaces":[{"type":"pid"}]}}"#;
    fs::write(at("bundle/config.json"), spec).unwrap();
    scene
}

impl Scene {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.at(name)).ok()
    }

    fn gate(&self) -> Command {
        let mut command = Command::new(self.at("bailiwick-runc"));
        let root = self.at("runc-root/default");
        command.arg("--root").arg(root);
        command.arg("--log").arg(self.at("log.json"));
        command.args(["--log-format", "json"]).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        let _ = fs::remove_file(self.at("told"));
        self.gate().args(words).output().unwrap()
    }

    fn create(&self) -> Output {
        let bundle = self.at("bundle");
        self.run(&["create", "--bundle", bundle.to_str().unwrap(), "app"])
    }

    /// The words that the runtime was told behind the global ones; `None` if it was not called.
    fn told(&self) -> Option<Vec<String>> {
        let told = self.text("told")?;
        let words = told.split_terminator('\0').skip(6);
        Some(words.map(str::to_owned).collect())
    }

    /// The last line of the runtime's log.
    fn logged(&self) -> serde_json::Value {
        let log = self.text("log.json").unwrap();
        serde_json::from_str(log.lines().last().unwrap()).unwrap()
    }

    /// A layer lies where the container's root will be.
    fn open_layer(&self) -> Digest {
        let chain = Digest::of("layer");
        let mut gated = Gated::default();
        gated.add(GatedLayer {
            chain,
            config: Digest::of("config"),
            image: "medrec".parse().unwrap(),
            places: Some(vec![self.at("bundle/rootfs").canonicalize().unwrap()]),
        });
        gated.write(&self.at("gated.json")).unwrap();
        chain
    }

    fn marks(&self) -> containers::gate::ContainerMarks {
        MarksFolder::new(self.at("state")).make(&app()).unwrap()
    }

    fn refused(&self, output: &Output, why: &str) {
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(self.told(), None, "the runtime was called");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(why), "{said}");
        let logged = self.logged();
        let member = |name: &str| logged.get(name).and_then(serde_json::Value::as_str);
        assert_eq!(member("level"), Some("error"));
        assert_eq!(member("msg"), Some(said.trim_end()));
        assert!(member("time").is_some());
    }
}

fn app() -> ContainerRef {
    ContainerRef {
        runtime_namespace: "default".to_owned(),
        id: "app".to_owned(),
    }
}

#[test]
fn arguments_environment_and_descriptors_reach_the_runtime_unchanged() {
    let scene = scene();
    let odd = std::ffi::OsString::from_vec(vec![b'a', 0xff, b' ', b'"']);
    for through_gate in [false, true] {
        let program = scene.at(if through_gate {
            "bailiwick-runc"
        } else {
            "runc"
        });
        // A descriptor that the runtime is to have, as containerd gives one.
        let done = Command::new("/bin/sh")
            .args(["-c", "exec \"$@\" 7</dev/null", "sh"])
            .arg(&program)
            .args(["--root", "/r", "state", ""])
            .arg(&odd)
            .env_clear()
            .env("ODD", "a b\"c")
            .status()
            .unwrap();
        assert!(done.success());
        let kept = |name: &str| fs::read(scene.at(name)).unwrap();
        let seen = ["told", "open", "environment"].map(kept);
        let before = scene.at("before");
        if through_gate {
            let expected: Vec<u8> = ["told", "open", "environment"]
                .iter()
                .flat_map(|name| fs::read(before.join(name)).unwrap())
                .collect();
            assert_eq!(seen.concat(), expected);
        } else {
            fs::create_dir(&before).unwrap();
            for name in ["told", "open", "environment"] {
                fs::rename(scene.at(name), before.join(name)).unwrap();
            }
        }
    }
}

#[test]
fn a_container_without_opened_layers_is_marked_and_made_without_an_agent() {
    let scene = scene();
    let done = scene.create();
    assert!(done.status.success() && done.stderr.is_empty());
    let bundle = scene.at("bundle").to_str().unwrap().to_owned();
    assert_eq!(
        scene.told().unwrap(),
        ["create", "--bundle", &bundle, "app"]
    );
    assert_eq!(scene.text("marks").unwrap(), "created\n");
    let created = scene.marks().created().unwrap().unwrap();
    assert_eq!(created.bundle, scene.at("bundle"));
    assert_eq!(
        created.spec,
        Digest::of(fs::read(scene.at("bundle/config.json")).unwrap())
    );
    assert_eq!(created.gated, []);
}

#[test]
fn a_hand_is_marked_before_the_runtime_lets_it_in() {
    let scene = scene();
    assert!(scene.create().status.success());
    for (words, hand) in [
        (&["exec", "app", "id", "-u"] as &[&str], "exec"),
        (&["checkpoint", "--image-path", "/i", "app"], "checkpoint"),
    ] {
        assert!(scene.run(words).status.success());
        assert_eq!(scene.told().unwrap(), words);
        assert_eq!(scene.text("marks").unwrap(), "created\ntouched\n");
        let touched = scene.text("state/default/app/touched").unwrap();
        assert!(touched.lines().last().unwrap().contains(hand), "{touched}");
    }
    // A new life of the same container does not wipe it away.
    assert!(scene.create().status.success());
    assert!(scene.marks().touched().unwrap());
}

/// Else a second `create` of the same name, which the runtime refuses, would make an ungated container of it.
#[test]
fn a_container_that_is_there_keeps_its_mark() {
    let scene = scene();
    assert!(scene.create().status.success());
    let before = scene.marks().created().unwrap();
    fs::create_dir_all(scene.at("runc-root/default/app")).unwrap();
    fs::write(scene.at("runc-root/default/app/state.json"), "{}").unwrap();
    fs::write(
        scene.at("bundle/config.json"),
        r#"{"root":{"path":"other"}}"#,
    )
    .unwrap();
    scene.refused(&scene.create(), "exists already");
    assert_eq!(scene.marks().created().unwrap(), before);
}

#[test]
fn a_restored_container_is_touched() {
    let scene = scene();
    let bundle = scene.at("bundle");
    let words = ["restore", "--bundle", bundle.to_str().unwrap(), "app"];
    assert!(scene.run(&words).status.success());
    assert_eq!(scene.text("marks").unwrap(), "created\ntouched\n");
}

#[test]
fn without_an_agent_nothing_with_an_opened_layer_starts_or_is_entered() {
    let scene = scene();
    assert!(scene.create().status.success());
    let chain = scene.open_layer();
    scene.refused(&scene.create(), "no agent answers");
    assert_eq!(
        scene.marks().created().unwrap(),
        None,
        "no mark of what was not made"
    );
    // One that was made before the layer was opened; then one whose layers the list has lost.
    fs::remove_file(scene.at("gated.json")).unwrap();
    assert!(scene.create().status.success());
    scene.open_layer();
    scene.refused(&scene.run(&["exec", "app", "sh"]), "no agent answers");
    scene.refused(&scene.run(&["checkpoint", "app"]), "no agent answers");
    let mut created = scene.marks().created().unwrap().unwrap();
    created.gated = vec![chain];
    scene.marks().write_created(&created).unwrap();
    fs::remove_file(scene.at("gated.json")).unwrap();
    scene.refused(&scene.run(&["exec", "app", "sh"]), "no agent answers");
    assert!(!scene.marks().touched().unwrap(), "nobody was let in");
    assert!(scene.run(&["state", "app"]).status.success());
    assert!(scene.run(&["kill", "app", "KILL"]).status.success());
}

/// Else its next secret would be refused for the kubelet's look at its health.
#[test]
fn an_allowed_probe_is_no_hand_where_nothing_is_held() {
    let scene = scene();
    assert!(scene.create().status.success());
    let mark = HeldMark {
        version: 1,
        probes: vec![vec!["/healthy".to_owned(), "now".to_owned()]],
        ..HeldMark::default()
    };
    scene.marks().write_held(&mark).unwrap();
    let probe = scene.run(&["exec", "app", "/healthy", "now"]);
    assert!(probe.status.success() && !scene.marks().touched().unwrap());
    let other = scene.run(&["exec", "--tty", "app", "/healthy", "now"]);
    assert!(other.status.success() && scene.marks().touched().unwrap());
}

#[test]
fn what_holds_a_secret_is_entered_by_its_probe_alone() {
    let scene = scene();
    assert!(scene.create().status.success());
    let mark = HeldMark {
        version: 1,
        held: Held {
            secrets: vec!["db-password".parse().unwrap()],
            leases: Vec::new(),
        },
        probes: vec![vec!["/healthy".to_owned(), "now".to_owned()]],
    };
    scene.marks().write_held(&mark).unwrap();
    assert!(
        scene
            .run(&["exec", "app", "/healthy", "now"])
            .status
            .success()
    );
    assert!(scene.told().is_some() && !scene.marks().touched().unwrap());
    for words in [
        &["exec", "app", "/healthy"] as &[&str],
        &["exec", "app", "/healthy", "now", "sh"],
        &["exec", "--tty", "app", "/healthy", "now"],
        &["exec", "--env", "LD_PRELOAD=/x", "app", "/healthy", "now"],
        &["checkpoint", "app"],
    ] {
        scene.refused(&scene.run(words), "no agent answers");
    }
    let process = |others: &str| {
        let text = format!(r#"{{"args":["/healthy","now"],{others}}}"#);
        fs::write(scene.at("process.json"), text).unwrap();
        let file = scene.at("process.json");
        scene.run(&["exec", "--process", file.to_str().unwrap(), "app"])
    };
    let own = r#""env":["A=b"],"user":{"uid":7}"#;
    assert!(
        process(&format!(r#""terminal":false,{own}"#))
            .status
            .success()
    );
    assert!(process(own).status.success());
    for others in [
        format!(r#""terminal":true,{own}"#),
        own.replace("A=b", "LD_PRELOAD=/x"),
        own.replace('7', "0"),
        format!(r#"{own},"capabilities":{{"effective":["CAP_SYS_ADMIN"]}}"#),
        r#""cwd":"/""#.to_owned(),
    ] {
        scene.refused(&process(&others), "no agent answers");
    }
    assert!(!scene.marks().touched().unwrap());
    // What can't be read is never "nothing".
    fs::write(scene.at("state/default/app/held"), "{}").unwrap();
    scene.refused(&scene.run(&["exec", "app", "/healthy", "now"]), "malformed");
}

#[test]
fn what_is_not_understood_is_refused_with_its_reason() {
    let scene = scene();
    scene.refused(&scene.run(&["create", "--surprise", "app"]), "--surprise");
    scene.refused(
        &scene.run(&["create", "--bundle", "/nonexistent", "app"]),
        "config.json",
    );
    fs::write(scene.at("gated.json"), "[]").unwrap();
    fs::set_permissions(scene.at("gated.json"), fs::Permissions::from_mode(0o600)).unwrap();
    scene.refused(&scene.create(), "malformed");
    fs::remove_file(scene.at("gated.json")).unwrap();
    fs::remove_file(scene.at("runc")).unwrap();
    scene.refused(&scene.create(), "does not start");
    fs::write(scene.at("bailiwick-runc.toml"), "runtime = 1\n").unwrap();
    scene.refused(&scene.run(&["state", "app"]), "configuration");
}

#[test]
#[ignore = "kills many processes; run by make test"]
fn killed_at_any_moment_the_gate_leaves_no_container_without_a_mark() {
    let scene = scene();
    let mut made = 0;
    for step in 0..120_u64 {
        let _ = fs::remove_dir_all(scene.at("state"));
        for name in ["told", "marks"] {
            let _ = fs::remove_file(scene.at(name));
        }
        let mut gate = scene
            .gate()
            .args(["create", "--bundle"])
            .arg(scene.at("bundle"))
            .arg("app")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(step * 100));
        gate.kill().unwrap();
        gate.wait().unwrap();
        if scene.told().is_some() {
            made += 1;
            let created = scene.marks().created().unwrap();
            assert!(created.is_some(), "made without a mark at step {step}");
        }
    }
    assert!(
        (1..120).contains(&made),
        "the kills were all early or all late: {made}"
    );
}

/// An agent that says what it is told to say, and remembers what it was asked.
struct Judge {
    answer: Mutex<Result<(bool, bool), AgentError>>,
    asked: Mutex<Vec<GateQuestion>>,
}

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(9);
    }
}

fn on_record(request: Vec<u8>) -> Delivered {
    let log = log();
    let leaf = Draft::new("start", &Fixed)
        .seal(estate::Timestamp::from_seconds(5))
        .unwrap()
        .bytes;
    let checkpoint = Checkpoint::new(log.name(), 1, leaf_hash(&leaf))
        .unwrap()
        .sign(&log)
        .unwrap();
    Delivered {
        request,
        proof: Receipt::new(0, Vec::new(), checkpoint).to_text(),
        leaf,
        ledger_key: log.verifier_key().to_string(),
        lab: true,
        outcome: Outcome::Plain(Vec::new()),
    }
}

impl GateAgent for Judge {
    type Caller = ();

    async fn gate(&self, (): &(), question: GateQuestion) -> Result<GateAnswer, AgentError> {
        let request = match question.operation {
            GateOperation::Create => br#"{"v":1,"image":"medrec"}"#.to_vec(),
            _ => serde_json::to_vec(&ExecRequest {
                v: 1,
                hand: Hand::Exec,
                argv: question.argv.clone(),
                images: Vec::new(),
                held: Held::default(),
            })
            .unwrap(),
        };
        self.asked.lock().unwrap().push(question);
        let (probe, exposed) = self.answer.lock().unwrap().clone()?;
        Ok(GateAnswer {
            probe,
            exposed,
            records: vec![on_record(request)],
        })
    }
}

fn with_agent(scene: &Scene, work: impl FnOnce(&Judge)) {
    let judge = Arc::new(Judge {
        answer: Mutex::new(Ok((false, false))),
        asked: Mutex::default(),
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = {
        let _inside = runtime.enter();
        unix::listen(&scene.at("gate.sock"), Access::Root).unwrap()
    };
    runtime.spawn(serve(
        Arc::clone(&judge),
        listener,
        |_| (),
        std::future::pending(),
    ));
    work(&judge);
    runtime.shutdown_background();
}

#[test]
#[ignore = "needs root: the agent answers nobody else; run by make test"]
fn the_agents_word_decides_and_is_marked() {
    let scene = scene();
    let chain = scene.open_layer();
    with_agent(&scene, |judge| {
        assert!(scene.create().status.success());
        assert_eq!(scene.text("marks").unwrap(), "created\n");
        assert_eq!(scene.marks().created().unwrap().unwrap().gated, [chain]);
        let asked = judge.asked.lock().unwrap().pop().unwrap();
        assert_eq!(
            (asked.operation, asked.container),
            (GateOperation::Create, app())
        );
        assert_eq!(
            (asked.bundle, asked.gated),
            (scene.at("bundle"), vec![chain])
        );

        *judge.answer.lock().unwrap() = Ok((true, false));
        assert!(scene.run(&["exec", "app", "/healthy"]).status.success());
        assert!(!scene.marks().touched().unwrap(), "a probe is no hand");
        let with_terminal = scene.run(&["exec", "-t", "app", "/healthy"]);
        scene.refused(
            &with_terminal,
            "allowed as a probe, but not with a terminal",
        );
        *judge.answer.lock().unwrap() = Ok((false, true));
        assert!(scene.run(&["exec", "app", "sh"]).status.success());
        assert!(scene.marks().touched().unwrap());

        let denied = AgentError::Denied {
            code: "denied".to_owned(),
            reason: "no hand into `medical-records`".to_owned(),
            receipt: None,
        };
        *judge.answer.lock().unwrap() = Err(denied);
        scene.refused(
            &scene.run(&["exec", "app", "sh"]),
            "denied: no hand into `medical-records`",
        );
        scene.refused(&scene.create(), "denied: no hand");
        assert_eq!(scene.marks().created().unwrap(), None);
    });
}

#[test]
#[ignore = "needs root: the agent answers nobody else; run by make test"]
fn a_ledger_that_is_not_pinned_lets_nothing_pass() {
    let scene = scene();
    scene.open_layer();
    let path = scene.at("bailiwick-runc.toml");
    let other = tlog::Signer::from_seed("td.lab/log", &[4; 32]).unwrap();
    let pinned = format!(
        "{}ledger_key = \"{}\"\n",
        fs::read_to_string(&path).unwrap(),
        other.verifier_key()
    );
    with_agent(&scene, |_| {
        assert!(scene.create().status.success());
        let unpinned = fs::read_to_string(&path).unwrap();
        fs::write(&path, pinned).unwrap();
        scene.refused(&scene.create(), "not shown to be on record");
        fs::write(&path, unpinned.replace("allow_lab = true", "")).unwrap();
        scene.refused(&scene.create(), "comes from a lab");
    });
}

#[test]
fn doctor_finds_what_is_wrong_and_sets_the_handlers_right() {
    let scene = scene();
    let config = scene.at("containerd.toml");
    fs::write(&config, "version = 2\n").unwrap();
    let doctor = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_bailiwick"))
            .args(["doctor", "containerd", "--output", "json", "--config"])
            .arg(&config)
            .arg("--agent-config")
            .arg(scene.at("agent.toml"))
            .arg("--gate")
            .arg(scene.at("bailiwick-runc"))
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let state = |output: &Output, what: &str| -> String {
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report.get("ok"), Some(&false.into()));
        let checks = report.get("checks").unwrap().as_array().unwrap();
        let text = |check: &serde_json::Value, key: &str| -> String {
            check.get(key).unwrap().as_str().unwrap().to_owned()
        };
        let check = checks.iter().find(|check| text(check, "what") == what);
        text(check.unwrap(), "state")
    };
    let first = doctor(&[]);
    assert_eq!(first.status.code(), Some(1));
    assert_eq!(state(&first, "runtime handler runc"), "wrong");
    assert_eq!(state(&first, "runtime behind the gate"), "ok");
    assert_eq!(state(&first, "agent's gate socket"), "wrong");

    let unasked = doctor(&["--fix"]);
    assert_eq!(unasked.status.code(), Some(2));
    assert_eq!(fs::read_to_string(&config).unwrap(), "version = 2\n");

    // A gate that would refuse everything is put before no container.
    let ready = fs::read(scene.at("bailiwick-runc.toml")).unwrap();
    fs::write(scene.at("bailiwick-runc.toml"), "runtime = 1").unwrap();
    let unready = doctor(&["--fix", "--yes"]);
    assert_eq!(unready.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unready.stderr);
    assert!(said.contains("no container would start"), "{said}");
    assert_eq!(fs::read_to_string(&config).unwrap(), "version = 2\n");
    fs::write(scene.at("bailiwick-runc.toml"), ready).unwrap();

    let fixed = doctor(&["--fix", "--yes"]);
    let said = String::from_utf8_lossy(&fixed.stderr);
    assert!(
        said.contains("+BinaryName = ") && said.contains("restart containerd"),
        "{said}"
    );
    assert_eq!(state(&fixed, "runtime handler runc"), "ok");
    let backup = fs::read_to_string(scene.at("containerd.toml.bak-1")).unwrap();
    assert_eq!(backup, "version = 2\n");
}
