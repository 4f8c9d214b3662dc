//! go-spiffe, unmodified, inside a container of a known image: it fetches X.509- and JWT-SVIDs from the agent and verifies them.

use std::fs;
use std::path::{Path, PathBuf};

use demo::{Stage, Tell, steps};
use fixture::{Recipe, run, until_async};

use crate::PATIENCE;

const IDENTITY: &str = "spiffe://hospital.lab/region/US/cluster/hipaaCluster/image/judge";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, Go, containerd, swtpm, PostgreSQL, docker-registry, skopeo and umoci; run by make test"]
async fn go_spiffe_in_a_container_verifies_what_the_agent_hands_out() {
    let stage = Stage::set(Tell::silent()).await.unwrap();
    let question = serde_json::json!({
        "socket": "unix:///run/bailiwick/agent.sock", "audience": "records", "timeout_seconds": 20, "spiffe_id": IDENTITY,
        "extension": FACTS,
    });
    let layout = Recipe::busybox("judge")
        .copy("/usr/bin/judge-spiffe", judge())
        .entry_point([
            "/bin/sh",
            "-c",
            &format!("echo '{question}' | /usr/bin/judge-spiffe"),
        ])
        .build(&stage.scratch)
        .unwrap();
    let reference = stage.registry.push(&layout, "judge:1").unwrap();
    add_image_set(
        &stage,
        &steps::image::config_digest(&layout.transport()).unwrap(),
    );

    let node = &stage.dal05;
    node.cri.pull(&reference).await.unwrap();
    let (pod, spec) = (node.pod("judge"), node.container(&reference));
    let (_, id) = node.cri.launch(&pod, &spec).await.unwrap();
    let ended = until_async("the verdict", PATIENCE, async || {
        node.cri
            .status(&id)
            .await
            .ok()
            .filter(|status| !status.running)
    });
    let code = ended.await.unwrap().exit_code;
    let said = node.cri.log(&pod, &spec.name);
    assert_eq!(code, 0, "{said}");
    let verdict: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    let (x509, jwt) = (&verdict["x509"][0], &verdict["jwt"][0]);
    assert_eq!(
        (x509["spiffe_id"].as_str(), x509["has_key"].as_bool()),
        (Some(IDENTITY), Some(true)),
        "{said}"
    );
    assert!(
        x509["extension"]
            .as_str()
            .is_some_and(|facts| !facts.is_empty()),
        "{said}"
    );
    assert_eq!(
        (jwt["spiffe_id"].as_str(), jwt["validated"].as_bool()),
        (Some(IDENTITY), Some(true)),
        "{said}"
    );
    assert!(jwt["claims"]["bailiwick"].is_object(), "{said}");
    let issued = stage.rows.subjects().await.unwrap();
    assert!(
        issued.iter().filter(|subject| *subject == IDENTITY).count() >= 2,
        "{issued:?}"
    );
}

fn add_image_set(stage: &Stage, config: &str) {
    let file = stage.lab("estate/images.toml");
    let set = format!(
        "\n[image.judge]\nowner = \"medrec-owners\"\ndataset = \"medical-records\"\ndigests = [\"{config}\"]\n"
    );
    fs::write(&file, fs::read_to_string(&file).unwrap() + &set).unwrap();
    stage.apply_estate().unwrap();
}

/// Built without C, so that it runs in an image without libraries.
fn judge() -> PathBuf {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../interop")
        .display()
        .to_string();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judge-spiffe");
    let script = "cd \"$0\" && CGO_ENABLED=0 go build -o \"$1\" ./cmd/judge-spiffe";
    run(
        "sh",
        ["-c", script, &interop, &target.display().to_string()],
    )
    .unwrap();
    target
}

/// Where an X.509-SVID carries what was measured.
const FACTS: &str = "1.2.840.113556.1.8000.2554.6869.31803.2867.20254.39194.1179.12371561";
