//! The sentence: only this image, in this place, in this cluster.

use estate::{Ask, Digest, Effect, Verb};
use evidence::{Action, Interactive, Strength};
use policy::{DeniedBy, Target, TestVerdict};

use crate::{credential, image_key, load_with, node_itself, now, policies, secret, sentence};

fn ask(text: &str) -> Ask {
    text.parse().unwrap()
}

#[test]
fn the_estates_own_tests_pass() {
    let report = policies().test(now());
    assert!(report.passed(), "{report}");
    assert_eq!(report.results.len(), 4);
    assert!(report.to_string().ends_with("4 tests, 0 failed\n"));
}

#[test]
fn the_sentence_is_permitted_by_its_rule() {
    let answer = policies().evaluate(&sentence(), Action::Lease, &credential(), now());
    assert_eq!(answer.to_string(), "permitted by `medical-records-lease`");
    assert_eq!(
        answer.outcome().unwrap(),
        ["medical-records-lease".parse().unwrap()]
    );
    assert!(
        policies()
            .evaluate(&sentence(), Action::Start, &image_key(), now())
            .is_allowed()
    );
    assert!(
        policies()
            .evaluate(&node_itself(), Action::Open, &image_key(), now())
            .is_allowed()
    );
    assert!(
        policies()
            .evaluate(&sentence(), Action::Issue, &Target::Identity, now())
            .is_allowed()
    );
}

#[test]
fn the_wrong_place_is_told_what_it_lacks() {
    let mut facts = sentence();
    facts.node.location = Some("FRA02".parse().unwrap());
    let answer = policies().evaluate(&facts, Action::Lease, &credential(), now());
    assert_eq!(
        answer.to_string(),
        "denied: no rule permits; nearest is `medical-records-lease`, which lacks principal in Location::\"DAL05\""
    );
    facts.node.cluster = Some("euCluster".parse().unwrap());
    let answer = policies().evaluate(&facts, Action::Lease, &credential(), now());
    assert!(
        answer.to_string().ends_with(
            "principal in Location::\"DAL05\" and principal in Cluster::\"hipaaCluster\""
        )
    );
    let mut elsewhere = node_itself();
    elsewhere.node.location = Some("FRA02".parse().unwrap());
    let answer = policies().evaluate(&elsewhere, Action::Open, &image_key(), now());
    let DeniedBy::Default { nearest, .. } = answer.outcome().unwrap_err() else {
        panic!("a default denial")
    };
    assert_eq!(nearest, Some("medrec-image-open".parse().unwrap()));
}

#[test]
fn a_node_in_no_place_or_an_unknown_one_is_nowhere() {
    for location in [None, Some("DAL05-R99".parse().unwrap())] {
        let mut facts = sentence();
        facts.node.location = location;
        assert!(
            !policies()
                .evaluate(&facts, Action::Lease, &credential(), now())
                .is_allowed()
        );
    }
}

#[test]
fn an_exec_session_is_told_so() {
    let mut facts = sentence();
    facts.workload.as_mut().unwrap().interactive = Some(Interactive {
        yes: true,
        strength: Strength::Strong,
    });
    let answer = policies().evaluate(&facts, Action::Lease, &credential(), now());
    assert_eq!(
        answer.to_string(),
        "denied: `guardrail-workload` forbids it: somebody had a hand inside (interactive)"
    );
    assert!(
        !policies()
            .evaluate(&facts, Action::Issue, &Target::Identity, now())
            .is_allowed()
    );
}

#[test]
fn another_image_in_the_right_place_gets_nothing() {
    let mut facts = sentence();
    let measured = facts.workload.as_mut().unwrap();
    measured.image = Some(Digest::of("other"));
    measured.image_set = None;
    let answer = policies().evaluate(&facts, Action::Lease, &credential(), now());
    assert!(
        answer
            .to_string()
            .ends_with("which lacks principal in ImageSet::\"medrec\""),
        "{answer}"
    );
    assert!(
        policies()
            .evaluate(&facts, Action::Issue, &Target::Identity, now())
            .is_allowed()
    );
}

#[test]
fn what_no_rule_speaks_of_is_denied() {
    let answer = policies().evaluate(
        &sentence(),
        Action::Read,
        &secret("db/medrec-pg/admin"),
        now(),
    );
    assert_eq!(
        answer.to_string(),
        "denied: no rule permits; nearest is `authority-login`, which lacks principal is Authority"
    );
}

#[test]
fn unknown_things_and_wrong_pairs_are_denied() {
    let elsewhere = Target::Credential(
        "postgresql/medical-records".parse().unwrap(),
        "other".parse().unwrap(),
    );
    let none = Target::ImageKey("nothing".parse().unwrap());
    let answer = policies().evaluate(&sentence(), Action::Lease, &elsewhere, now());
    assert_eq!(
        answer.to_string(),
        "denied: the estate has no Credential::\"postgresql/medical-records\""
    );
    assert!(
        !policies()
            .evaluate(&node_itself(), Action::Open, &none, now())
            .is_allowed()
    );
    // The schema refuses a principal or a resource that an action is not for.
    for (facts, action, target) in [
        (node_itself(), Action::Lease, credential()),
        (node_itself(), Action::Read, secret("x")),
        (sentence(), Action::Open, image_key()),
        (sentence(), Action::Lease, secret("x")),
        (sentence(), Action::Read, credential()),
        (node_itself(), Action::Issue, Target::Identity),
    ] {
        assert!(
            !policies()
                .evaluate(&facts, action, &target, now())
                .is_allowed(),
            "{action:?} {target}"
        );
    }
}

#[test]
fn who_can_names_the_machine_and_the_image() {
    let answer = policies().who_can(&ask("lease credential/cloudant/medical-records"), now());
    assert_eq!(answer.rows.len(), 1);
    assert_eq!(
        answer.to_string(),
        "who can lease Credential::\"cloudant/medical-records\":\n  medrec on dal05-r12-n07 in DAL05-R12, hipaaCluster: \
         lease Credential::\"cloudant/medical-records\", permitted by `medical-records-lease`\n\
         1 permitted, 0 refused, over nodes and image sets of the estate\n"
    );
    assert_eq!(
        policies()
            .who_can(&ask("lease dataset/medical-records"), now())
            .rows
            .len(),
        2
    );
    assert_eq!(
        policies()
            .who_can(&ask("open dataset/medical-records"), now())
            .rows
            .len(),
        1
    );
    assert!(
        policies()
            .who_can(&ask("read dataset/medical-records"), now())
            .to_string()
            .contains("nobody")
    );
}

const FRANKFURT: &str = "
[node.fra02-n1]
cluster = \"euCluster\"
location = \"FRA02\"
ek = \"sha256:1111111111111111111111111111111111111111111111111111111111111111\"
boot = \"debian12-2026-11\"
";

const SHIPPED_IMAGE: &str = "
[image.logger]
owner = \"medrec-owners\"
dataset = \"medical-records\"
";

#[test]
fn who_can_asks_every_machine_with_every_image() {
    let fleet = load_with(&[
        ("inventory.toml", FRANKFURT),
        ("images.toml", SHIPPED_IMAGE),
    ])
    .unwrap();
    let answer = fleet.who_can(&ask("lease credential/cloudant/medical-records"), now());
    assert_eq!((answer.rows.len(), answer.refused), (1, 3));
}

#[test]
fn a_never_is_broken_by_a_rule_that_only_a_future_machine_could_use() {
    let wider = "
        @id(\"too-wide\")
        permit (principal in ImageSet::\"medrec\", action == Action::\"lease\", resource in DataSet::\"medical-records\");
    ";
    let report = load_with(&[(crate::RULES, wider)]).unwrap().test(now());
    let broken = report
        .results
        .iter()
        .find(|result| result.name.starts_with("no lease"))
        .unwrap();
    let TestVerdict::Failed { why } = &broken.verdict else {
        panic!("{report}")
    };
    assert!(
        why.contains("any-other-node in FRA02") && why.contains("`too-wide`"),
        "{why}"
    );
}

#[test]
fn a_wrong_example_fails_with_what_came() {
    let wrong = "
[[test]]
name = \"wrong\"
given = { image = \"medrec\", location = \"DAL05\", cluster = \"hipaaCluster\" }
want = { deny = \"default\" }
[[test]]
name = \"stale\"
given = { image = \"medrec\", location = \"DAL05\", cluster = \"hipaaCluster\", age = \"11m\" }
want = { deny = \"guardrail-fresh\" }
[[test]]
name = \"misspelt\"
given = { image = \"medrec\", location = \"DAL5\", cluster = \"hipaaCluster\" }
want = { deny = \"default\" }
";
    let report = load_with(&[(
        "tests/more.toml",
        &format!("ask = \"lease credential/cloudant/medical-records\"\n{wrong}"),
    )])
    .unwrap()
    .test(now())
    .to_string();
    assert!(
        report.contains("wanted a denial by `default`, got permitted by `medical-records-lease`"),
        "{report}"
    );
    assert!(report.contains("pass  tests/more.toml: stale"), "{report}");
    assert!(
        report.contains("the estate has no location `DAL5`"),
        "{report}"
    );
}

#[test]
fn an_explanation_lists_facts_and_what_each_permit_lacks() {
    let mut facts = sentence();
    facts.node.location = Some("FRA02".parse().unwrap());
    facts.workload.as_mut().unwrap().privileged = None;
    let text = policies()
        .explain(&facts, Action::Lease, &credential(), now())
        .to_string();
    for line in [
        "lease Credential::\"postgresql/medical-records\"\ndenied: `guardrail-workload` forbids it: it is not known whether it has host-level power\n",
        "  location: FRA02 in EU\n",
        "  privileged: not known\n",
        "  interactive: no (strong)\n",
        "  `medical-records-lease` lacks principal in Location::\"DAL05\"\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn the_servers_own_login_is_the_one_that_the_estate_names() {
    let policies = policies();
    assert_eq!(
        policies
            .login_of(&"medrec-pg".parse().unwrap())
            .unwrap()
            .as_str(),
        "db/medrec-pg/admin"
    );
    assert_eq!(policies.login_of(&"other".parse().unwrap()), None);
    assert_eq!(policies.basis().estate, policies.estate().hash());
}

/// Whoever owns another data set could name our login beside an address of their own.
#[test]
fn a_login_is_used_for_the_data_set_that_it_belongs_to_and_for_no_other() {
    let policies = policies();
    let (database, own, other) = (
        "medrec-pg".parse().unwrap(),
        "medical-records".parse().unwrap(),
        "billing".parse().unwrap(),
    );
    let permit = policies.decide_connection(&database, &own, &own).unwrap();
    assert_eq!(permit.secret().as_str(), "db/medrec-pg/admin");
    assert_eq!(permit.basis(), &policies.basis());
    assert!(
        policies
            .decide_connection(&database, &own, &other)
            .is_none()
    );
    assert!(
        policies
            .decide_connection(&database, &other, &own)
            .is_none()
    );
    let unknown = "other".parse().unwrap();
    assert!(policies.decide_connection(&unknown, &own, &own).is_none());
}

#[test]
fn a_basis_names_the_change_and_those_who_signed_it() {
    let before = policies().basis();
    assert_eq!((before.change.0, before.approvers.len()), (0, 0));
    let people = ["chen@hospital.example", "eva@hospital.example"].map(|id| id.parse().unwrap());
    let after = policies()
        .with_approval(estate::ChangeId(7), people.clone())
        .basis();
    assert_eq!((after.change.0, &*after.approvers), (7, people.as_slice()));
    assert_eq!((after.policy, after.estate), (before.policy, before.estate));
}

#[test]
fn a_new_rule_shows_who_gains_and_what_it_does() {
    let frankfurt = "@id(\"frankfurt\")
        permit (principal in ImageSet::\"medrec\", action == Action::\"lease\", resource in DataSet::\"medical-records\")
        when { principal in Location::\"FRA02\" };";
    let old = load_with(&[("inventory.toml", FRANKFURT)]).unwrap();
    let new = load_with(&[("inventory.toml", FRANKFURT), (crate::RULES, frankfurt)]).unwrap();
    let shift = old.shift(&new, now());
    assert_eq!((shift.gains.len(), shift.loses.len()), (2, 0));
    assert!(
        shift
            .gains
            .iter()
            .all(|row| row.node.as_str() == "fra02-n1"),
        "{shift}"
    );
    assert_eq!(new.shift(&old, now()).loses, shift.gains);
    let [change] = old.rule_changes(&new).try_into().unwrap();
    assert_eq!(
        (change.id.as_str(), change.verb, change.effect),
        ("frankfurt", Verb::Added, Effect::Widening)
    );
    let [change] = new.rule_changes(&old).try_into().unwrap();
    assert_eq!(
        (change.verb, change.effect),
        (Verb::Removed, Effect::Narrowing)
    );
    let forbid = frankfurt.replace("permit", "forbid");
    let other = load_with(&[("inventory.toml", FRANKFURT), (crate::RULES, &forbid)]).unwrap();
    assert_eq!(
        new.rule_changes(&other).first().unwrap().effect,
        Effect::Widening
    );
    assert_eq!(
        old.rule_changes(&other).first().unwrap().effect,
        Effect::Narrowing
    );
    assert_eq!(
        other.rule_changes(&old).first().unwrap().effect,
        Effect::Widening
    );
}

#[test]
fn a_machine_that_is_moved_loses_what_its_place_gave() {
    let mut files = crate::example_files();
    let inventory = files
        .iter_mut()
        .find(|(path, _)| path == "inventory.toml")
        .map(|(_, text)| text)
        .unwrap();
    *inventory = inventory.replace(
        "cluster = \"hipaaCluster\"\nlocation = \"DAL05-R12\"",
        "cluster = \"euCluster\"\nlocation = \"FRA02\"",
    );
    let moved = policy::Policies::load(
        &estate::Estate::parse(&files).unwrap(),
        estate::PolicyVersion(2),
    )
    .unwrap();
    let shift = policies().shift(&moved, now());
    let mut actions: Vec<&str> = shift.loses.iter().map(|row| row.action.as_str()).collect();
    actions.sort_unstable();
    assert_eq!(actions, ["issue", "lease", "lease", "open", "start"]);
    assert!(shift.gains.iter().all(|row| row.action == Action::Issue));
}
