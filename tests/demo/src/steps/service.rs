//! Step 3: the right image in the right place gets an identity and a database credential made for it alone.

use std::time::Duration;

use anyhow::{Context, bail};
use fixture::{ContainerSpec, until_async};

use super::image::Image;
use crate::stage::{Node, Stage};
use crate::tell::Since;

/// The running service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its container on the node in DAL05.
    pub container: String,
    /// The database role that was made for it.
    pub role: String,
    /// What it printed.
    pub printed: String,
    /// The SPIFFE id that another container of the same image was given.
    pub identity: String,
}

/// Pulls, runs, and waits for records.
///
/// # Errors
/// When the service does not come to its records.
pub async fn run(stage: &Stage, image: &Image) -> anyhow::Result<Service> {
    stage.tell.chapter("3  DAL05 opens and runs it");
    let node = &stage.dal05;
    let since = Since::now();
    node.cri.pull(&image.reference).await?;
    stage.tell.step(
        since.took(),
        &format!("crictl pull {}", image.reference),
        "decrypted by `bailiwick plugin containerd-decoder`",
    );
    let identity = identity(stage, image).await?;
    let since = Since::now();
    let (container, printed) = launch(
        node,
        "medrec",
        &node.container(&image.reference),
        "Mary Jackson",
    )
    .await?;
    let role = await_session(stage).await?;
    let records: Vec<&str> = printed.lines().filter(|line| line.contains('|')).collect();
    stage.tell.step(
        since.took(),
        "crictl run medrec",
        &format!("as database role {role}:\n{}", records.join("\n")),
    );
    Ok(Service {
        container,
        role,
        printed,
        identity,
    })
}

/// The same image with the one other command that its owner allows.
async fn identity(stage: &Stage, image: &Image) -> anyhow::Result<String> {
    let since = Since::now();
    let node = &stage.dal05;
    let command = ["/usr/bin/bailiwick", "svid", "watch"]
        .map(str::to_owned)
        .to_vec();
    let spec = ContainerSpec {
        command,
        ..node.container(&image.reference)
    };
    let (_, printed) = launch(node, "svid", &spec, "spiffe://").await?;
    let id = printed
        .split_whitespace()
        .find(|word| word.starts_with("spiffe://"))
        .context("no identity was printed")?;
    stage
        .tell
        .step(since.took(), "crictl run medrec: bailiwick svid watch", id);
    Ok(id.to_owned())
}

/// Starts a container in a pod of its own, and waits until it says `wanted`; its id and what it said.
///
/// # Errors
/// When it ends without saying so.
pub async fn launch(
    node: &Node,
    name: &str,
    spec: &ContainerSpec,
    wanted: &str,
) -> anyhow::Result<(String, String)> {
    let pod = node.pod(name);
    let (_, id) = node.cri.launch(&pod, spec).await?;
    let said = || node.cri.log(&pod, &spec.name);
    let done = until_async("the container", PATIENCE, async || {
        let over = said().contains(wanted)
            || node
                .cri
                .status(&id)
                .await
                .is_ok_and(|status| !status.running);
        over.then_some(())
    });
    done.await.with_context(said)?;
    let printed = said();
    if !printed.contains(wanted) {
        bail!("`{name}` ended without `{wanted}`: {printed}");
    }
    Ok((id, printed))
}

/// The role of the one session that was opened with a lease.
async fn await_session(stage: &Stage) -> anyhow::Result<String> {
    let role = until_async("the database session", PATIENCE, async || {
        if stage.postgres.sessions("bw_").ok()?.is_empty() {
            None
        } else {
            stage.postgres.roles("bw_").ok()?.pop()
        }
    });
    Ok(role.await?)
}

const PATIENCE: Duration = Duration::from_secs(60);
