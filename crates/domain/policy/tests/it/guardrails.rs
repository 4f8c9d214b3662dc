//! Guardrails hold for every action; absent facts satisfy none of them.

use std::time::Duration;

use estate::Assurance;
use evidence::{Action, Attestor, Interactive, Strength};
use policy::{Facts, Policies, Target};

use crate::{RULES, credential, image_key, load_with, node_itself, now, secret, sentence};

/// A data set whose own rules permit everything, so that only guardrails can say no.
fn open_house() -> Policies {
    load_with(&[(
        RULES,
        "@id(\"all\") permit (principal, action, resource in DataSet::\"medical-records\");",
    )])
    .unwrap()
}

fn everything() -> [(Action, Target, Facts); 5] {
    [
        (Action::Open, image_key(), node_itself()),
        (Action::Start, image_key(), sentence()),
        (Action::Read, secret("db/x"), sentence()),
        (Action::Lease, credential(), sentence()),
        (Action::Issue, Target::Identity, sentence()),
    ]
}

/// The guardrail that denies each action after a change of the facts.
fn denied_by(change: impl Fn(&mut Facts)) -> Vec<(Action, Option<String>)> {
    let policies = open_house();
    everything()
        .into_iter()
        .map(|(action, target, mut facts)| {
            change(&mut facts);
            let answer = policies.evaluate(&facts, action, &target, now());
            (
                action,
                answer
                    .denied_by()
                    .map(|why| why.rule().unwrap().to_string()),
            )
        })
        .collect()
}

#[track_caller]
fn all_denied(guardrail: &str, change: impl Fn(&mut Facts)) {
    for (action, denied) in denied_by(change) {
        assert_eq!(denied.as_deref(), Some(guardrail), "{action:?}");
    }
}

#[track_caller]
fn workloads_denied(change: impl Fn(&mut policy::Measured)) {
    for (action, denied) in denied_by(|facts| facts.workload.iter_mut().for_each(&change)) {
        let wanted = (action != Action::Open).then_some("guardrail-workload");
        assert_eq!(denied.as_deref(), wanted, "{action:?}");
    }
}

#[test]
fn good_facts_pass() {
    assert!(denied_by(|_| {}).iter().all(|(_, denied)| denied.is_none()));
}

#[test]
fn a_node_without_attested_boot_gets_nothing() {
    all_denied("guardrail-boot", |facts| facts.node.boot = None);
}

#[test]
fn a_stale_absent_or_future_quote_gets_nothing() {
    all_denied("guardrail-fresh", |facts| facts.node.quoted_at = None);
    all_denied("guardrail-fresh", |facts| {
        facts.node.quoted_at = Some(now().minus(Duration::from_millis(600_001)))
    });
    all_denied("guardrail-fresh", |facts| {
        facts.node.quoted_at = Some(now().plus(Duration::from_millis(1)))
    });
    let at_the_limit =
        denied_by(|facts| facts.node.quoted_at = Some(now().minus(Duration::from_secs(600))));
    assert!(at_the_limit.iter().all(|(_, denied)| denied.is_none()));
}

#[test]
fn a_place_known_too_badly_gets_no_data() {
    for (action, denied) in denied_by(|facts| facts.node.assurance = Assurance::CLOUD) {
        let wanted = (action != Action::Issue).then_some("guardrail-assurance");
        assert_eq!(denied.as_deref(), wanted, "{action:?}");
    }
}

#[test]
fn a_lab_node_with_a_token_has_an_identity_but_no_data() {
    let token = |facts: &mut Facts| {
        facts.node.attestor = Attestor::JoinToken;
        facts.node.assurance = Assurance::OWN_WORD;
        (facts.node.boot, facts.node.quoted_at) = (None, None);
    };
    for (action, denied) in denied_by(token) {
        let wanted = (action != Action::Issue).then_some("guardrail-assurance");
        assert_eq!(denied.as_deref(), wanted, "{action:?}");
    }
}

#[test]
fn a_workload_that_is_not_what_was_shipped_or_not_known_to_be_gets_nothing() {
    workloads_denied(|measured| measured.as_shipped = None);
    workloads_denied(|measured| measured.as_shipped = Some(false));
    workloads_denied(|measured| measured.interactive = None);
    workloads_denied(|measured| {
        measured.interactive = Some(Interactive {
            yes: true,
            strength: Strength::Strong,
        })
    });
    workloads_denied(|measured| measured.privileged = None);
    workloads_denied(|measured| measured.privileged = Some(true));
}

#[test]
fn a_program_from_elsewhere_gets_nothing_but_a_start_has_none_yet() {
    for value in [None, Some(false)] {
        for (action, denied) in denied_by(|facts| {
            facts
                .workload
                .iter_mut()
                .for_each(|measured| measured.exe_from_image = value);
        }) {
            let exempt = matches!(action, Action::Open | Action::Start);
            assert_eq!(
                denied.as_deref(),
                (!exempt).then_some("guardrail-workload"),
                "{action:?}"
            );
        }
    }
}

/// What only the runtime's events tell, which say nothing of what was before them.
fn weak(facts: &mut Facts) {
    let known = Interactive {
        yes: false,
        strength: Strength::Weak,
    };
    facts
        .workload
        .iter_mut()
        .for_each(|measured| measured.interactive = Some(known));
}

#[test]
fn confidential_data_is_for_workloads_that_the_start_gate_saw_begin() {
    for (action, denied) in denied_by(weak) {
        let exempt = matches!(action, Action::Open | Action::Issue);
        assert_eq!(
            denied.as_deref(),
            (!exempt).then_some("guardrail-gate"),
            "{action:?}"
        );
    }
}

#[test]
fn data_that_is_not_confidential_may_rest_on_events() {
    let policies = load_with(&[
        (
            RULES,
            "@id(\"all\") permit (principal, action, resource in DataSet::\"medical-records\");",
        ),
        ("datasets.toml", "confidential = false\n"),
    ]);
    let policies = policies.unwrap();
    for (action, target, mut facts) in everything() {
        weak(&mut facts);
        let answer = policies.evaluate(&facts, action, &target, now());
        assert!(answer.denied_by().is_none(), "{action:?}");
    }
}
