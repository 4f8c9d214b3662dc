//! Whether a change to one object widens access. Whatever is not shown to narrow or to change nothing, widens.

use std::collections::BTreeMap;

use crate::change::{Effect, ObjectKind, Verb};
use crate::credentials::{Credential, Grants};
use crate::datasets::{DataSet, ExecRule};
use crate::images::{ImageSet, Promoter};
use crate::inventory::Node;
use crate::people::Person;
use crate::{BootProfile, Estate};

pub(crate) fn effect_of_change(
    kind: ObjectKind,
    name: &str,
    verb: Verb,
    old: &Estate,
    new: &Estate,
) -> Effect {
    if kind == ObjectKind::KeyFile && ![old, new].into_iter().any(|estate| refers(estate, name)) {
        return Effect::Neutral;
    }
    if kind == ObjectKind::Promotion {
        return promotion(name, old, new);
    }
    match verb {
        Verb::Added => added(kind, name),
        Verb::Removed if was_robot(kind, name, old) => Effect::Widening,
        Verb::Removed => removed(kind, name),
        Verb::Changed => changed(kind, name, old, new).unwrap_or(Effect::Widening),
    }
}

fn added(kind: ObjectKind, name: &str) -> Effect {
    match kind {
        ObjectKind::Test => Effect::Neutral,
        ObjectKind::Duties => Effect::Narrowing,
        ObjectKind::Policy if name == GUARDRAILS => Effect::Narrowing,
        // A rule of approval, too: before, the founders had to sign.
        _ => Effect::Widening,
    }
}

fn removed(kind: ObjectKind, name: &str) -> Effect {
    match kind {
        ObjectKind::Policy if name == GUARDRAILS => Effect::Widening,
        // A test guards, a template that goes lets the next one apply, a rule of approval holds people back.
        ObjectKind::Test | ObjectKind::Identities | ObjectKind::Approvals | ObjectKind::Duties => {
            Effect::Widening
        }
        // A person who goes leaves fewer to agree; what they could do is gone.
        _ => Effect::Narrowing,
    }
}

/// Whether anything in the estate names the key file.
fn refers(estate: &Estate, path: &str) -> bool {
    let promoter = Promoter::Key(path.to_owned());
    let mut clusters = estate
        .clusters()
        .filter_map(|cluster| cluster.kubernetes.as_ref());
    estate
        .image_sets()
        .any(|set| set.promoters.contains(&promoter))
        || estate
            .databases()
            .any(|database| database.ca.as_deref() == Some(path))
        || clusters.any(|kubernetes| kubernetes.ca == path)
}

/// Nobody is known to be a robot once the entry is gone.
fn was_robot(kind: ObjectKind, name: &str, old: &Estate) -> bool {
    kind == ObjectKind::Person
        && old
            .people
            .persons
            .get(name)
            .is_some_and(|person| person.robot)
}

/// What a set holds by its own rules changes with the set; this is what was promoted into it and retired from it.
fn promotion(name: &str, old: &Estate, new: &Estate) -> Effect {
    let within = name
        .parse()
        .is_ok_and(|set| new.promotions(&set).is_within(&old.promotions(&set)));
    if within {
        Effect::Narrowing
    } else {
        Effect::Widening
    }
}

/// `None` when it can't be shown not to widen.
fn changed(kind: ObjectKind, name: &str, old: &Estate, new: &Estate) -> Option<Effect> {
    match kind {
        ObjectKind::Team => {
            let (old, new) = (old.people.teams.get(name)?, new.people.teams.get(name)?);
            new.is_subset(old).then_some(Effect::Narrowing)
        }
        ObjectKind::Person => person(old.people.persons.get(name)?, new.people.persons.get(name)?),
        ObjectKind::DataSet => dataset(old.datasets.get(name)?, new.datasets.get(name)?),
        ObjectKind::Node => node(
            old.inventory.nodes.get(name)?,
            new.inventory.nodes.get(name)?,
        ),
        ObjectKind::BootProfile => boot(
            old.inventory.boots.get(name)?,
            new.inventory.boots.get(name)?,
        ),
        ObjectKind::ImageSet => image_set(old.images.get(name)?, new.images.get(name)?),
        ObjectKind::Credential => {
            let find = |estate: &Estate| estate.credentials.credentials.get(name).cloned();
            credential(&find(old)?, &find(new)?)
        }
        ObjectKind::Approvals => {
            let rule = |estate: &Estate| approval(estate, name);
            rule(old)?
                .iter()
                .all(|(team, wanted)| rule(new).is_some_and(|rule| rule.get(team) >= Some(wanted)))
                .then_some(Effect::Narrowing)
        }
        _ => None,
    }
}

fn approval(estate: &Estate, name: &str) -> Option<BTreeMap<String, usize>> {
    let approve = &estate.people.approve;
    match name {
        "inventory" => Some(approve.inventory.clone()),
        "people" => Some(approve.people.clone()),
        "dataset" => Some(approve.dataset.clone()),
        _ => None,
    }
}

fn person(old: &Person, new: &Person) -> Option<Effect> {
    let Person { oidc, keys, robot } = new;
    let same_sign_in = oidc.is_none() || *oidc == old.oidc;
    (same_sign_in && keys.is_subset(&old.keys) && *robot >= old.robot).then_some(Effect::Narrowing)
}

fn dataset(old: &DataSet, new: &DataSet) -> Option<Effect> {
    let DataSet {
        name: _,
        owner,
        tenant,
        register: _,
        min_assurance,
        max_lease,
        outage_grace,
        keep_trail,
        confidential,
        exec,
    } = new;
    let same_decider = *owner == old.owner && *tenant == old.tenant;
    let narrower = *min_assurance >= old.min_assurance
        && *max_lease <= old.max_lease
        && *outage_grace <= old.outage_grace
        && *keep_trail >= old.keep_trail
        && *confidential >= old.confidential
        && (*exec == old.exec || *exec == ExecRule::Refuse);
    let equal = *min_assurance == old.min_assurance
        && *max_lease == old.max_lease
        && *outage_grace == old.outage_grace
        && *keep_trail == old.keep_trail
        && *confidential == old.confidential
        && *exec == old.exec;
    match (same_decider, narrower, equal) {
        (true, _, true) => Some(Effect::Neutral),
        (true, true, false) => Some(Effect::Narrowing),
        _ => None,
    }
}

fn node(old: &Node, new: &Node) -> Option<Effect> {
    let Node {
        name: _,
        cluster,
        location,
        attest,
        ek,
        replaced,
        serial: _,
        boot,
    } = new;
    let same = *cluster == old.cluster
        && *location == old.location
        && *attest == old.attest
        && *ek == old.ek
        && *boot == old.boot;
    let banned = replaced.is_superset(&old.replaced);
    match (same, banned, *replaced == old.replaced) {
        (true, _, true) => Some(Effect::Neutral),
        (true, true, false) => Some(Effect::Narrowing),
        _ => None,
    }
}

fn boot(old: &BootProfile, new: &BootProfile) -> Option<Effect> {
    new.accept
        .iter()
        .all(|(file, state)| old.accept.get(file) == Some(state))
        .then_some(Effect::Narrowing)
}

fn image_set(old: &ImageSet, new: &ImageSet) -> Option<Effect> {
    let ImageSet {
        name: _,
        owner,
        dataset,
        repository: _,
        must_be,
        keep,
        max_age,
        digests,
        promoters,
        run,
        // An object of its own tells of them.
        promoted: _,
        retired: _,
    } = new;
    let at_most = |new: Option<u64>, old: Option<u64>| match (new, old) {
        (Some(new), Some(old)) => new <= old,
        (_, None) => true,
        (None, Some(_)) => false,
    };
    let narrower = *owner == old.owner
        && *dataset == old.dataset
        && must_be.is_superset(&old.must_be)
        && at_most(keep.map(u64::from), old.keep.map(u64::from))
        && at_most(
            max_age.map(|age| age.seconds()),
            old.max_age.map(|age| age.seconds()),
        )
        && digests.is_subset(&old.digests)
        && promoters.is_subset(&old.promoters)
        && run.is_within(&old.run);
    narrower.then_some(Effect::Narrowing)
}

fn credential(old: &Credential, new: &Credential) -> Option<Effect> {
    let Credential {
        name: _,
        dataset,
        database,
        grants,
        ttl,
    } = new;
    let fewer = match (grants, &old.grants) {
        (Grants::Sql(new), Grants::Sql(old)) => new.is_subset(old),
        (Grants::Document(new), Grants::Document(old)) => new
            .iter()
            .all(|(name, roles)| old.get(name).is_some_and(|old| roles.is_subset(old))),
        _ => false,
    };
    let narrower = *dataset == old.dataset && *database == old.database && *ttl <= old.ttl && fewer;
    narrower.then_some(Effect::Narrowing)
}

/// The file whose rules can only forbid.
pub(crate) const GUARDRAILS: &str = "guardrails";
