//! The demo's outcomes, asserted on database rows, PostgreSQL's sessions and roles, containerd's state and exit codes.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::path::Path;
use std::time::Duration;

use demo::{Stage, Tell, steps};
use fixture::until_async;

mod forged;
mod gate;
mod spiffe;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, swtpm, PostgreSQL, docker-registry, skopeo and umoci; run by make test"]
async fn the_sentence_is_true_from_end_to_end() {
    let stage = Stage::set(Tell::silent()).await.unwrap();
    every_node_attests_by_its_tpm(&stage).await;

    let image = steps::image::run(&stage).unwrap();
    assert_eq!(image.blobs.len(), 3);

    let who = steps::estate::run(&stage, &image).unwrap();
    let permitted = who
        .pointer("/permitted")
        .or_else(|| who.pointer("/data/permitted"))
        .unwrap()
        .as_array()
        .unwrap();
    assert!(!permitted.is_empty());
    assert!(
        permitted
            .iter()
            .all(|access| access["node"] == "dal05-n01" && access["image"] == "medrec"),
        "{who}"
    );

    let service = steps::service::run(&stage, &image).await.unwrap();
    the_service_has_its_own_lease(&stage, &image, &service).await;

    let refusals = steps::refusals::run(&stage, &image).await.unwrap();
    assert_eq!(refusals.len(), 8);
    the_refused_got_nothing(&stage, &image, &refusals).await;

    let waiting = steps::widening::run(&stage).unwrap();
    nothing_was_widened(&stage, &waiting).await;

    steps::ban::run(&stage, &service).await.unwrap();
    nothing_of_the_banned_node_is_left(&stage, &service).await;

    let trail = steps::trail::run(&stage).await.unwrap();
    assert_eq!(trail.verified.map(|said| said.code), [0, 4, 0]);
    assert_eq!(trail.receipts.map(|said| said.code), [0, 4]);

    let folder = stage.scratch.path().to_owned();
    stage.end();
    assert!(!folder.exists());
    assert_eq!(mentions(&folder), Vec::<String>::new());
}

async fn every_node_attests_by_its_tpm(stage: &Stage) {
    let nodes = stage.rows.nodes().await.unwrap();
    let expected = ["dal05-n01", "fra02-n01"].map(|name| {
        (
            name.to_owned(),
            "tpm".to_owned(),
            Some("lab".to_owned()),
            false,
        )
    });
    assert_eq!(nodes, expected);
}

async fn the_service_has_its_own_lease(
    stage: &Stage,
    image: &steps::image::Image,
    service: &steps::service::Service,
) {
    assert!(
        service.printed.contains("Ada Byron|migraine"),
        "{}",
        service.printed
    );
    let leases = stage.rows.leases().await.unwrap();
    let [(_, role, outcome)] = leases.as_slice() else {
        unreachable!("one lease is wanted: {leases:?}")
    };
    assert_eq!((role, outcome.as_deref()), (&service.role, Some("granted")));
    let sessions = stage.postgres.query(&format!("select usename, ssl from pg_stat_activity join pg_stat_ssl using (pid) where usename = '{role}'"));
    assert_eq!(sessions.unwrap(), [[role.clone(), "t".to_owned()]]);
    let grants = stage.postgres.query(&format!(
        "select rolsuper or rolcreaterole or rolcreatedb from pg_roles where rolname = '{role}'"
    ));
    assert_eq!(grants.unwrap(), [["f"]]);
    let leaf = stage
        .rows
        .leaves("container", &service.container)
        .await
        .unwrap();
    assert!(
        leaf.iter()
            .any(|leaf| leaf.value("kind") == "lease" && leaf.value("image") == image.config),
        "{leaf:?}"
    );
    assert_eq!(
        service.identity,
        "spiffe://hospital.lab/region/US/cluster/hipaaCluster/image/medrec"
    );
    assert!(
        stage
            .rows
            .subjects()
            .await
            .unwrap()
            .contains(&service.identity)
    );
    let status = stage.dal05.cri.status(&service.container).await.unwrap();
    assert!(status.running);
}

async fn the_refused_got_nothing(
    stage: &Stage,
    image: &steps::image::Image,
    refusals: &[steps::refusals::Refusal],
) {
    for refusal in refusals {
        let Some(leaf) = &refusal.leaf else { continue };
        assert!(!leaf.value("reason").is_empty(), "{refusal:?}");
        assert!(
            refusal.reason.contains(leaf.value("reason")) || refusal.container.is_none(),
            "{refusal:?}"
        );
    }
    let visited = "an exec session";
    for refusal in refusals.iter().filter(|refusal| refusal.attempt != visited) {
        let Some(id) = &refusal.container else {
            continue;
        };
        let status = stage.dal05.cri.status(id).await.unwrap();
        // Refused by `bailiwick exec` in it, or before its first process.
        assert!(
            !status.running && [125, 128].contains(&status.exit_code),
            "{refusal:?} {status:?}"
        );
    }
    // The service and the container that was visited, nobody else.
    let leases = stage.rows.leases().await.unwrap();
    assert_eq!(leases.len(), 2, "{leases:?}");
    let images = stage
        .fra02
        .containerd
        .ctr(["--namespace", "k8s.io", "images", "list", "--quiet"])
        .unwrap();
    assert!(!images.contains(&image.reference), "{images}");
    assert_eq!(
        stage.fra02.cri.containers().await.unwrap(),
        Vec::<String>::new()
    );
}

/// What the administrator submitted lies there as changes that wait, and the version in force is the owners'.
async fn nothing_was_widened(stage: &Stage, waiting: &[steps::widening::Waiting]) {
    assert_eq!(waiting.len(), 4);
    let states = stage.rows.changes().await.unwrap();
    for change in waiting {
        let state = states
            .iter()
            .find(|(number, _)| u64::try_from(*number) == Ok(change.number));
        assert_eq!(state.unwrap().1, "waiting", "{change:?}");
    }
    let applied = states
        .iter()
        .filter(|(_, state)| state == "applied")
        .count();
    // The lab's first estate, and the one that both owners signed.
    assert_eq!(applied, 2, "{states:?}");
}

async fn nothing_of_the_banned_node_is_left(stage: &Stage, service: &steps::service::Service) {
    let nodes = stage.rows.nodes().await.unwrap();
    assert!(
        nodes
            .iter()
            .any(|(name, _, _, banned)| name == "dal05-n01" && *banned),
        "{nodes:?}"
    );
    until_async("the end of all roles", PATIENCE, async || {
        stage.postgres.roles("bw_").ok()?.is_empty().then_some(())
    })
    .await
    .unwrap();
    // Its database session is its life.
    until_async("the end of the service", PATIENCE, async || {
        let status = stage.dal05.cri.status(&service.container).await;
        status.is_ok_and(|status| !status.running).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(
        stage.postgres.sessions("bw_").unwrap(),
        Vec::<String>::new()
    );
    until_async("the end of all leases", PATIENCE, async || {
        let leases = stage.rows.leases().await.ok()?;
        let ended = |(_, _, outcome): &(_, _, Option<String>)| outcome.as_deref() == Some("ended");
        leases.iter().all(ended).then_some(())
    })
    .await
    .unwrap();
}

/// Processes whose command line names the folder.
fn mentions(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let folder = folder.display().to_string();
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.contains(&folder))
        .collect()
}
