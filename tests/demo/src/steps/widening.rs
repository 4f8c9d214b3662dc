//! Step 4, the administrator's other way: he edits the estate so that a workload of his would get the records. Whoever it
//! belongs to must agree first.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::stage::Stage;
use crate::tell::Since;

/// A change that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// What was tried.
    pub attempt: &'static str,
    /// Its number.
    pub number: u64,
    /// Whether it waits still after he signed it himself.
    pub waits: bool,
}

/// Tries to widen access in four ways.
///
/// # Errors
/// When one of them takes effect.
pub fn run(stage: &Stage) -> anyhow::Result<Vec<Waiting>> {
    WAYS.iter().map(|way| waits(stage, way)).collect()
}

struct Way {
    attempt: &'static str,
    file: &'static str,
    edit: fn(&str) -> String,
}

const WAYS: [Way; 4] = [
    Way {
        attempt: "his own image into the set",
        file: "images.toml",
        edit: |text| {
            let own = format!("digests = [\"sha256:{}\", ", "ab".repeat(32));
            text.replace("digests = [", &own)
        },
    },
    Way {
        attempt: "his node into DAL05",
        file: "inventory.toml",
        edit: |text| {
            let (before, node) = text.split_once("[node.fra02-n01]").unwrap_or((text, ""));
            let node = node
                .replace("euCluster", "hipaaCluster")
                .replace("FRA02", "DAL05");
            format!("{before}[node.fra02-n01]{node}")
        },
    },
    Way {
        attempt: "a looser [run]",
        file: "images.toml",
        edit: |text| text.replace("args = [", "args = [[\"/bin/sh\"], "),
    },
    Way {
        attempt: "the database elsewhere",
        file: "credentials.toml",
        edit: |text| {
            let lines = text.lines().map(|line| match line.starts_with("url = ") {
                true => "url = \"postgresql://proxy.platform.example:5432/medrec\"",
                false => line,
            });
            lines.collect::<Vec<_>>().join("\n")
        },
    },
];

fn waits(stage: &Stage, way: &Way) -> anyhow::Result<Waiting> {
    let since = Since::now();
    let folder = edited(stage, way)?;
    let ana = stage.bailiwick.of("ana");
    let words = [
        "apply",
        "-f",
        &folder.display().to_string(),
        "--output",
        "json",
    ];
    let submitted = ana.ask(&words)?.ended(0)?.json()?;
    let number = number(&submitted).with_context(|| format!("{}: {submitted}", way.attempt))?;
    let key = stage.key_of("ana").display().to_string();
    let change = number.to_string();
    let words = ["change", "approve", &change, "--sign", &key, "--yes"];
    // It counts where the platform has a say, and is refused elsewhere.
    let signed = ana.ask(&words)?;
    let state = ana.ask(&["change", "show", &change])?.ended(0)?;
    let waits = state.stdout.contains("waiting");
    if !waits {
        bail!("{}: {}{}", way.attempt, signed.stdout, state.stdout);
    }
    let missing = state.stdout.lines().find(|line| line.contains("must sign"));
    let words = missing.unwrap_or("waiting").trim();
    stage.tell.step(
        since.took(),
        &format!("ana (platform): bailiwick apply, {}", way.attempt),
        words,
    );
    Ok(Waiting {
        attempt: way.attempt,
        number,
        waits,
    })
}

/// The number of a change that is not in force.
fn number(submitted: &Value) -> Option<u64> {
    let waiting = submitted
        .pointer("/waiting")
        .or_else(|| submitted.pointer("/data/waiting"))?;
    waiting.get("number")?.as_u64()
}

/// The estate as he would have it.
fn edited(stage: &Stage, way: &Way) -> anyhow::Result<PathBuf> {
    let target = stage.scratch.join(format!(
        "estate-{}",
        way.attempt.replace([' ', '[', ']'], "-")
    ));
    copy(&stage.lab("estate"), &target)?;
    let file = target.join(way.file);
    let text = fs::read_to_string(&file).with_context(|| format!("can't read `{}`", way.file))?;
    let changed = (way.edit)(&text);
    if changed == text {
        bail!("{}: nothing was edited", way.attempt);
    }
    fs::write(&file, changed).with_context(|| format!("can't write `{}`", way.file))?;
    Ok(target)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
