//! Who can: every machine and image of the estate asked through the same evaluation as a request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use estate::{
    Ask, AskObject, Assurance, Attest, BootProfileName, ClusterName, Digest, Epoch, Estate,
    ImageSetName, LocationName, NodeName, Timestamp,
};
use evidence::{Action, Attestor, NodeFacts};
use serde::Serialize;

use crate::answer::Evaluation;
use crate::facts::{Facts, Measured};
use crate::{Policies, Target};

/// One machine with one image, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The node.
    pub node: NodeName,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its location.
    pub location: LocationName,
    /// The image set of the workload; absent where the node asks for itself.
    pub image: Option<ImageSetName>,
    /// What is asked.
    pub action: Action,
    /// What is asked for.
    pub target: Target,
    /// The answer, with all facts as good as they can be measured.
    pub evaluation: Evaluation,
}

/// Who can do something, over the declared fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhoCan {
    /// The question.
    pub ask: Ask,
    /// Those who can.
    pub rows: Vec<Row>,
    /// How many machines with an image can't.
    pub refused: usize,
}

/// A place in the fleet: a declared node, or one that could be declared.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    name: NodeName,
    cluster: ClusterName,
    location: LocationName,
    attest: Attest,
    boot: Option<BootProfileName>,
}

impl Policies {
    /// Who can do what is asked: each node and image set of the estate, with facts as good as they can be measured.
    #[must_use]
    pub fn who_can(&self, ask: &Ask, now: Timestamp) -> WhoCan {
        let seats = declared(self.estate());
        let all = self.ask_fleet(&seats, ask, now);
        let total = all.len();
        let rows: Vec<Row> = all
            .into_iter()
            .map(|(_, row)| row)
            .filter(|row| row.evaluation.is_allowed())
            .collect();
        WhoCan {
            ask: ask.clone(),
            refused: total - rows.len(),
            rows,
        }
    }

    /// One row for each seat, image and target. Equal fact vectors are evaluated once.
    pub(crate) fn ask_fleet<'s>(
        &self,
        seats: &'s [Seat],
        ask: &Ask,
        now: Timestamp,
    ) -> Vec<(&'s Seat, Row)> {
        let Some(action) = action_of(ask) else {
            return Vec::new();
        };
        let targets = self.targets(action, &ask.object);
        let images: Vec<Option<ImageSetName>> = match action {
            Action::Open => vec![None],
            _ => self
                .estate()
                .image_sets()
                .map(|set| Some(set.name.clone()))
                .collect(),
        };
        let names_nodes = self.rules().iter().any(|rule| rule.names_nodes);
        let mut answers = BTreeMap::new();
        let mut rows = Vec::new();
        for seat in seats {
            for image in &images {
                for target in &targets {
                    let place = (
                        &seat.cluster,
                        &seat.location,
                        seat.attest,
                        seat.boot.is_some(),
                    );
                    let key = (place, image, target, names_nodes.then_some(&seat.name));
                    let evaluation = answers.entry(key).or_insert_with(|| {
                        self.evaluate(
                            &self.facts_at(seat, image.as_ref(), now),
                            action,
                            target,
                            now,
                        )
                    });
                    rows.push((
                        seat,
                        seat.row(image.clone(), action, target.clone(), evaluation.clone()),
                    ));
                }
            }
        }
        rows
    }

    /// The best facts that a seat can have.
    pub(crate) fn facts_at(
        &self,
        seat: &Seat,
        image: Option<&ImageSetName>,
        now: Timestamp,
    ) -> Facts {
        let (attestor, assurance) = match seat.attest {
            Attest::Tpm => (Attestor::Tpm, Assurance::ENROLLED),
            Attest::JoinToken => (Attestor::JoinToken, Assurance::OWN_WORD),
        };
        let node = NodeFacts {
            name: seat.name.clone(),
            cluster: Some(seat.cluster.clone()),
            location: Some(seat.location.clone()),
            assurance,
            attestor,
            boot: seat.boot.clone(),
            quoted_at: (attestor == Attestor::Tpm).then_some(now),
            epoch: Epoch::default(),
        };
        Facts {
            node,
            workload: image.map(|set| Measured::ideal(self.sample(set), Some(set.clone()))),
        }
    }

    /// The things that a question can be about.
    pub(crate) fn targets(&self, action: Action, object: &AskObject) -> Vec<Target> {
        let estate = self.estate();
        let fits = |target: &Target| {
            matches!(
                (action, target),
                (Action::Open | Action::Start, Target::ImageKey(_))
                    | (Action::Read, Target::Secret(..))
                    | (Action::Lease, Target::Credential(..))
                    | (Action::Issue, Target::Identity)
            )
        };
        let found: Vec<Target> = match object {
            AskObject::ImageKey(name) => vec![Target::ImageKey(name.clone())],
            AskObject::Credential(name) => estate
                .credential(name)
                .map(|one| Target::Credential(name.clone(), one.dataset.clone()))
                .into_iter()
                .collect(),
            // Which data set a secret is in is told where it is kept, so each that could hold it is asked.
            AskObject::Secret(name) => estate
                .datasets()
                .map(|dataset| Target::Secret(name.clone(), dataset.name.clone()))
                .collect(),
            AskObject::DataSet(name) => {
                let keys = estate.image_sets().filter(|set| set.dataset == *name);
                let credentials = estate.credentials().filter(|one| one.dataset == *name);
                let named = self.secrets_named_in_rules();
                keys.map(|set| Target::ImageKey(set.name.clone()))
                    .chain(
                        credentials.map(|one| Target::Credential(one.name.clone(), name.clone())),
                    )
                    .chain(
                        named
                            .into_iter()
                            .map(|secret| Target::Secret(secret, name.clone())),
                    )
                    .collect()
            }
            AskObject::Identity => vec![Target::Identity],
        };
        found.into_iter().filter(fits).collect()
    }

    /// Secrets are not in the estate: those that rules or databases name, and one that stands for all others.
    fn secrets_named_in_rules(&self) -> BTreeSet<estate::SecretName> {
        let logins = self
            .estate()
            .databases()
            .map(|database| database.login.clone());
        let exact = self.rules().iter().filter_map(|rule| rule.exact.as_ref());
        let named = exact.filter(|one| one.type_name().basename() == "Secret");
        logins
            .chain(named.filter_map(|one| one.id().unescaped().parse().ok()))
            .chain("any/other/secret".parse().ok())
            .collect()
    }

    /// The digest of an image of a set: a member, or a stand-in where none is listed yet.
    pub(crate) fn sample(&self, set: &ImageSetName) -> Digest {
        let member = self
            .estate()
            .image_set(set)
            .and_then(|set| set.digests.first().copied());
        member.unwrap_or_else(|| Digest::of(set.as_str()))
    }
}

/// The nodes of the inventory.
pub(crate) fn declared(estate: &Estate) -> Vec<Seat> {
    estate
        .nodes()
        .map(|node| Seat {
            name: node.name.clone(),
            cluster: node.cluster.clone(),
            location: node.location.clone(),
            attest: node.attest,
            boot: node.boot.clone(),
        })
        .collect()
}

/// The nodes of the inventory, and one in each place that a node of each cluster could be declared in.
pub(crate) fn conceivable(estate: &Estate) -> Vec<Seat> {
    let boot: Option<BootProfileName> = "any".parse().ok();
    let mut seats = declared(estate);
    let name: Option<NodeName> = "any-other-node".parse().ok();
    for cluster in estate.clusters() {
        let inside = |location: &&estate::Location| {
            estate
                .ancestors(&location.name)
                .any(|place| place.name == cluster.location)
        };
        for location in estate.locations().filter(inside) {
            seats.extend(name.clone().map(|name| Seat {
                name,
                cluster: cluster.name.clone(),
                location: location.name.clone(),
                attest: Attest::Tpm,
                boot: boot.clone(),
            }));
        }
    }
    seats
}

pub(crate) fn action_of(ask: &Ask) -> Option<Action> {
    crate::vocabulary::ACTIONS
        .into_iter()
        .find(|action| action.as_str() == ask.verb)
}

impl Seat {
    fn row(
        &self,
        image: Option<ImageSetName>,
        action: Action,
        target: Target,
        evaluation: Evaluation,
    ) -> Row {
        let (node, cluster, location) = (
            self.name.clone(),
            self.cluster.clone(),
            self.location.clone(),
        );
        Row {
            node,
            cluster,
            location,
            image,
            action,
            target,
            evaluation,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = self
            .image
            .as_ref()
            .map_or("(the node itself)", |image| image.as_str());
        write!(
            f,
            "{image} on {} in {}, {}: {} {}, {}",
            self.node,
            self.location,
            self.cluster,
            self.action.as_str(),
            self.target,
            self.evaluation
        )
    }
}

impl fmt::Display for WhoCan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "who can {}:", self.ask)?;
        if self.rows.is_empty() {
            writeln!(f, "  nobody")?;
        }
        for row in &self.rows {
            writeln!(f, "  {row}")?;
        }
        writeln!(
            f,
            "{} permitted, {} refused, over nodes and image sets of the estate",
            self.rows.len(),
            self.refused
        )
    }
}
