//! What only the inside can tell: the sorted rules answer as all of them would, and entities fit the schema.

use std::time::Duration;

use cedar_policy::{Entities, EntityUid};
use estate::{Assurance, Digest, Epoch};
use evidence::{Attestor, Interactive, NodeFacts, Strength};
use proptest::prelude::*;

use super::*;
use crate::facts::Measured;
use crate::vocabulary::ACTIONS;

const FILES: [(&str, &str); 4] = [
    ("people.toml", "version = 1\n[team]\no = [\"a@b\"]\n"),
    (
        "datasets.toml",
        "version = 1\n[dataset.d]\nowner = \"o\"\ntenant = \"t\"\n[dataset.e]\nowner = \"o\"\ntenant = \"t\"\nmin_assurance = 0\n",
    ),
    (
        "inventory.toml",
        "version = 1\n[location]\nC = { kind = \"country\" }\nP = { kind = \"datacenter\", in = \"C\" }\nQ = { kind = \"datacenter\" }\n[cluster.k]\nlocation = \"P\"\n",
    ),
    (
        "images.toml",
        "version = 1\n[image.i]\nowner = \"o\"\ndataset = \"d\"\n[image.j]\nowner = \"o\"\ndataset = \"e\"\n",
    ),
];

/// Rules of every shape that a scope can have.
fn rule_text(index: usize, dataset: &str) -> impl Strategy<Value = String> {
    let image = if dataset == "d" { "i" } else { "j" };
    let dataset = dataset.to_owned();
    (
        prop::sample::select(vec!["permit", "permit", "forbid"]),
        prop::sample::select(vec!["principal", "principal in ImageSet::\"i\"", "principal in Location::\"P\"", "principal in Cluster::\"k\""]),
        prop::sample::select(vec![
            "action",
            "action == Action::\"open\"",
            "action == Action::\"start\"",
            "action == Action::\"read\"",
            "action in [Action::\"start\", Action::\"read\"]",
        ]),
        0_usize..4,
        prop::sample::select(vec!["", "when { context.now > datetime(\"2020-01-01\") }", "unless { principal in Location::\"C\" }"]),
    )
        .prop_map(move |(effect, principal, action, resource, condition)| {
            let resource = match resource {
                0 => format!("resource == ImageKey::\"{image}\""),
                1 => "resource == Secret::\"s\"".to_owned(),
                2 => format!("resource is Secret in DataSet::\"{dataset}\""),
                _ => format!("resource in DataSet::\"{dataset}\""),
            };
            format!("@id(\"{dataset}{index}\") {effect} ({principal}, {action}, {resource}) {condition};")
        })
}

fn facts() -> impl Strategy<Value = Facts> {
    let flag = || prop::option::of(prop::bool::weighted(0.8));
    let place = prop::sample::select(vec![None, Some("C"), Some("P"), Some("Q")]);
    let node = (
        place,
        any::<bool>(),
        0_u8..5,
        any::<bool>(),
        prop::option::of(0_u64..900),
    );
    let workload = (
        prop::sample::select(vec![None, Some("i"), Some("j")]),
        flag(),
        flag(),
        flag(),
        flag(),
    );
    (node, prop::option::of(workload)).prop_map(
        |((place, clustered, assurance, booted, age), workload)| Facts {
            node: NodeFacts {
                name: "n".parse().unwrap(),
                cluster: clustered.then(|| "k".parse().unwrap()),
                location: place.map(|place| place.parse().unwrap()),
                assurance: Assurance::try_from(assurance).unwrap(),
                attestor: if assurance == 0 {
                    Attestor::JoinToken
                } else {
                    Attestor::Tpm
                },
                boot: booted.then(|| "b".parse().unwrap()),
                quoted_at: age.map(|age| now().minus(Duration::from_secs(age))),
                epoch: Epoch(1),
            },
            workload: workload.map(|(set, shipped, exe, interactive, privileged)| Measured {
                image: set.map(Digest::of),
                image_set: set.map(|set| set.parse().unwrap()),
                as_shipped: shipped,
                unshipped: Vec::new(),
                exe_from_image: exe,
                interactive: interactive.map(|no| Interactive {
                    yes: !no,
                    strength: Strength::Strong,
                }),
                privileged: privileged.map(|no| !no),
            }),
        },
    )
}

fn now() -> Timestamp {
    "2026-11-23T03:12:07Z".parse().unwrap()
}

fn targets() -> Vec<Target> {
    let secret =
        |name: &str, dataset: &str| Target::Secret(name.parse().unwrap(), dataset.parse().unwrap());
    vec![
        Target::ImageKey("i".parse().unwrap()),
        Target::ImageKey("j".parse().unwrap()),
        secret("s", "d"),
        secret("s", "e"),
        secret("other", "d"),
        Target::Identity,
    ]
}

/// The rules of the target's data set and all guardrails, unsorted.
fn whole(policies: &Policies, target: &Target) -> PolicySet {
    let resource = Resource::of(target, &policies.estate, &policies.words).unwrap();
    let dataset = resource.dataset.map(|dataset| dataset.name.clone());
    let met = policies
        .rules
        .iter()
        .filter(|rule| rule.dataset.is_none() || rule.dataset == dataset);
    PolicySet::from_policies(met.map(|rule| rule.policy.clone())).unwrap()
}

fn load(rules: &[(String, String)]) -> Option<Policies> {
    let mut files: Vec<(String, String)> = FILES
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .to_vec();
    files.extend(rules.iter().cloned());
    Policies::load(&Estate::parse(&files).unwrap(), PolicyVersion(1)).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sorted_rules_answer_as_all_of_them_would(
        of_d in (rule_text(0, "d"), rule_text(1, "d"), rule_text(2, "d"), rule_text(3, "d")),
        of_e in (rule_text(0, "e"), rule_text(1, "e")),
        vectors in prop::collection::vec(facts(), 6),
    ) {
        // Rules that can never apply are refused one by one, so that the others are still tried.
        let valid = |dataset: &str, rules: Vec<String>| -> String {
            let path = format!("policies/{dataset}.cedar");
            rules.into_iter().filter(|rule| load(&[(path.clone(), rule.clone())]).is_some()).collect()
        };
        let policies = load(&[
            ("policies/d.cedar".into(), valid("d", vec![of_d.0, of_d.1, of_d.2, of_d.3])),
            ("policies/e.cedar".into(), valid("e", vec![of_e.0, of_e.1])),
        ]).unwrap();
        for facts in &vectors {
            for target in targets() {
                for action in ACTIONS {
                    let sorted = policies.evaluate(facts, action, &target, now());
                    let resource = Resource::of(&target, &policies.estate, &policies.words).unwrap();
                    let all = policies.judge(&whole(&policies, &target), facts, action, resource, now());
                    prop_assert_eq!(sorted.0, all);
                }
            }
        }
    }

    #[test]
    fn entities_fit_the_schema(facts in facts(), at in 0_usize..6) {
        let policies = load(&[]).unwrap();
        let target = targets().remove(at);
        for action in ACTIONS {
            let resource = Resource::of(&target, &policies.estate, &policies.words).unwrap();
            let Ok(question) = Question::build(&facts, action, resource, now(), &policies.estate, &policies.words) else {
                continue;
            };
            let checked = Entities::from_entities(question.entities.iter().cloned(), Some(&policies.words.schema));
            prop_assert!(checked.is_ok(), "{:?}", checked.err());
        }
    }
}

#[test]
fn only_nodes_have_a_place_or_a_cluster_above_them() {
    let policies = load(&[]).unwrap();
    let schema = &policies.words.schema;
    let above = |kind: &str| -> Vec<String> {
        let kind = kind.parse().unwrap();
        let mut below: Vec<String> = schema
            .entity_types()
            .filter(|other| {
                schema
                    .ancestors(other)
                    .is_some_and(|mut all| all.any(|one| *one == kind))
            })
            .map(ToString::to_string)
            .collect();
        below.sort();
        below
    };
    assert_eq!(above("Cluster"), ["Node", "Workload"]);
    assert_eq!(above("Location"), ["Location", "Node", "Workload"]);
    assert_eq!(above("ImageSet"), ["Image", "Workload"]);
    assert_eq!(above("DataSet"), ["Credential", "ImageKey", "Secret"]);
}

#[test]
fn every_shipped_rule_can_be_asked_condition_by_condition() {
    let policies = load(&[]).unwrap();
    let uid: EntityUid = crate::vocabulary::uid(&policies.words.identity, "svid");
    assert_eq!(uid.to_string(), "Identity::\"svid\"");
    assert_eq!(policies.rules.len(), 7);
    assert!(policies.rules.iter().all(|rule| !rule.actions.is_empty()));
}
