//! Step 4: everybody else is refused, each with a reason that a person can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, bail};
use fixture::{ContainerSpec, Mount, Recipe, until_async};

use super::image::{CREDENTIAL, Image, stripped};
use super::service::launch;
use crate::rows::Leaf;
use crate::stage::{Node, Stage};
use crate::tell::Since;

/// Somebody who was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What was tried.
    pub attempt: &'static str,
    /// Why not, as it was told.
    pub reason: String,
    /// The container that was refused, if one was.
    pub container: Option<String>,
    /// The leaf that holds the refusal, if it came from the release path or from attestation.
    pub leaf: Option<Leaf>,
}

/// Tries everything.
///
/// # Errors
/// When somebody is not refused.
pub async fn run(stage: &Stage, image: &Image) -> anyhow::Result<Vec<Refusal>> {
    stage.tell.chapter("4  refused");
    let mut refusals = vec![
        other_place(stage, image).await?,
        other_command(stage, image).await?,
        mounted_over(stage, image).await?,
        exec_session(stage, image).await?,
    ];
    refusals.extend(other_image(stage, image).await?);
    refusals.push(wrong_boot(stage).await?);
    refusals.push(administrator(stage).await?);
    Ok(refusals)
}

async fn other_place(stage: &Stage, image: &Image) -> anyhow::Result<Refusal> {
    let since = Since::now();
    let Err(refused) = stage.fra02.cri.pull(&image.reference).await else {
        bail!("FRA02 opened the image")
    };
    let reason = refused.to_string();
    stage
        .tell
        .step(since.took(), "FRA02: crictl pull medrec", brief(&reason));
    let leaf = denial(stage, "node", stage.fra02.name).await?;
    Ok(Refusal {
        attempt: "FRA02 opens the image",
        reason,
        container: None,
        leaf: Some(leaf),
    })
}

/// The start gate asks before the container's first process exists.
async fn other_command(stage: &Stage, image: &Image) -> anyhow::Result<Refusal> {
    let node = &stage.dal05;
    let lease = format!(
        "exec /usr/bin/bailiwick exec --lab --lease DB={CREDENTIAL} -- /usr/bin/medrec read"
    );
    let command = ["/bin/sh", "-c", &lease].map(str::to_owned).to_vec();
    let spec = ContainerSpec {
        command,
        ..node.container(&image.reference)
    };
    refused_start(stage, node, "another command", "command", &spec).await
}

async fn mounted_over(stage: &Stage, image: &Image) -> anyhow::Result<Refusal> {
    let node = &stage.dal05;
    let evil = stage.scratch.join("evil");
    fs::write(&evil, "#!/bin/sh\ncat \"$PGSERVICEFILE\"\n")?;
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755))?;
    let mut spec = node.container(&image.reference);
    spec.mounts.push(Mount {
        host: evil,
        container: "/usr/bin/medrec".into(),
        read_only: true,
    });
    refused_start(stage, node, "a mounted-over binary", "mounted", &spec).await
}

/// The container has its lease and runs on; the administrator does not get inside.
async fn exec_session(stage: &Stage, image: &Image) -> anyhow::Result<Refusal> {
    let node = &stage.dal05;
    let (id, _) = launch(
        node,
        "visited",
        &node.container(&image.reference),
        "Mary Jackson",
    )
    .await?;
    let since = Since::now();
    let Err(refused) = node
        .cri
        .exec(&id, &["/bin/sh", "-c", "cat /proc/1/environ"])
        .await
    else {
        bail!("an exec session began in a container that holds a lease")
    };
    let reason = refused.to_string();
    stage
        .tell
        .step(since.took(), "DAL05: crictl exec medrec sh", brief(&reason));
    let leaves = stage.rows.leaves("container", &id).await?;
    let leaf = leaves
        .into_iter()
        .rev()
        .find(|leaf| leaf.value("kind") == "exec-refused");
    Ok(Refusal {
        attempt: "an exec session",
        reason,
        container: Some(id),
        leaf: Some(leaf.context("no leaf holds the refusal of an exec")?),
    })
}

/// Another image, under its own name and under the right one.
async fn other_image(stage: &Stage, image: &Image) -> anyhow::Result<Vec<Refusal>> {
    let node = &stage.dal05;
    let lease = format!("DB={CREDENTIAL}:pgservice");
    let layout = Recipe::busybox("stranger")
        .program("/usr/bin/bailiwick", stripped(stage)?)
        .entry_point([
            "/usr/bin/bailiwick",
            "exec",
            "--lab",
            "--lease",
            &lease,
            "--",
            "/bin/cat",
        ])
        .build(&stage.scratch)?;
    let mut refusals = Vec::new();
    for (attempt, pod, tag) in [
        ("another image", "stranger", "stranger:1"),
        ("another image under the right tag", "disguised", "medrec:1"),
    ] {
        let reference = stage.registry.push(&layout, tag)?;
        node.cri.pull(&reference).await?;
        refusals
            .push(refused_container(stage, node, attempt, pod, &node.container(&reference)).await?);
    }
    debug_assert_eq!(stage.registry.reference("medrec:1"), image.reference);
    Ok(refusals)
}

async fn wrong_boot(stage: &Stage) -> anyhow::Result<Refusal> {
    let since = Since::now();
    let dir = stage.lab("").display().to_string();
    let node = stage.fra02.name;
    let words = [
        "lab",
        "reboot",
        node,
        "--kernel",
        "6.1.0-17-amd64",
        "--dir",
        &dir,
    ];
    let reboot = stage.bailiwick.run(&words)?.ended(0)?;
    let leaf = until_async("the refusal of a boot", PATIENCE, async || {
        stage
            .rows
            .leaves("kind", "node-refused")
            .await
            .ok()?
            .into_iter()
            .find(|leaf| leaf.value("node") == node)
    });
    let leaf = leaf.await?;
    let reason = leaf.value("reason").to_owned();
    stage.tell.step(since.took(), &reboot.command, &reason);
    Ok(Refusal {
        attempt: "a node with a wrong boot state",
        reason,
        container: None,
        leaf: Some(leaf),
    })
}

/// There is no command that reads a secret, what is shown holds none, and root of a node is no workload.
async fn administrator(stage: &Stage) -> anyhow::Result<Refusal> {
    const SECRET: &str = "db/medrec-pg/admin";
    stage.bailiwick.ask(&["secret", "get", SECRET])?.ended(2)?;
    let shown = stage.bailiwick.ask(&["secret", "show", SECRET])?.ended(0)?;
    let socket = stage.dal05.socket().display().to_string();
    let words = [
        "exec", "--lab", "--socket", &socket, "--secret", SECRET, "--", "/bin/cat",
    ];
    let asked = stage.bailiwick.run(&words)?.ended(REFUSED)?;
    let said = [&shown.stdout, &asked.stdout, &asked.stderr];
    if said
        .iter()
        .any(|text| text.contains(&stage.postgres.broker().password))
        || !shown.stdout.contains("sealed")
    {
        bail!("an administrator read a secret");
    }
    stage.tell.step(
        shown.took,
        &shown.command,
        shown.stdout.lines().next().unwrap_or_default(),
    );
    stage.tell.step(
        asked.took,
        &format!("root of DAL05: {}", asked.command),
        brief(&asked.stderr),
    );
    let read = stage.rows.leaves("kind", "read").await?.pop();
    let leaf = read
        .filter(|leaf| leaf.value("outcome") == "denied")
        .context("no leaf holds the refusal of a read")?;
    Ok(Refusal {
        attempt: "the administrator",
        reason: asked.stderr,
        container: None,
        leaf: Some(leaf),
    })
}

/// Runs a container that must end with the refusal of its lease.
async fn refused_container(
    stage: &Stage,
    node: &Node,
    attempt: &'static str,
    name: &str,
    spec: &ContainerSpec,
) -> anyhow::Result<Refusal> {
    let since = Since::now();
    let (id, _) = launch(node, name, spec, "error: ").await?;
    let ended = until_async("the container's end", PATIENCE, async || {
        node.cri
            .status(&id)
            .await
            .ok()
            .filter(|status| !status.running)
    });
    let ended = ended.await?;
    let reason = node.cri.log(&node.pod(name), &spec.name).trim().to_owned();
    if ended.exit_code != REFUSED {
        bail!(
            "{attempt}: ended with {} instead of {REFUSED}: {reason}",
            ended.exit_code
        );
    }
    stage.tell.step(
        since.took(),
        &format!("DAL05: crictl run, {attempt}"),
        brief(&reason),
    );
    let leaf = denial(stage, "container", &id).await?;
    Ok(Refusal {
        attempt,
        reason,
        container: Some(id),
        leaf: Some(leaf),
    })
}

/// Makes a container that must not start.
async fn refused_start(
    stage: &Stage,
    node: &Node,
    attempt: &'static str,
    name: &str,
    spec: &ContainerSpec,
) -> anyhow::Result<Refusal> {
    let since = Since::now();
    let pod_spec = node.pod(name);
    let pod = node.cri.run_pod(&pod_spec).await?;
    let id = node.cri.create(&pod, &pod_spec, spec).await?;
    let Err(refused) = node.cri.start(&id).await else {
        bail!("{attempt}: the container started")
    };
    let reason = refused.to_string();
    stage.tell.step(
        since.took(),
        &format!("DAL05: crictl run, {attempt}"),
        brief(&reason),
    );
    let leaf = denial(stage, "container", &id).await?;
    Ok(Refusal {
        attempt,
        reason,
        container: Some(id),
        leaf: Some(leaf),
    })
}

/// The newest refusal of somebody in the database.
async fn denial(stage: &Stage, name: &str, value: &str) -> anyhow::Result<Leaf> {
    let leaves = stage.rows.leaves(name, value).await?;
    let denied = leaves
        .into_iter()
        .rev()
        .find(|leaf| leaf.value("outcome") == "denied");
    denied.with_context(|| format!("no leaf holds the refusal of {name} {value}"))
}

/// The line with the reason.
fn brief(reason: &str) -> &str {
    reason
        .lines()
        .find(|line| {
            line.contains("error: ") || line.contains("refused") || line.contains("denied")
        })
        .unwrap_or(reason)
}

/// What `bailiwick exec` ends with when something was not given.
const REFUSED: i32 = 125;
const PATIENCE: Duration = Duration::from_secs(60);
