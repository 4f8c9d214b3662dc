//! What a changed file of rules does to access.

use estate::{Change, Effect, ObjectKind, Verb};
use policy::{Policies, changes_between};

use crate::{RULES, load_with};

const DENY: &str = "@id(\"no-dal\") forbid (principal, action == Action::\"lease\", resource in DataSet::\"medical-records\") when { principal in Location::\"FRA02\" };\n";
const PERMIT: &str = "@id(\"more\") permit (principal in ImageSet::\"medrec\", action == Action::\"read\", resource in DataSet::\"medical-records\");\n";

#[track_caller]
fn rules(text: &str) -> Policies {
    load_with(&[(RULES, text)]).unwrap()
}

#[track_caller]
fn effect(old: &str, new: &str) -> Effect {
    let changes = changes_between(&rules(old), &rules(new));
    assert_eq!(changes.len(), 1, "{changes:?}");
    let change = changes.first().unwrap();
    assert_eq!(
        (change.kind, change.verb),
        (ObjectKind::Policy, Verb::Changed)
    );
    change.effect
}

#[test]
fn a_removed_permit_narrows_and_an_added_one_widens() {
    assert_eq!(effect(PERMIT, ""), Effect::Narrowing);
    assert_eq!(effect("", PERMIT), Effect::Widening);
}

#[test]
fn an_added_forbid_narrows_and_a_removed_one_widens() {
    assert_eq!(effect("", DENY), Effect::Narrowing);
    assert_eq!(effect(DENY, ""), Effect::Widening);
    assert_eq!(effect(PERMIT, DENY), Effect::Narrowing);
    assert_eq!(effect(DENY, PERMIT), Effect::Widening);
}

#[test]
fn another_order_comments_and_spaces_are_neutral() {
    let (one, other) = (format!("{PERMIT}{DENY}"), format!("{DENY}{PERMIT}"));
    assert_eq!(effect(&one, &other), Effect::Neutral);
    assert_eq!(
        effect(PERMIT, &format!("// why\n{PERMIT}")),
        Effect::Neutral
    );
    assert_eq!(
        effect(PERMIT, &PERMIT.replace(" permit (", "\npermit(")),
        Effect::Neutral
    );
}

#[test]
fn a_changed_reason_is_neutral() {
    let with = |reason: &str| PERMIT.replace(" permit", &format!(" @reason(\"{reason}\") permit"));
    assert_eq!(effect(&with("DPIA-1"), &with("DPIA-2")), Effect::Neutral);
}

#[test]
fn a_changed_condition_widens() {
    let with = |place: &str| {
        PERMIT.replace(
            ");\n",
            &format!(") when {{ principal in Location::\"{place}\" }};\n"),
        )
    };
    assert_eq!(effect(&with("DAL05"), &with("FRA02")), Effect::Widening);
    // Narrower to a reader, but nobody has shown it.
    assert_eq!(effect(PERMIT, &with("DAL05")), Effect::Widening);
    assert_eq!(effect(DENY, &DENY.replace("FRA02", "EU")), Effect::Widening);
}

#[test]
fn a_permit_that_turns_into_a_forbid_and_back() {
    let forbid = PERMIT.replace(" permit", " forbid");
    assert_eq!(effect(PERMIT, &forbid), Effect::Narrowing);
    assert_eq!(effect(&forbid, PERMIT), Effect::Widening);
}

/// An evaluation that errs denies, so a permit that errs is a forbid in disguise.
#[test]
fn a_removed_permit_that_may_err_widens() {
    let errs = PERMIT.replace(
        ");\n",
        ") when { context.now.offset(duration(\"1d\")) > datetime(\"2020-01-01\") };\n",
    );
    assert_eq!(effect(&errs, ""), Effect::Widening);
    let harmless = PERMIT.replace(
        ");\n",
        ") when { context.now > datetime(\"2020-01-01\") };\n",
    );
    assert_eq!(effect(&harmless, ""), Effect::Narrowing);
}

#[test]
fn guardrails_that_come_narrow_that_go_widen_and_that_change_are_compared() {
    let path = "policies/guardrails.cedar";
    let one = "@id(\"a\") forbid (principal, action == Action::\"read\", resource);\n";
    let two =
        format!("{one}@id(\"b\") forbid (principal, action == Action::\"lease\", resource);\n");
    let (none, one, two) = (
        load_with(&[]).unwrap(),
        load_with(&[(path, one)]).unwrap(),
        load_with(&[(path, &two)]).unwrap(),
    );
    let effects = |old, new| -> Vec<Effect> {
        let changes = changes_between(old, new);
        changes
            .into_iter()
            .map(|Change { effect, .. }| effect)
            .collect()
    };
    assert_eq!(effects(&none, &one), [Effect::Narrowing]);
    assert_eq!(effects(&one, &two), [Effect::Narrowing]);
    assert_eq!(effects(&two, &one), [Effect::Widening]);
    assert_eq!(effects(&one, &none), [Effect::Widening]);
    assert_eq!(effects(&one, &one), []);
}
