//! Any text as rules is answered, never with a panic, and never loosens a guardrail.

use evidence::Action;
use proptest::prelude::*;

use crate::{RULES, credential, load_with, now, sentence};

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "@id(\"new\")",
        "@id(\"x\")",
        "permit",
        "forbid",
        "(",
        ")",
        "principal",
        "action",
        "resource",
        ",",
        "in",
        "is",
        "==",
        "Workload",
        "Node",
        "Person",
        "ImageSet::\"medrec\"",
        "Action::\"lease\"",
        "DataSet::\"medical-records\"",
        "when",
        "unless",
        "{",
        "}",
        "true",
        "principal.node",
        "has",
        "boot",
        "&&",
        "||",
        "!",
        "1",
        ">",
        ";",
        "?principal",
        "\"\u{202e}\"",
        "context.now",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_words_as_rules_are_answered(words in prop::collection::vec(word(), 0..25)) {
        let _ = load_with(&[(RULES, &words.join(" "))]);
    }

    #[test]
    fn any_text_as_rules_is_answered(text in "\\PC{0,60}") {
        let _ = load_with(&[(RULES, &text)]);
    }

    /// Whatever a data set's owner writes, a workload with a hand inside gets nothing.
    #[test]
    fn no_rule_of_a_data_set_loosens_a_guardrail(
        effect in "permit",
        principal in prop::sample::select(vec!["principal", "principal is Workload", "principal in ImageSet::\"medrec\"", "principal in Location::\"DAL05\""]),
        condition in prop::sample::select(vec!["", "when { true }", "unless { false }", "when { principal has interactive && principal.interactive }"]),
    ) {
        let rule = format!("@id(\"new\") {effect} ({principal}, action == Action::\"lease\", resource in DataSet::\"medical-records\") {condition};");
        if let Ok(policies) = load_with(&[(RULES, &rule)]) {
            let mut facts = sentence();
            facts.workload.as_mut().unwrap().interactive = None;
            prop_assert!(!policies.evaluate(&facts, Action::Lease, &credential(), now()).is_allowed());
        }
    }
}
