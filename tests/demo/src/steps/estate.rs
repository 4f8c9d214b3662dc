//! Step 2: the sentence as one policy; who can.

use std::fs;

use anyhow::Context;
use serde_json::Value;

use super::image::{CREDENTIAL, Image};
use crate::stage::Stage;

/// Writes the image's digest and the database into the estate, applies it, and asks who can lease.
///
/// # Errors
/// When a command fails.
pub fn run(stage: &Stage, image: &Image) -> anyhow::Result<Value> {
    stage.tell.chapter(
        "2  \"only medrec, in data centre DAL05, in cluster hipaaCluster\", as one policy",
    );
    edit(stage, image)?;
    let folder = stage.lab("estate").display().to_string();
    let diff = stage.bailiwick.ask(&["diff", "-f", &folder])?;
    let applied = stage.apply_estate()?;
    stage
        .tell
        .step(diff.took, &diff.command, diff.stdout.trim_end());
    stage
        .tell
        .step(applied.took, &applied.command, applied.stdout.trim_end());
    let question = format!("lease Credential::\"{CREDENTIAL}\"");
    let who = stage
        .bailiwick
        .ask(&["policy", "who-can", &question])?
        .ended(0)?;
    stage
        .tell
        .step(who.took, &who.command, who.stdout.trim_end());
    put_login(stage)?;
    stage
        .bailiwick
        .ask(&["policy", "who-can", &question, "--output", "json"])?
        .ended(0)?
        .json()
}

fn edit(stage: &Stage, image: &Image) -> anyhow::Result<()> {
    let file = |name: &str| stage.lab("estate").join(name);
    let change = |name: &str, from: &str, to: &str| -> anyhow::Result<()> {
        let text = fs::read_to_string(file(name))
            .with_context(|| format!("the estate has no `{name}`"))?;
        fs::write(file(name), text.replace(from, to))
            .with_context(|| format!("can't write `{name}`"))
    };
    change(
        "images.toml",
        "digests = []",
        &format!("digests = [\"{}\"]", image.config),
    )?;
    let alternative = "args = [[\"/usr/bin/bailiwick\", \"svid\", \"watch\"]]\nprobes =";
    change("images.toml", "probes =", alternative)?;
    let database = format!(
        "url = \"{}\"\nca = \"keys/pg-ca.pem\"\nlogin =",
        stage.postgres.url()
    );
    let text = fs::read_to_string(file("credentials.toml"))
        .context("the estate has no `credentials.toml`")?;
    let rest: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("url ="))
        .collect();
    fs::write(
        file("credentials.toml"),
        rest.join("\n").replace("login =", &database) + "\n",
    )?;
    fs::create_dir_all(file("keys"))?;
    fs::write(file("keys/pg-ca.pem"), stage.postgres.ca_pem())?;
    Ok(())
}

/// The login with which accounts are made: sealed in the command, no server reads it back to anybody.
fn put_login(stage: &Stage) -> anyhow::Result<()> {
    let login = stage.postgres.broker();
    let value = serde_json::json!({ "user": login.user, "password": login.password }).to_string();
    let words = [
        "secret",
        "put",
        "db/medrec-pg/admin",
        "--dataset",
        "medical-records",
        "--from-file",
        "-",
    ];
    let put = stage.bailiwick.tell(&words, value.as_bytes())?.ended(0)?;
    stage
        .tell
        .step(put.took, &put.command, put.stdout.trim_end());
    Ok(())
}
