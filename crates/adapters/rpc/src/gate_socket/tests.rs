//! Both halves against each other, and each against nonsense.

use std::sync::{Arc, Mutex};

use agent::{AgentError, Delivered, GateAnswer, ports::Outcome};
use evidence::request::Held;
use ledger::{Draft, Entropy};
use tlog::{Checkpoint, Receipt, Signer, leaf_hash};

use super::{
    server::{parse_request, reply},
    *,
};
use crate::released::Lab;

fn question(operation: GateOperation, gated: &[Digest], argv: &[&str]) -> GateQuestion {
    GateQuestion {
        operation,
        container: ContainerRef {
            runtime_namespace: "k8s.io".to_owned(),
            id: "app".to_owned(),
        },
        bundle: PathBuf::from("/run/bundle"),
        gated: gated.to_vec(),
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
    }
}

fn exec(argv: &[&str]) -> GateQuestion {
    question(GateOperation::Exec, &[Digest::of("layer")], argv)
}

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

fn log() -> Signer {
    Signer::from_seed("td.example/log", &[7; 32]).unwrap()
}

fn delivered(request: Vec<u8>) -> Delivered {
    let log = log();
    let leaf = Draft::new("exec-permitted", &Fixed)
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
        lab: false,
        outcome: Outcome::Plain(Vec::new()),
    }
}

fn exec_request(hand: Hand, argv: &[&str]) -> Vec<u8> {
    let request = ExecRequest {
        v: 1,
        hand,
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        images: Vec::new(),
        held: Held::default(),
    };
    serde_json::to_vec(&request).unwrap()
}

fn start_request() -> Vec<u8> {
    br#"{"v":1,"image":"medrec"}"#.to_vec()
}

/// What the client makes of an answer, without a socket in between.
fn told(
    question: &GateQuestion,
    answer: Result<GateAnswer, AgentError>,
    trust: &Trust,
) -> Result<Passed, GateSocketError> {
    let passed = parse_reply(&serde_json::to_vec(&reply(answer)).unwrap())?;
    for record in passed.records() {
        trust.verify(record).map_err(GateSocketError::Untrusted)?;
    }
    rests_on_records(question, &passed)?;
    Ok(passed)
}

fn answer(records: Vec<Delivered>) -> Result<GateAnswer, AgentError> {
    Ok(GateAnswer {
        records,
        ..GateAnswer::default()
    })
}

#[test]
fn a_permit_counts_with_a_record_of_the_very_question() {
    let trust = Trust::in_agent(Lab::Refused);
    let asked = exec(&["/bin/sh"]);
    let right = delivered(exec_request(Hand::Exec, &["/bin/sh"]));
    assert!(told(&asked, answer(vec![right.clone()]), &trust).is_ok());

    let bad = [
        vec![],
        vec![delivered(exec_request(Hand::Exec, &["/bin/true"]))],
        vec![delivered(exec_request(Hand::Checkpoint, &["/bin/sh"]))],
        vec![delivered(start_request())],
        vec![right, delivered(b"{}".to_vec())],
    ];
    for records in bad {
        let told = told(&asked, answer(records), &trust);
        assert!(matches!(told, Err(GateSocketError::NoRecord)), "{told:?}");
    }
    let create = question(GateOperation::Create, &[Digest::of("layer")], &[]);
    assert!(told(&create, answer(vec![delivered(start_request())]), &trust).is_ok());
    let other = answer(vec![delivered(exec_request(Hand::Join, &[]))]);
    assert!(told(&create, other, &trust).is_err());
}

#[test]
fn without_known_layers_and_for_a_probe_of_the_image_nothing_need_be_on_record() {
    let trust = Trust::in_agent(Lab::Refused);
    let unknown = question(GateOperation::Create, &[], &[]);
    assert!(told(&unknown, answer(Vec::new()), &trust).is_ok());
    let probe = GateAnswer {
        probe: true,
        ..GateAnswer::default()
    };
    let passed = told(&exec(&["/healthy"]), Ok(probe.clone()), &trust).unwrap();
    assert!(passed.is_probe());
    // Only a command can be a probe.
    assert!(told(&unknown, Ok(probe), &trust).is_err());
    let exposed = GateAnswer {
        exposed: true,
        ..GateAnswer::default()
    };
    assert!(told(&unknown, Ok(exposed), &trust).is_err());
}

#[test]
fn a_record_that_is_not_on_record_lets_nothing_pass() {
    let asked = exec(&["/bin/sh"]);
    let right = delivered(exec_request(Hand::Exec, &["/bin/sh"]));
    let altered = Delivered {
        leaf: delivered(Vec::new()).leaf.split_last().unwrap().1.to_vec(),
        ..right.clone()
    };
    let lab = Delivered {
        lab: true,
        ..right.clone()
    };
    let other_log = Trust::in_ledger(
        Signer::from_seed("td.example/log", &[8; 32])
            .unwrap()
            .verifier_key(),
        Lab::Refused,
    );
    let in_agent = Trust::in_agent(Lab::Refused);
    for (record, trust) in [(altered, &in_agent), (lab, &in_agent), (right, &other_log)] {
        let told = told(&asked, answer(vec![record]), trust);
        assert!(
            matches!(told, Err(GateSocketError::Untrusted(_))),
            "{told:?}"
        );
    }
}

#[test]
fn each_refusal_keeps_its_kind() {
    let trust = Trust::in_agent(Lab::Refused);
    let asked = exec(&["/bin/sh"]);
    let mut kinds = Vec::new();
    for error in [
        AgentError::Denied {
            code: "denied".to_owned(),
            reason: "no".to_owned(),
            receipt: Some((b"leaf".to_vec(), "proof".to_owned())),
        },
        AgentError::Banned,
        AgentError::NotAttested,
        AgentError::Unavailable("away".to_owned()),
        AgentError::Caller("who".to_owned()),
    ] {
        kinds.push(match told(&asked, Err(error), &trust).unwrap_err() {
            GateSocketError::Denied { .. } => "denied",
            GateSocketError::Unavailable(_) => "unavailable",
            GateSocketError::Refused(_) => "refused",
            other => panic!("{other}"),
        });
    }
    let expected = ["denied", "denied", "unavailable", "unavailable", "refused"];
    assert_eq!(kinds, expected);
}

#[test]
fn a_question_comes_over_as_it_was_asked() {
    let questions = [
        exec(&["/bin/sh", "-c", "echo \u{1f6aa}"]),
        question(GateOperation::Restore, &[], &[]),
    ];
    for asked in questions {
        let body = serde_json::to_vec(&GateRequest::of(&asked)).unwrap();
        assert_eq!(parse_request(&body).unwrap(), asked);
    }
}

#[test]
fn a_question_has_one_version_and_one_command() {
    let good = r#"{"v":1,"operation":"create","namespace":"k8s.io","container":"a","bundle":"/b","gated":[],"argv":[]}"#;
    assert!(parse_request(good.as_bytes()).is_ok());
    for (from, to) in [
        (r#""v":1"#, r#""v":2"#),
        (r#""v":1,"#, ""),
        (r#""create""#, r#""start""#),
        (r#""argv":[]"#, r#""argv":["sh"]"#),
        (r#""argv":[]"#, r#""argv":[],"argv":[]"#),
        (r#""argv":[]"#, r#""argv":[],"more":1"#),
        (r#""gated":[]"#, r#""gated":["latest"]"#),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(parse_request(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// Remembers what it was asked.
#[derive(Default)]
struct Agent(Mutex<Vec<GateQuestion>>);

impl GateAgent for Agent {
    type Caller = u32;

    async fn gate(&self, caller: &u32, question: GateQuestion) -> Result<GateAnswer, AgentError> {
        assert_eq!(*caller, std::process::id());
        let argv: Vec<&str> = question.argv.iter().map(String::as_str).collect();
        let record = delivered(exec_request(Hand::Exec, &argv));
        self.0.lock().unwrap().push(question);
        answer(vec![record])
    }
}

#[tokio::test]
async fn root_is_answered_over_a_socket_and_nobody_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let listener = crate::unix::listen(&path, crate::unix::Access::Root).unwrap();
    let agent = Arc::new(Agent::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(
        Arc::clone(&agent),
        listener,
        |peer| peer.pid(),
        async {
            let _ = stopped.await;
        },
    ));
    let asked = exec(&["/bin/sh"]);
    let told = {
        let (path, asked) = (path.clone(), asked.clone());
        tokio::task::spawn_blocking(move || {
            let client = GateClient::new(&path);
            client.reach()?;
            client.ask(&asked, &Trust::in_agent(Lab::Refused))
        })
    };
    let told = told.await.unwrap();
    let questions = std::mem::take(&mut *agent.0.lock().unwrap());
    if rustix::process::geteuid().is_root() {
        assert_eq!(told.unwrap().records().len(), 1);
        assert_eq!(questions, [asked]);
    } else {
        assert!(matches!(told, Err(GateSocketError::Broken(_))), "{told:?}");
        assert_eq!(questions, []);
    }
    stop.send(()).unwrap();
    served.await.unwrap();
    let away = GateClient::new(&path).reach().unwrap_err();
    assert!(away.is_agent_away());
}

proptest::proptest! {
    #[test]
    fn hostile_messages_are_errors(body: Vec<u8>, text: String) {
        for body in [body.as_slice(), text.as_bytes()] {
            proptest::prop_assert!(parse_request(body).is_err());
            proptest::prop_assert!(parse_reply(body).is_err());
        }
    }

    #[test]
    fn a_message_that_is_cut_or_altered_passes_nothing(cut in 0_usize..60, byte: u8, at in 0_usize..60) {
        let good = serde_json::to_vec(&reply(answer(Vec::new()))).unwrap();
        let cut = &good[..cut.min(good.len() - 1)];
        proptest::prop_assert!(parse_reply(cut).is_err());
        let mut altered = good.clone();
        let at = at % altered.len();
        altered[at] = byte;
        // Blanks aside, only the same bytes mean the same.
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        proptest::prop_assert!(altered == good || blank || parse_reply(&altered).is_err());
    }
}
