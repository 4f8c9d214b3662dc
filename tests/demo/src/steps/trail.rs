//! Step 6: the trail tells it all; a receipt verifies offline; one changed byte is found.

use std::fs;

use anyhow::Context;

use crate::cli::Said;
use crate::stage::Stage;
use crate::tell::Since;

/// What the trail said.
#[derive(Clone, Debug)]
pub struct Trail {
    /// The leaf whose receipt was verified.
    pub leaf: i64,
    /// How verification of the database ended before a byte was changed, with it, and after it was changed back.
    pub verified: [Said; 3],
    /// How verification of a receipt ended, and of one with a changed byte.
    pub receipts: [Said; 2],
}

/// Reads, verifies, changes, verifies.
///
/// # Errors
/// When a command fails that should not.
pub async fn run(stage: &Stage) -> anyhow::Result<Trail> {
    stage.tell.chapter("6  the trail");
    let who = stage
        .bailiwick
        .ask(&["audit", "who", "medical-records"])?
        .ended(0)?;
    stage
        .tell
        .step(who.took, &who.command, who.stdout.trim_end());
    let leaf = stage
        .rows
        .leaves("kind", "lease-granted")
        .await?
        .pop()
        .context("no lease was granted")?
        .index;
    let receipts = receipts(stage, leaf)?;
    let before = stage.bailiwick.ask(&["audit", "verify"])?.ended(0)?;
    let since = Since::now();
    stage.rows.flip(leaf).await?;
    stage.tell.step(
        since.took(),
        "UPDATE leaf SET leaf = …",
        &format!("one bit of leaf {leaf} was changed behind the server's back"),
    );
    let changed = stage.bailiwick.ask(&["audit", "verify"])?;
    stage.rows.flip(leaf).await?;
    let changed = changed.ended(4)?;
    stage
        .tell
        .step(changed.took, &changed.command, said(&changed));
    let after = stage.bailiwick.ask(&["audit", "verify"])?.ended(0)?;
    Ok(Trail {
        leaf,
        verified: [before, changed, after],
        receipts,
    })
}

fn receipts(stage: &Stage, leaf: i64) -> anyhow::Result<[Said; 2]> {
    let receipt = stage
        .bailiwick
        .ask(&["audit", "receipt", &leaf.to_string()])?
        .ended(0)?;
    let key = stage.ledger_key()?;
    let verify = |name: &str, text: &str| -> anyhow::Result<Said> {
        let file = stage.scratch.join(name);
        fs::write(&file, text)?;
        stage.bailiwick.run(&[
            "audit",
            "verify",
            &file.display().to_string(),
            "--ledger-key",
            &key,
        ])
    };
    let good = verify("receipt.json", &receipt.stdout)?.ended(0)?;
    stage.tell.step(
        good.took,
        "bailiwick audit verify receipt.json --ledger-key …",
        said(&good),
    );
    let forged = receipt
        .stdout
        .replacen("\\\"time\\\":1", "\\\"time\\\":2", 1);
    anyhow::ensure!(
        forged != receipt.stdout,
        "a receipt holds no time: {}",
        receipt.stdout
    );
    let bad = verify("forged.json", &forged)?.ended(4)?;
    Ok([good, bad])
}

fn said(said: &Said) -> &str {
    let out = said.stdout.trim_end();
    if out.is_empty() {
        said.stderr.trim_end()
    } else {
        out
    }
}
