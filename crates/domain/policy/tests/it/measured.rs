//! From what a node measured to facts: the owner's `[run]` and the inventory judge it.

use estate::{Assurance, Digest};
use evidence::{
    Action, Attestor, Deviation, ExeFacts, ImageFacts, Interactive, NodeFacts, Strength,
    WorkloadFacts,
};
use policy::{Facts, Policies, Target};

use crate::{credential, load_with, node, now, policies};

fn measured(deviations: Option<Vec<Deviation>>) -> WorkloadFacts {
    let config = *policies()
        .estate()
        .image_set(&"medrec".parse().unwrap())
        .unwrap()
        .digests
        .first()
        .unwrap();
    WorkloadFacts {
        container: None,
        image: Some(ImageFacts {
            config,
            chain_id: Digest::of("chain"),
        }),
        exe: Some(ExeFacts {
            digest: Digest::of("exe"),
            from_image: Some(true),
        }),
        deviations,
        interactive: Some(Interactive {
            yes: false,
            strength: Strength::Strong,
        }),
        privileged: Some(false),
        uid: Some(1000),
        pod: None,
    }
}

fn shipped(deviation: Deviation) -> (Option<bool>, Vec<String>) {
    let facts = policies().facts_from(&node(), Some(&measured(Some(vec![deviation]))), now());
    let workload = facts.workload.unwrap();
    (workload.as_shipped, workload.unshipped)
}

#[test]
fn an_image_is_known_by_its_config_digest() {
    let facts = policies().facts_from(&node(), Some(&measured(Some(Vec::new()))), now());
    let workload = facts.workload.unwrap();
    assert_eq!(workload.image_set, Some("medrec".parse().unwrap()));
    assert_eq!(workload.as_shipped, Some(true));
    let mut other = measured(Some(Vec::new()));
    other.image.as_mut().unwrap().config = Digest::of("other");
    assert_eq!(
        policies()
            .facts_from(&node(), Some(&other), now())
            .workload
            .unwrap()
            .image_set,
        None
    );
}

#[test]
fn what_the_owner_lists_is_as_shipped() {
    for allowed in [
        Deviation::Env { name: "TZ".into() },
        Deviation::Mount {
            destination: "/var/cache/medrec".into(),
            source: "/srv/cache".into(),
        },
        Deviation::Mount {
            destination: "/etc/hosts".into(),
            source: "/var/lib/kubelet/pods/1/etc-hosts".into(),
        },
        Deviation::Mount {
            destination: "/run/bailiwick".into(),
            source: "/run/bailiwick".into(),
        },
    ] {
        assert_eq!(shipped(allowed), (Some(true), Vec::new()));
    }
}

#[test]
fn what_the_owner_does_not_list_is_not() {
    for (refused, words) in [
        (
            Deviation::Env {
                name: "LD_PRELOAD".into(),
            },
            "the variable `LD_PRELOAD`",
        ),
        (Deviation::Env { name: "tz".into() }, "the variable `tz`"),
        (
            Deviation::Args {
                value: vec!["/bin/sh".into(), "-c".into()],
            },
            "another command, `/bin/sh -c`",
        ),
        (
            Deviation::Mount {
                destination: "/etc/ld.so.preload".into(),
                source: "/tmp/x".into(),
            },
            "a mount at `/etc/ld.so.preload`",
        ),
        (
            Deviation::Mount {
                destination: "/etc/hosts".into(),
                source: "/tmp/hosts".into(),
            },
            "a mount at `/etc/hosts`",
        ),
        (
            Deviation::User {
                value: "0:0".into(),
            },
            "another user, `0:0`",
        ),
        (
            Deviation::Cwd {
                value: "/tmp".into(),
            },
            "another directory, `/tmp`",
        ),
        (
            Deviation::Hook {
                path: "/bin/hook".into(),
            },
            "the hook `/bin/hook`",
        ),
        (
            Deviation::Namespace { name: "pid".into() },
            "a shared namespace, `pid`",
        ),
        (
            Deviation::Capability {
                name: "CAP_SYS_ADMIN".into(),
            },
            "the capability `CAP_SYS_ADMIN`",
        ),
        (
            Deviation::Other {
                what: "seccomp".into(),
            },
            "`seccomp`",
        ),
    ] {
        assert_eq!(shipped(refused), (Some(false), vec![words.to_owned()]));
    }
}

#[test]
fn what_was_not_compared_is_absent() {
    let facts = policies().facts_from(&node(), Some(&measured(None)), now());
    assert_eq!(facts.workload.unwrap().as_shipped, None);
    let nothing = WorkloadFacts {
        container: None,
        image: None,
        exe: None,
        deviations: None,
        interactive: None,
        privileged: None,
        uid: None,
        pod: None,
    };
    let workload = policies()
        .facts_from(&node(), Some(&nothing), now())
        .workload
        .unwrap();
    assert_eq!(workload, policy::Measured::default());
}

#[test]
fn an_image_in_no_set_may_not_differ_at_all() {
    let mut other = measured(Some(vec![Deviation::Env { name: "TZ".into() }]));
    other.image.as_mut().unwrap().config = Digest::of("other");
    assert_eq!(
        policies()
            .facts_from(&node(), Some(&other), now())
            .workload
            .unwrap()
            .as_shipped,
        Some(false)
    );
}

#[test]
fn a_node_is_where_the_inventory_says_now() {
    let claims = NodeFacts {
        location: Some("FRA02".parse().unwrap()),
        cluster: Some("euCluster".parse().unwrap()),
        ..node()
    };
    let facts = policies().facts_from(&claims, None, now());
    assert_eq!(
        (facts.node.location, facts.node.cluster),
        (node().location, node().cluster)
    );
    let unknown = NodeFacts {
        name: "gone".parse().unwrap(),
        ..node()
    };
    let Facts { node: gone, .. } = policies().facts_from(&unknown, None, now());
    assert_eq!((gone.location, gone.cluster, gone.boot), (None, None, None));
}

#[test]
fn a_boot_profile_counts_only_while_the_inventory_wants_it() {
    let profile = "\n[boot.other]\naccept = [\"events/debian12-6.1.119.toml\"]\n";
    let policies: Policies = load_with(&[("inventory.toml", profile)]).unwrap();
    let claims = NodeFacts {
        boot: Some("other".parse().unwrap()),
        ..node()
    };
    assert_eq!(policies.facts_from(&claims, None, now()).node.boot, None);
    assert_eq!(
        policies.facts_from(&node(), None, now()).node.boot,
        node().boot
    );
}

#[test]
fn a_token_does_not_stand_for_a_machine_with_a_tpm() {
    let by_token = NodeFacts {
        attestor: Attestor::JoinToken,
        ..node()
    };
    let facts = policies().facts_from(&by_token, Some(&measured(Some(Vec::new()))), now());
    assert_eq!(
        (facts.node.location.clone(), facts.node.boot.clone()),
        (None, None)
    );
    assert_eq!(
        (facts.node.attestor, facts.node.assurance),
        (Attestor::Tpm, Assurance::OWN_WORD)
    );
    let answer = policies().evaluate(&facts, Action::Issue, &Target::Identity, now());
    assert_eq!(
        answer.to_string(),
        "denied: `guardrail-boot` forbids it: the node's boot state is not attested"
    );

    let lab = "\n[node.lab-1]\ncluster = \"hipaaCluster\"\nlocation = \"DAL05\"\nattest = \"join-token\"\n";
    let policies = load_with(&[("inventory.toml", lab)]).unwrap();
    let joined = NodeFacts {
        name: "lab-1".parse().unwrap(),
        boot: None,
        quoted_at: None,
        ..by_token
    };
    let facts = policies.facts_from(&joined, Some(&measured(Some(Vec::new()))), now());
    assert_eq!(facts.node.location, Some("DAL05".parse().unwrap()));
    assert!(
        policies
            .evaluate(&facts, Action::Issue, &Target::Identity, now())
            .is_allowed()
    );
    assert!(
        !policies
            .evaluate(&facts, Action::Lease, &credential(), now())
            .is_allowed()
    );
}
