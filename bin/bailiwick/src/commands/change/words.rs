//! Changes in words: what they do, who must sign, and how.

use estate::{Change, Effect, PersonId};
use web::wire::{AccessChange, Applied, ChangeState, Diff, PendingChange};

use super::checked::CheckedChange;
use crate::{
    commands::estate::access_text,
    output::{lines, plain},
    signing,
};

/// A state in a word.
pub(crate) fn state(state: ChangeState) -> &'static str {
    match state {
        ChangeState::Waiting => "waiting",
        ChangeState::Applied => "applied",
        ChangeState::Rejected => "rejected",
        ChangeState::Void => "void",
        ChangeState::Expired => "expired",
    }
}

/// An effect in a word.
pub(crate) fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Neutral => "neutral",
        Effect::Narrowing => "narrows",
        Effect::Widening => "widens",
    }
}

/// What differs, and who gains and loses what: gains first, since they are what is signed for.
pub(crate) fn difference(changes: &[Change], access: &[AccessChange]) -> String {
    let changes = changes
        .iter()
        .map(|change| format!("{}\n", plain(&change.to_string())));
    changes.chain([access_list(access)]).collect()
}

fn access_list(access: &[AccessChange]) -> String {
    if access.is_empty() {
        return "nobody gains or loses anything on the nodes and image sets of today\n".to_owned();
    }
    let line = |change: &AccessChange| {
        let verb = if change.gains { "GAINS" } else { "loses" };
        format!("{verb} {}\n", plain(&access_text(&change.access)))
    };
    access.iter().map(line).collect()
}

/// An estate that is in force now.
pub(crate) fn applied(applied: &Applied) -> String {
    let pairs = [
        ("state", "applied".to_owned()),
        ("version", applied.version.to_string()),
        ("change", applied.number.to_string()),
        ("hash", applied.hash.to_string()),
        ("signed by", people(&applied.approvers)),
        ("leaf", applied.leaf.to_string()),
    ];
    let ended: String = applied
        .ended_leases
        .iter()
        .map(|lease| format!("ends lease {}\n", plain(lease)))
        .collect();
    let Diff {
        changes, access, ..
    } = &applied.diff;
    format!("{}{}{ended}", lines(&pairs), difference(changes, access))
}

/// A change that waits.
pub(crate) fn waiting(pending: &PendingChange) -> String {
    let pairs = [
        ("state", "waiting".to_owned()),
        ("change", pending.number.to_string()),
        ("hash", pending.hash.to_string()),
        ("effect", effect(pending.diff.effect).to_owned()),
        ("until", pending.expires.to_string()),
        ("signed by", people(&pending.signed)),
    ];
    let Diff {
        changes, access, ..
    } = &pending.diff;
    format!(
        "{}{}{}",
        lines(&pairs),
        difference(changes, access),
        needs("waits for", &pending.missing)
    )
}

/// A change with all that its signers should see.
pub(crate) fn shown(change: &CheckedChange) -> String {
    let answer = change.answer();
    let (listed, record) = (&answer.listed, &answer.record);
    let mut pairs = vec![
        ("state", state(listed.state).to_owned()),
        ("change", listed.number.to_string()),
        ("ledger", plain(&record.ledger)),
        ("hash", change.hash().to_owned()),
        ("effect", effect(record.effect()).to_owned()),
        ("by", listed.submitter.clone()),
        ("submitted", record.submitted.to_string()),
        ("until", record.expires.to_string()),
        (
            "from",
            format!("version {} ({})", record.base_version, record.base.0),
        ),
        ("to", record.result.0.to_string()),
        ("leaf", answer.leaf.to_string()),
    ];
    pairs.extend(
        listed
            .version
            .map(|version| ("version", version.to_string())),
    );
    format!(
        "{}{}{}{}",
        lines(&pairs),
        difference(&record.changes, &answer.access),
        signatures(change),
        needs("waits for", &listed.missing)
    )
}

/// Who signed, with which key.
fn signatures(change: &CheckedChange) -> String {
    let hash = change.hash();
    let line = |signed: &estate::ChangeSignature| match signing::parse(&signed.signature) {
        Ok(signature) if signing::checks(&signature, hash) => {
            let key = signature.public_key();
            format!("signed: {} with {}\n", signed.person, key.fingerprint())
        }
        _ => format!(
            "DOES NOT VERIFY: what is said to be the signature of {}\n",
            signed.person
        ),
    };
    change.answer().record.signatures.iter().map(line).collect()
}

/// A line for each text that says who must sign.
pub(crate) fn needs(word: &str, needs: &[String]) -> String {
    needs
        .iter()
        .map(|need| format!("{word} {}\n", plain(need)))
        .collect()
}

/// How whoever is missing signs: with this program, or without it.
pub(crate) fn how_to_sign(number: u64, hash: &str) {
    eprintln!("hint: bailiwick change approve {number} --sign KEY");
    eprintln!("hint: or: {}", signing::by_hand(number, hash));
    eprintln!("hint: and then: bailiwick change approve {number} --signature change-{number}.sig");
}

fn people(people: &[PersonId]) -> String {
    if people.is_empty() {
        return "nobody".to_owned();
    }
    let names: Vec<String> = people.iter().map(ToString::to_string).collect();
    names.join(", ")
}
