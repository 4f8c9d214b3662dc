//! The rules of the example estate, and rules that are refused.
#![expect(clippy::unwrap_used, reason = "test code")]

mod changes;
mod example;
mod guardrails;
mod hostile;
mod loading;
mod measured;

use estate::{Assurance, Digest, Epoch, Estate, PolicyVersion, Timestamp};
use evidence::{Attestor, NodeFacts};
use policy::{Facts, Measured, Policies, PolicyError, Target};

const RULES: &str = "policies/medical-records.cedar";

fn example_files() -> Vec<(String, String)> {
    macro_rules! files {
        ($($path:literal),* $(,)?) => {
            vec![$(($path.to_owned(), include_str!(concat!("../../../estate/tests/estate/", $path)).to_owned())),*]
        };
    }
    files![
        "people.toml",
        "datasets.toml",
        "inventory.toml",
        "images.toml",
        "identities.toml",
        "credentials.toml",
        "policies/medical-records.cedar",
        "tests/medical-records.toml",
        "events/debian12-6.1.115.toml",
        "events/debian12-6.1.119.toml",
        "keys/medrec-cosign.pub",
        "keys/k8s-hipaa.pem",
        "keys/pg-ca.pem",
    ]
}

/// The example with more text at the end of some files.
fn estate_with(more: &[(&str, &str)]) -> Estate {
    let mut files = example_files();
    for (path, text) in more {
        match files.iter_mut().find(|(name, _)| name == path) {
            Some((_, old)) => old.push_str(text),
            None => files.push(((*path).to_owned(), (*text).to_owned())),
        }
    }
    Estate::parse(&files).unwrap()
}

fn load_with(more: &[(&str, &str)]) -> Result<Policies, PolicyError> {
    Policies::load(&estate_with(more), PolicyVersion(1))
}

fn policies() -> Policies {
    load_with(&[]).unwrap()
}

fn now() -> Timestamp {
    "2026-11-23T03:12:07Z".parse().unwrap()
}

/// The node of the example, attested and freshly quoted.
fn node() -> NodeFacts {
    NodeFacts {
        name: "dal05-r12-n07".parse().unwrap(),
        cluster: Some("hipaaCluster".parse().unwrap()),
        location: Some("DAL05-R12".parse().unwrap()),
        assurance: Assurance::ENROLLED,
        attestor: Attestor::Tpm,
        boot: Some("debian12-2026-11".parse().unwrap()),
        quoted_at: Some(now()),
        epoch: Epoch(1),
    }
}

/// The workload of the example's sentence.
fn sentence() -> Facts {
    let measured = Measured::ideal(Digest::of("medrec"), Some("medrec".parse().unwrap()));
    Facts {
        node: node(),
        workload: Some(measured),
    }
}

fn node_itself() -> Facts {
    Facts {
        node: node(),
        workload: None,
    }
}

fn credential() -> Target {
    Target::Credential(
        "postgresql/medical-records".parse().unwrap(),
        "medical-records".parse().unwrap(),
    )
}

fn secret(name: &str) -> Target {
    Target::Secret(name.parse().unwrap(), "medical-records".parse().unwrap())
}

fn image_key() -> Target {
    Target::ImageKey("medrec".parse().unwrap())
}
