//! What a guardrail of the program misses, in words. Explains only; the guardrail itself has decided.

use estate::{DataSet, RuleId, Timestamp};
use evidence::Action;

use crate::facts::{Facts, Measured};

pub(crate) fn shortcomings(
    rule: &RuleId,
    facts: &Facts,
    action: Action,
    dataset: Option<&DataSet>,
    now: Timestamp,
) -> Vec<String> {
    match rule.as_str() {
        "guardrail-boot" => vec!["the node's boot state is not attested".into()],
        "guardrail-fresh" => vec![staleness(facts, now)],
        "guardrail-assurance" => {
            let wanted = dataset.map_or(0, |dataset| dataset.min_assurance.level());
            vec![format!(
                "the node's place is known to level {}, level {wanted} is wanted",
                facts.node.assurance
            )]
        }
        "guardrail-workload" => facts
            .workload
            .as_ref()
            .map(|measured| of_workload(measured, action))
            .unwrap_or_default(),
        "guardrail-gate" => vec![
            "whether somebody had a hand inside is known from the runtime's events alone, not from the start gate".into(),
        ],
        _ => Vec::new(),
    }
}

fn staleness(facts: &Facts, now: Timestamp) -> String {
    match facts.node.quoted_at {
        None => "the node was never quoted".into(),
        Some(quoted) => match now.since(quoted) {
            None => "the node's last quote lies in the future".into(),
            Some(age) => format!(
                "the node's last quote is {} s old, 600 s at most is wanted",
                age.as_secs()
            ),
        },
    }
}

fn of_workload(measured: &Measured, action: Action) -> Vec<String> {
    let mut found = Vec::new();
    match measured.as_shipped {
        None => found.push("it was not compared with its image".to_owned()),
        Some(false) => found.push(format!(
            "it does not run as shipped ({})",
            measured.unshipped.join(", ")
        )),
        Some(true) => {}
    }
    if action != Action::Start {
        match measured.exe_from_image {
            None => {
                found.push("it is not known whether its executable comes from the image".to_owned())
            }
            Some(false) => found.push("its executable does not come from the image".to_owned()),
            Some(true) => {}
        }
    }
    match measured.interactive.map(|interactive| interactive.yes) {
        None => found.push("it is not known whether somebody had a hand inside".to_owned()),
        Some(true) => found.push("somebody had a hand inside (interactive)".to_owned()),
        Some(false) => {}
    }
    match measured.privileged {
        None => found.push("it is not known whether it has host-level power".to_owned()),
        Some(true) => found.push("it has host-level power (privileged)".to_owned()),
        Some(false) => {}
    }
    found
}
