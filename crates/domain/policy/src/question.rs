//! One request as the engine sees it: entities built from typed facts only.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use cedar_policy::{Context, Entities, Entity, EntityUid, Request, RestrictedExpression};
use estate::{Estate, Timestamp};
use evidence::{Action, Attestor, NodeFacts, Strength};

use crate::facts::{Facts, Measured};
use crate::target::Resource;
use crate::vocabulary::{Vocabulary, uid};

/// A request with its entities.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) request: Request,
    pub(crate) entities: Entities,
}

impl Question {
    /// An error here means that facts and schema do not fit, which is a denial.
    pub(crate) fn build(
        facts: &Facts,
        action: Action,
        resource: Resource<'_>,
        now: Timestamp,
        estate: &Estate,
        words: &Vocabulary,
    ) -> Result<Self, String> {
        let node = uid(&words.node, &facts.node.name);
        let mut entities = node_entities(&facts.node, &node, now, estate, words)?;
        let principal = match &facts.workload {
            Some(measured) => {
                let (workload, more) = workload_entities(measured, &node, words)?;
                entities.extend(more);
                workload
            }
            None => node,
        };
        let asked = resource.uid.clone();
        entities.extend(resource.entities(words)?);
        let now = RestrictedExpression::new_datetime(now.to_string());
        let context =
            Context::from_pairs([("now".to_owned(), now)]).map_err(|error| error.to_string())?;
        // The schema is the second lock against a principal or resource that an action is not for.
        let request = Request::new(
            principal,
            words.action(action),
            asked,
            context,
            Some(&words.schema),
        )
        .map_err(|error| error.to_string())?;
        let entities =
            Entities::from_entities(entities, None).map_err(|error| error.to_string())?;
        Ok(Self { request, entities })
    }
}

fn node_entities(
    node: &NodeFacts,
    own: &EntityUid,
    now: Timestamp,
    estate: &Estate,
    words: &Vocabulary,
) -> Result<Vec<Entity>, String> {
    let mut entities = Vec::new();
    let mut parents = HashSet::new();
    if let Some(cluster) = &node.cluster {
        let cluster = uid(&words.cluster, cluster);
        entities.push(Entity::new_no_attrs(cluster.clone(), HashSet::new()));
        parents.insert(cluster);
    }
    if let Some(location) = &node.location {
        parents.insert(uid(&words.location, location));
        entities.extend(place_entities(location, estate, words)?);
    }
    let mut attributes = HashMap::from([
        (
            "assurance".to_owned(),
            RestrictedExpression::new_long(i64::from(node.assurance.level())),
        ),
        (
            "attestor".to_owned(),
            RestrictedExpression::new_string(attestor(node.attestor).to_owned()),
        ),
    ]);
    if let Some(boot) = &node.boot {
        attributes.insert(
            "boot".to_owned(),
            RestrictedExpression::new_string(boot.to_string()),
        );
    }
    // A quote from the future has no age, and what has no age is not fresh.
    if let Some(age) = node.quoted_at.and_then(|quoted| now.since(quoted)) {
        attributes.insert("quoteAge".to_owned(), duration(age));
    }
    entities
        .push(Entity::new(own.clone(), attributes, parents).map_err(|error| error.to_string())?);
    Ok(entities)
}

fn place_entities(
    location: &estate::LocationName,
    estate: &Estate,
    words: &Vocabulary,
) -> Result<Vec<Entity>, String> {
    let places = estate.ancestors(location).map(|place| {
        let kind = RestrictedExpression::new_string(place.kind.to_string());
        let parents = place
            .within
            .iter()
            .map(|outer| uid(&words.location, outer))
            .collect();
        Entity::new(
            uid(&words.location, &place.name),
            HashMap::from([("kind".to_owned(), kind)]),
            parents,
        )
        .map_err(|error| error.to_string())
    });
    places.collect()
}

fn workload_entities(
    measured: &Measured,
    node: &EntityUid,
    words: &Vocabulary,
) -> Result<(EntityUid, Vec<Entity>), String> {
    // There is one workload in each question; rules can't name it, so its id tells nothing.
    let own = uid(&words.workload, "this");
    let mut entities = Vec::new();
    let mut parents = HashSet::from([node.clone()]);
    if let Some(image) = &measured.image {
        let image = uid(&words.image, image.to_string());
        let set = measured
            .image_set
            .as_ref()
            .map(|set| uid(&words.image_set, set));
        entities.extend(
            set.clone()
                .map(|set| Entity::new_no_attrs(set, HashSet::new())),
        );
        entities.push(Entity::new_no_attrs(
            image.clone(),
            set.into_iter().collect(),
        ));
        parents.insert(image);
    }
    let mut attributes = HashMap::from([(
        "node".to_owned(),
        RestrictedExpression::new_entity_uid(node.clone()),
    )]);
    let mut flag = |name: &str, value: Option<bool>| {
        attributes
            .extend(value.map(|value| (name.to_owned(), RestrictedExpression::new_bool(value))));
    };
    flag("asShipped", measured.as_shipped);
    flag("exeFromImage", measured.exe_from_image);
    flag(
        "interactive",
        measured.interactive.map(|interactive| interactive.yes),
    );
    flag("privileged", measured.privileged);
    if let Some(interactive) = measured.interactive {
        let strength = match interactive.strength {
            Strength::Weak => "weak",
            Strength::Strong => "strong",
        };
        attributes.insert(
            "interactiveStrength".to_owned(),
            RestrictedExpression::new_string(strength.to_owned()),
        );
    }
    entities
        .push(Entity::new(own.clone(), attributes, parents).map_err(|error| error.to_string())?);
    Ok((own, entities))
}

fn duration(age: Duration) -> RestrictedExpression {
    // Cedar counts durations in an i64 of milliseconds; an age beyond that is a hundred million years old.
    let millis = u64::try_from(age.as_millis())
        .unwrap_or(u64::MAX)
        .min(i64::MAX as u64);
    RestrictedExpression::new_duration(format!("{millis}ms"))
}

fn attestor(attestor: Attestor) -> &'static str {
    match attestor {
        Attestor::Tpm => "tpm",
        Attestor::JoinToken => "join-token",
    }
}
