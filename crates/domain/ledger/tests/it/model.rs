//! What every history must keep, told from the durable log and the answers alone.

use std::collections::BTreeSet;

use ledger::{Leaf, SealedLeaf};

/// What somebody was answered, and the leaf named with it. No answer and "unavailable" claim nothing.
pub(crate) struct Answer {
    pub(crate) outcome: &'static str,
    pub(crate) index: u64,
    pub(crate) leaf: Vec<u8>,
}

pub(crate) fn check(log: &[(u64, SealedLeaf)], answers: &[Answer]) -> Result<(), String> {
    let (mut time, mut banned, mut policy) = (i64::MIN, BTreeSet::new(), "1".to_owned());
    let mut outcomes = Vec::new();
    for (at, (index, sealed)) in log.iter().enumerate() {
        let leaf = Leaf::parse(&sealed.bytes).map_err(|error| error.to_string())?;
        let values = leaf.disclose(&sealed.disclosures);
        let values = values.map_err(|error| error.to_string())?;
        let value = |name: &str| {
            let found = values.iter().find(|value| value.name == name);
            found.map_or(String::new(), |found| {
                found.value.to_string().replace('"', "")
            })
        };
        let outcome = value("outcome");
        let granted = outcome == "granted";
        if *index != at as u64 {
            return Err(format!("leaf {at} has index {index}"));
        }
        if leaf.time < time {
            return Err(format!("time runs back at leaf {at}"));
        }
        if granted && banned.contains(&value("node")) {
            return Err(format!("leaf {at} grants to a node that was banned before"));
        }
        if granted && value("policy") != policy {
            return Err(format!(
                "leaf {at} grants by an estate that was replaced before"
            ));
        }
        let (change, approvers) = (value("change"), value("approvers"));
        if granted
            && (change, approvers.as_str()) != (format!("1{policy}"), "[chen@hospital.example]")
        {
            return Err(format!(
                "leaf {at} does not name the change and who signed it"
            ));
        }
        time = leaf.time;
        match (value("kind").as_str(), value("refused").as_str()) {
            ("node-ban", "") => drop(banned.insert(value("node"))),
            ("estate-apply", "") => policy = value("version"),
            _ => {}
        }
        outcomes.push(outcome);
    }
    for Answer {
        outcome,
        index,
        leaf,
    } in answers
    {
        let at = usize::try_from(*index).unwrap_or(usize::MAX);
        if log.get(at).is_none_or(|(_, sealed)| sealed.bytes != *leaf) {
            return Err(format!(
                "an answer names leaf {index}, which is not in the log"
            ));
        }
        if outcomes[at] != *outcome {
            return Err(format!(
                "leaf {index} says `{}`, its answer `{outcome}`",
                outcomes[at]
            ));
        }
    }
    Ok(())
}
