//! Facts: the vector that every decision is made from, whether a request, a test or a question asks for it.

use estate::{Assurance, Attest, Digest, ImageSetName, MountGroup, RunRules, Timestamp};
use evidence::{
    Attestor, Deviation, Interactive, NodeFacts, Strength, VerifiedEvidence, WorkloadFacts,
};

use crate::Policies;

/// What a decision is made from. What was not measured is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The node that asks, or that the workload runs on.
    pub node: NodeFacts,
    /// The workload that asks; absent when the node asks for itself.
    pub workload: Option<Measured>,
}

/// What is known of a workload, judged by what its owner allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measured {
    /// Config digest of its image.
    pub image: Option<Digest>,
    /// The set that the image is in.
    pub image_set: Option<ImageSetName>,
    /// Whether it runs as its image, but for what the owner allows to differ; absent when that was not compared.
    pub as_shipped: Option<bool>,
    /// What differs and is not allowed, as a person reads it.
    pub unshipped: Vec<String>,
    /// Whether the executable's bytes come from the image.
    pub exe_from_image: Option<bool>,
    /// Whether somebody may have had a hand inside, and how that is known.
    pub interactive: Option<Interactive>,
    /// Whether it has host-level power.
    pub privileged: Option<bool>,
}

impl Measured {
    /// The best that can be measured of an image of this set.
    #[must_use]
    pub fn ideal(image: Digest, image_set: Option<ImageSetName>) -> Self {
        Self {
            image: Some(image),
            image_set,
            as_shipped: Some(true),
            unshipped: Vec::new(),
            exe_from_image: Some(true),
            interactive: Some(Interactive {
                yes: false,
                strength: Strength::Strong,
            }),
            privileged: Some(false),
        }
    }
}

impl Policies {
    /// The facts of verified evidence, as this version of the estate judges them.
    #[must_use]
    pub fn facts_of(&self, evidence: &VerifiedEvidence, now: Timestamp) -> Facts {
        self.facts_from(evidence.node(), evidence.workload(), now)
    }

    /// As [`Policies::facts_of`], from facts that may only be remembered, to explain with them. Facts are no proof.
    ///
    /// Which image set an image is in depends on `now`: promoted builds age out. Place and cluster are taken from the
    /// inventory as it is now, not as it was when the node was attested: a node
    /// that was moved or removed is where the inventory says, or nowhere. A boot profile counts only while the inventory
    /// still wants it of that node.
    #[must_use]
    pub fn facts_from(
        &self,
        attested: &NodeFacts,
        workload: Option<&WorkloadFacts>,
        now: Timestamp,
    ) -> Facts {
        let listed = self.estate().node(&attested.name);
        // A token can't stand for a machine that the inventory wants attested by its TPM, nor the reverse.
        let listed = listed.filter(|node| {
            matches!(
                (node.attest, attested.attestor),
                (Attest::Tpm, Attestor::Tpm) | (Attest::JoinToken, Attestor::JoinToken)
            )
        });
        let node = NodeFacts {
            cluster: listed.map(|node| node.cluster.clone()),
            location: listed.map(|node| node.location.clone()),
            boot: attested
                .boot
                .clone()
                .filter(|boot| listed.is_some_and(|node| node.boot.as_ref() == Some(boot))),
            // For a machine that is not listed so: of the kind that needs a boot state, which it does not have.
            attestor: if listed.is_some() {
                attested.attestor
            } else {
                Attestor::Tpm
            },
            assurance: match attested.attestor {
                Attestor::Tpm => attested.assurance,
                Attestor::JoinToken => Assurance::OWN_WORD,
            },
            ..attested.clone()
        };
        Facts {
            node,
            workload: workload.map(|workload| self.measured(workload, now)),
        }
    }

    fn measured(&self, workload: &WorkloadFacts, now: Timestamp) -> Measured {
        let image = workload.image.as_ref().map(|image| image.config);
        let set = image.and_then(|config| self.estate().image_set_of(&config, now));
        let nothing = RunRules::default();
        let rules = set.map_or(&nothing, |set| &set.run);
        // Some are named and the rest counted: a denial's reason stands in a leaf, and a node may report any number.
        let refused = |deviations: &Vec<Deviation>| -> Vec<String> {
            let refused = || {
                deviations
                    .iter()
                    .filter(|deviation| !allows(rules, deviation))
            };
            let more = refused().count().saturating_sub(MOST_NAMED);
            refused()
                .take(MOST_NAMED)
                .map(describe)
                .chain((more > 0).then(|| format!("and {more} more")))
                .collect()
        };
        let unshipped = workload.deviations.as_ref().map(refused);
        Measured {
            image,
            image_set: set.map(|set| set.name.clone()),
            as_shipped: unshipped.as_ref().map(Vec::is_empty),
            unshipped: unshipped.unwrap_or_default(),
            exe_from_image: workload.exe.as_ref().and_then(|exe| exe.from_image),
            interactive: workload.interactive,
            privileged: workload.privileged,
        }
    }
}

const MOST_NAMED: usize = 32;

/// Whether the owner of the image allows this difference.
fn allows(rules: &RunRules, deviation: &Deviation) -> bool {
    match deviation {
        Deviation::Args { value } => rules.allows_args(value),
        Deviation::Env { name } => rules.allows_env(name),
        Deviation::Mount {
            destination,
            source,
        } => rules.allows_mount(destination, MountGroup::of(destination, source)),
        Deviation::User { .. }
        | Deviation::Cwd { .. }
        | Deviation::Hook { .. }
        | Deviation::Namespace { .. }
        | Deviation::Capability { .. }
        | Deviation::Other { .. } => false,
    }
}

fn describe(deviation: &Deviation) -> String {
    let quoted = |text: &str| {
        format!(
            "`{}`",
            text.chars().take(120).collect::<String>().escape_debug()
        )
    };
    match deviation {
        Deviation::Args { value } => format!("another command, {}", quoted(&value.join(" "))),
        Deviation::Env { name } => format!("the variable {}", quoted(name)),
        Deviation::User { value } => format!("another user, {}", quoted(value)),
        Deviation::Cwd { value } => format!("another directory, {}", quoted(value)),
        Deviation::Mount {
            destination,
            source: _,
        } => format!("a mount at {}", quoted(destination)),
        Deviation::Hook { path } => format!("the hook {}", quoted(path)),
        Deviation::Namespace { name } => format!("a shared namespace, {}", quoted(name)),
        Deviation::Capability { name } => format!("the capability {}", quoted(name)),
        Deviation::Other { what } => quoted(what),
    }
}
