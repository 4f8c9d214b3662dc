//! The example is read as it is meant.

use std::collections::BTreeMap;
use std::time::Duration;

use estate::{
    Attest, Estate, ExecRule, Grants, IdentityFacts, LocationKind, MountGroup, PolicyScope,
    Timestamp, Want,
};

use crate::{appended, edited, example, example_files};

#[test]
fn places_nodes_and_boot_states_are_read() {
    let estate = example();
    let node = estate.node(&"dal05-r12-n07".parse().unwrap()).unwrap();
    assert_eq!(
        (node.cluster.as_str(), node.attest),
        ("hipaaCluster", Attest::Tpm)
    );
    let places: Vec<_> = estate
        .ancestors(&node.location)
        .map(|place| (place.name.as_str(), place.kind))
        .collect();
    assert_eq!(
        places,
        [
            ("DAL05-R12", LocationKind::Rack),
            ("DAL05", LocationKind::Datacenter),
            ("US", LocationKind::Country)
        ]
    );
    assert_eq!(estate.node_with_ek(&node.ek.unwrap()), Some(node));
    let profile = estate.boot_profile(node.boot.as_ref().unwrap()).unwrap();
    assert_eq!(profile.accept.len(), 2);
}

#[test]
fn a_boot_profile_accepts_its_states_and_no_mixture() {
    let estate = example();
    let profile = estate.boot_profiles().next().unwrap();
    let (file, state) = profile.accept.first_key_value().unwrap();
    assert_eq!(profile.accepts(&state.pcrs), Some(file.as_str()));
    assert_eq!(profile.accepts(&BTreeMap::new()), None);
    let mut missing = state.pcrs.clone();
    missing.pop_last();
    assert_eq!(profile.accepts(&missing), None);
    let mut mixed = state.pcrs.clone();
    let (index, other) = profile
        .accept
        .last_key_value()
        .unwrap()
        .1
        .pcrs
        .last_key_value()
        .unwrap();
    mixed.insert(*index, *other);
    assert_eq!(profile.accepts(&mixed), None);
}

#[test]
fn data_sets_images_and_credentials_are_read() {
    let estate = example();
    let dataset = estate.dataset(&"medical-records".parse().unwrap()).unwrap();
    assert_eq!(
        (dataset.min_assurance.level(), dataset.max_lease.duration()),
        (2, Duration::from_secs(43_200))
    );
    let set = estate.image_set(&"medrec".parse().unwrap()).unwrap();
    let member = set.digests.first().unwrap();
    assert_eq!(
        estate.image_set_of(member, Timestamp::UNIX_EPOCH),
        Some(set)
    );
    assert_eq!(
        estate.image_set_of(&estate::Digest::of("another"), Timestamp::UNIX_EPOCH),
        None
    );
    let credential = estate
        .credential(&"postgresql/medical-records".parse().unwrap())
        .unwrap();
    let Grants::Sql(grants) = &credential.grants else {
        panic!("SQL grants")
    };
    assert!(
        grants
            .iter()
            .any(|grant| grant.to_string() == "SELECT ON ALL TABLES IN SCHEMA records")
    );
    let database = estate.database(&credential.database).unwrap();
    assert_eq!(
        (database.url.host(), database.login.as_str()),
        ("pg.dal05.hospital.example", "db/medrec-pg/admin")
    );
    assert!(estate.key_file(database.ca.as_ref().unwrap()).is_some());
}

#[test]
fn what_may_differ_is_a_positive_list() {
    let estate = example();
    let run = &estate.image_set(&"medrec".parse().unwrap()).unwrap().run;
    assert!(run.allows_env("TZ") && !run.allows_env("tz") && !run.allows_env("LD_PRELOAD"));
    assert!(
        run.allows_mount("/var/cache/medrec", None)
            && !run.allows_mount("/var/cache/medrec/x", None)
    );
    assert!(
        run.allows_mount("/etc/hosts", Some(MountGroup::Kubernetes))
            && !run.allows_mount("/etc/hosts", None)
    );
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    assert!(run.allows_probe(&words(&["/usr/bin/medrec", "--health"])));
    assert!(!run.allows_probe(&words(&["/usr/bin/medrec"])));
    assert!(!run.allows_args(&words(&["/usr/bin/medrec", "--health"])));
}

#[test]
fn identities_come_from_the_first_template_that_applies() {
    let estate = example();
    let mut facts = IdentityFacts {
        location: Some("DAL05-R12".parse().unwrap()),
        cluster: Some("hipaaCluster".parse().unwrap()),
        image: Some("medrec".parse().unwrap()),
        ..IdentityFacts::default()
    };
    let path = |facts: &IdentityFacts| estate.identity_for(facts).map(|(_, path)| path);
    assert_eq!(
        path(&facts).as_deref(),
        Some("/region/US/cluster/hipaaCluster/image/medrec")
    );
    facts.namespace = Some("prod".into());
    facts.service_account = Some("medrec".into());
    assert_eq!(
        path(&facts).as_deref(),
        Some("/region/US/cluster/hipaaCluster/ns/prod/sa/medrec")
    );
    facts.image = None;
    assert_eq!(
        path(&facts).as_deref(),
        Some("/unmeasured/region/US/cluster/hipaaCluster/ns/prod/sa/medrec")
    );
    facts.namespace = None;
    assert_eq!(path(&facts), None);
}

#[test]
fn rules_and_tests_are_kept_with_their_scope() {
    let estate = example();
    let policy = estate.policies().next().unwrap();
    assert_eq!(
        policy.scope,
        PolicyScope::DataSet("medical-records".parse().unwrap())
    );
    let tests = estate.tests().next().unwrap();
    assert_eq!((tests.tests.len(), tests.nevers.len()), (3, 1));
    assert_eq!(
        tests.tests.first().unwrap().want,
        Want::Permit("medical-records-lease".parse().unwrap())
    );
}

#[test]
fn a_lab_node_may_join_with_a_token() {
    let node = "\n[node.lab-1]\ncluster = \"hipaaCluster\"\nlocation = \"DAL05\"\nattest = \"join-token\"\n";
    let estate = appended("inventory.toml", node).unwrap();
    assert_eq!(
        estate.node(&"lab-1".parse().unwrap()).unwrap().attest,
        Attest::JoinToken
    );
    assert!(
        appended(
            "inventory.toml",
            &format!("{node}boot = \"debian12-2026-11\"\n")
        )
        .is_err()
    );
}

#[test]
fn the_hash_tells_meaning_not_spelling() {
    let estate = example();
    assert!(estate.canonical().len() > 2000);
    assert_eq!(
        appended("people.toml", "\n# a remark\n").unwrap().hash(),
        estate.hash()
    );
    let mut turned = example_files();
    turned.reverse();
    assert_eq!(Estate::parse(&turned).unwrap().hash(), estate.hash());
    for (path, from, to) in [
        ("datasets.toml", "min_assurance = 2", "min_assurance = 1"),
        ("policies/medical-records.cedar", "DAL05", "FRA02"),
        ("keys/pg-ca.pem", "bm90", "Bm90"),
        ("events/debian12-6.1.115.toml", "0 = \"", "10 = \""),
        ("tests/medical-records.toml", "the sentence", "the phrase"),
        ("people.toml", "olu@", "ola@"),
    ] {
        assert_ne!(
            edited(path, from, to).unwrap().hash(),
            estate.hash(),
            "{path}"
        );
    }
}

#[test]
fn an_empty_estate_is_an_estate() {
    let none: [(&str, &str); 0] = [];
    assert_eq!(Estate::parse(&none).unwrap(), Estate::default());
}

#[test]
fn a_data_set_is_confidential_and_refuses_hands_unless_said_otherwise() {
    let name = "medical-records".parse().unwrap();
    let estate = example();
    let dataset = estate.dataset(&name).unwrap();
    assert_eq!(
        (dataset.confidential, dataset.exec),
        (true, ExecRule::Refuse)
    );
    let said = "confidential = false\nexec = \"expose\"\nmin_assurance = 2";
    let estate = edited("datasets.toml", "min_assurance = 2", said).unwrap();
    let dataset = estate.dataset(&name).unwrap();
    assert_eq!(
        (dataset.confidential, dataset.exec),
        (false, ExecRule::Expose)
    );
    let wrong = edited("datasets.toml", "min_assurance = 2", "exec = \"allow\"");
    assert!(
        wrong
            .unwrap_err()
            .to_string()
            .ends_with("`refuse` or `expose` is wanted")
    );
}
