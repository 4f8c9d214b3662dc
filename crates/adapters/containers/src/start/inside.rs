//! A container that a hand goes into: what it is, what it is made of, what it holds.

use std::collections::BTreeSet;

use agent::ports::{Inside, ProbeError};
use estate::Digest;
use evidence::{ContainerRef, Interactive, Strength, WorkloadFacts};

use super::{Keeping, layers_of, places, unreadable};
use crate::locate::{self, Located};
use crate::measure::{self, Kernel};
use crate::probe::runtime_failed;
use crate::spec::ImageConfig;
use crate::{Containers, RuntimeError};

/// `found` are chains that somebody found in it beside.
pub(super) async fn measure(
    containers: &Containers,
    keeping: &Keeping,
    container: &ContainerRef,
    found: &[Digest],
) -> Result<Inside, ProbeError> {
    let (facts, below) = facts(containers, container).await.map_err(runtime_failed)?;
    let healthcheck = healthcheck(containers, container, &facts)
        .await
        .map_err(runtime_failed)?;
    let listed = keeping.claims.read().map_err(|error| unreadable(&error))?;
    let by_gate = keeping.found_by_gate(container);
    let chains = below
        .into_iter()
        .chain(by_gate.map_err(|error| unreadable(&error))?)
        .chain(found.iter().copied())
        .collect();
    let layers = layers_of(&listed, &chains, found)?;
    let held = keeping.held(container);
    Ok(Inside {
        facts,
        images: layers.into_iter().map(|layer| layer.image).collect(),
        held: held.map_err(|error| unreadable(&error))?,
        healthcheck,
    })
}

/// What was measured of a container as a whole, and the chains below it. One that does not run is known by name alone.
async fn facts(
    containers: &Containers,
    name: &ContainerRef,
) -> Result<(WorkloadFacts, BTreeSet<Digest>), RuntimeError> {
    let unknown = WorkloadFacts {
        container: Some(name.clone()),
        interactive: Some(Interactive {
            yes: true,
            strength: Strength::Weak,
        }),
        ..measure::nothing()
    };
    let Some(container) = measure::container(containers, name).await? else {
        return Ok((unknown, BTreeSet::new()));
    };
    let (namespace, key) = (&name.runtime_namespace, &container.snapshot_key);
    let below = match key.is_empty() {
        true => BTreeSet::new(),
        false => {
            places::ancestors(&containers.client, namespace, &container.snapshotter, key).await?
        }
    };
    let Some(task) = locate::first_process(&containers.client, name).await? else {
        return Ok((unknown, below));
    };
    let Ok(kernel) = Kernel::read(task.pid) else {
        return Ok((unknown, below));
    };
    let located = Located {
        container: name.clone(),
        task,
    };
    let (facts, _) = measure::in_container(containers, located, &kernel).await?;
    Ok((facts, below))
}

async fn healthcheck(
    containers: &Containers,
    container: &ContainerRef,
    facts: &WorkloadFacts,
) -> Result<Option<Vec<String>>, RuntimeError> {
    let Some(image) = &facts.image else {
        return Ok(None);
    };
    let namespace = &container.runtime_namespace;
    let bytes = containers.client.document(namespace, image.config).await?;
    Ok(bytes
        .and_then(|bytes| ImageConfig::parse(&bytes))
        .and_then(|config| config.healthcheck()))
}
