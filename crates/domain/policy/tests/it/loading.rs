//! Rules that are refused before they decide anything.

use policy::PolicyError;

use crate::{RULES, load_with, now, policies, sentence};

#[track_caller]
fn refused(rule: &str) -> PolicyError {
    load_with(&[(RULES, rule)]).map(|_| ()).unwrap_err()
}

fn named(head: &str) -> String {
    format!("@id(\"new\") permit ({head});")
}

#[test]
fn a_rule_for_a_person_is_refused_in_each_form() {
    for head in [
        "principal is Person, action == Action::\"read\", resource in DataSet::\"medical-records\"",
        "principal == Person::\"bob\", action == Action::\"read\", resource in DataSet::\"medical-records\"",
        "principal in Team::\"platform\", action == Action::\"read\", resource in DataSet::\"medical-records\"",
        "principal is Person in Team::\"platform\", action, resource in DataSet::\"medical-records\"",
        "principal is Authority, action == Action::\"lease\", resource in DataSet::\"medical-records\"",
        "principal is Node, action == Action::\"lease\", resource in DataSet::\"medical-records\"",
        "principal is Node, action == Action::\"read\", resource == Secret::\"db/x\"",
        "principal is Workload, action == Action::\"open\", resource == ImageKey::\"medrec\"",
        "principal, action == Action::\"administer\", resource in DataSet::\"medical-records\"",
    ] {
        let error = refused(&named(head));
        assert!(
            matches!(
                error,
                PolicyError::Invalid { .. }
                    | PolicyError::UnknownEntity { .. }
                    | PolicyError::People { .. }
            ),
            "{error}"
        );
    }
    let condition = "@id(\"new\") permit (principal, action == Action::\"read\", resource in DataSet::\"medical-records\") when { principal is Person };";
    assert!(matches!(refused(condition), PolicyError::Invalid { .. }));
}

#[test]
fn a_rule_that_can_never_apply_is_refused_though_the_engine_only_warns() {
    let never = "@id(\"new\") forbid (principal is Workload, action == Action::\"lease\", resource in DataSet::\"medical-records\") when { false };";
    assert!(matches!(refused(never), PolicyError::Invalid { .. }));
}

#[test]
fn a_rule_without_an_id_or_with_a_doubled_one_is_refused() {
    let body = "permit (principal, action, resource in DataSet::\"medical-records\");";
    assert!(matches!(refused(body), PolicyError::NoId { .. }));
    assert!(matches!(
        refused(&format!("@id(\"medical-records-lease\") {body}")),
        PolicyError::DoubledId { .. }
    ));
    assert!(matches!(
        refused(&format!("@id(\"a\") {body} @id(\"a\") {body}")),
        PolicyError::DoubledId { .. }
    ));
    for id in [
        "",
        "two words",
        "guardrail-boot",
        "guardrail-mine",
        "default",
        "a\\nb",
        "*",
        "é",
    ] {
        let error = refused(&format!("@id(\"{id}\") {body}"));
        assert!(matches!(error, PolicyError::BadId { .. }), "{id}: {error}");
    }
    // The ids of the program's own rules can't be taken either.
    assert!(matches!(
        refused(&format!("@id(\"identity-issue\") {body}")),
        PolicyError::DoubledId { .. }
    ));
}

#[test]
fn a_rule_outside_its_data_set_is_refused() {
    let other = "\n[dataset.payroll]\nowner = \"medrec-owners\"\ntenant = \"hospital\"\n";
    for resource in [
        "resource",
        "resource is Credential",
        "resource in DataSet::\"payroll\"",
        "resource is Secret in DataSet::\"payroll\"",
        "resource == ImageKey::\"medrec2\"",
        "resource == Identity::\"svid\"",
        "resource in Tenant::\"hospital\"",
        "resource == Credential::\"other\"",
    ] {
        let rule = named(&format!("principal, action, {resource}"));
        let error = load_with(&[("datasets.toml", other), (RULES, &rule)])
            .map(|_| ())
            .unwrap_err();
        assert!(
            matches!(error, PolicyError::Unscoped { .. }),
            "{resource}: {error}"
        );
    }
    // The image key of one data set can't be given away in the file of another.
    let theft = named("principal, action == Action::\"open\", resource == ImageKey::\"medrec\"");
    let error = load_with(&[("datasets.toml", other), ("policies/payroll.cedar", &theft)])
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, PolicyError::Unscoped { .. }), "{error}");
}

#[test]
fn one_data_sets_rules_never_decide_on_another() {
    let other = "\n[dataset.payroll]\nowner = \"medrec-owners\"\ntenant = \"hospital\"\n";
    let open = "@id(\"all\") permit (principal, action, resource in DataSet::\"payroll\");";
    let policies =
        load_with(&[("datasets.toml", other), ("policies/payroll.cedar", open)]).unwrap();
    let ask = |dataset: &str| {
        let target = policy::Target::Secret("db/x".parse().unwrap(), dataset.parse().unwrap());
        policies
            .evaluate(&sentence(), evidence::Action::Read, &target, now())
            .is_allowed()
    };
    assert!(ask("payroll") && !ask("medical-records"));
}

#[test]
fn names_that_imitate_digests_or_are_misspelt_are_refused() {
    let digest = format!("sha256:{}", "9f".repeat(32));
    let lease = |principal: &str| {
        named(&format!(
            "{principal}, action == Action::\"lease\", resource in DataSet::\"medical-records\""
        ))
    };
    for principal in [
        format!("principal in ImageSet::\"{digest}\""),
        "principal in Image::\"medrec\"".to_owned(),
        "principal in Image::\"sha256:9f\"".to_owned(),
        "principal == Workload::\"this\"".to_owned(),
        "principal in ServiceAccount::\"hipaaCluster/prod/medrec\"".to_owned(),
        "principal in Image::\"SHA256:9F\"".to_owned(),
    ] {
        let error = refused(&lease(&principal));
        assert!(
            matches!(error, PolicyError::UnknownEntity { .. }),
            "{principal}: {error}"
        );
    }
    assert!(load_with(&[(RULES, &lease(&format!("principal in Image::\"{digest}\"")))]).is_ok());
    let misspelt = format!(
        "{} ",
        lease("principal in ImageSet::\"medrec\"")
            .replace(");", ") when { principal in Location::\"DAL5\" };")
    );
    assert_eq!(
        refused(&misspelt).to_string(),
        "policies/medical-records.cedar: `new` speaks of Location::\"DAL5\", which the estate does not have; did you mean Location::\"DAL05\"?"
    );
}

#[test]
fn ill_typed_conditions_are_refused() {
    for condition in [
        "principal.nope == 1",
        "principal.node.boot == \"debian12-2026-11\"",
        "principal.asShipped",
        "principal.node.assurance == \"2\"",
        "context.nope",
        "principal.node.assurance > 1 || 1",
    ] {
        let rule = format!(
            "@id(\"new\") permit (principal is Workload, action == Action::\"lease\", resource in DataSet::\"medical-records\") when {{ {condition} }};"
        );
        assert!(
            matches!(refused(&rule), PolicyError::Invalid { .. }),
            "{condition}"
        );
    }
}

#[test]
fn a_broken_text_is_refused_with_its_line() {
    let line = |text: &str| match refused(text) {
        PolicyError::Syntax { line, .. } => line,
        other => panic!("{other}"),
    };
    let broken = "permit (principal inn, action, resource);\n\n\n";
    let first = line(broken);
    assert_eq!(line(&format!("// one\n// two\n{broken}")), first + 2);
}

#[test]
fn templates_and_broken_texts_are_refused() {
    let template = "@id(\"new\") permit (principal in ?principal, action, resource in DataSet::\"medical-records\");";
    assert!(matches!(refused(template), PolicyError::Template { .. }));
    assert!(matches!(refused("permit ("), PolicyError::Syntax { .. }));
    assert!(matches!(
        refused("@id(\"a\") @id(\"b\") permit (principal, action, resource);"),
        PolicyError::Syntax { .. }
    ));
}

#[test]
fn an_erring_forbid_denies_instead_of_being_skipped() {
    let forbid = "@id(\"overflowing\")
        forbid (principal is Workload, action == Action::\"lease\", resource in DataSet::\"medical-records\")
        when { principal.node.assurance * 9223372036854775807 < 0 };";
    let policies = load_with(&[(RULES, forbid)]).unwrap();
    let answer = policies.evaluate(
        &sentence(),
        evidence::Action::Lease,
        &crate::credential(),
        now(),
    );
    assert_eq!(
        answer.to_string(),
        "denied: `overflowing` could not be evaluated"
    );
}

#[test]
fn a_forbid_of_the_owner_wins_over_a_permit() {
    let forbid = "@id(\"not-on-this-node\")
        forbid (principal in Node::\"dal05-r12-n07\", action == Action::\"lease\", resource in DataSet::\"medical-records\");";
    let policies = load_with(&[(RULES, forbid)]).unwrap();
    let answer = policies.evaluate(
        &sentence(),
        evidence::Action::Lease,
        &crate::credential(),
        now(),
    );
    assert_eq!(answer.to_string(), "denied: `not-on-this-node` forbids it");
}

#[test]
fn guardrails_of_the_estate_tighten_and_never_permit() {
    let file = "policies/guardrails.cedar";
    let permit = "@id(\"guardrail-open\") permit (principal, action, resource);";
    let error = load_with(&[(file, permit)]).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, PolicyError::PermittingGuardrail { .. }),
        "{error}"
    );
    let tighter = "@id(\"guardrail-sure\") forbid (principal is Workload, action, resource)
        unless { principal.node.assurance >= 3 };";
    let tightened = load_with(&[(file, tighter)]).unwrap();
    for (action, target) in [
        (evidence::Action::Lease, crate::credential()),
        (evidence::Action::Issue, policy::Target::Identity),
        (evidence::Action::Start, crate::image_key()),
    ] {
        assert!(
            policies()
                .evaluate(&sentence(), action, &target, now())
                .is_allowed()
        );
        let answer = tightened.evaluate(&sentence(), action, &target, now());
        assert_eq!(answer.to_string(), "denied: `guardrail-sure` forbids it");
    }
}
