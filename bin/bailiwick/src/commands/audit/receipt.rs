//! A receipt verified offline: with the ledger's key from somebody who is trusted, and nothing else.

use std::{fs, path::Path};

use serde::Serialize;
use tlog::{Receipt, leaf_hash};
use web::wire::ReceiptFile;

use super::trail::{Opened, open};
use crate::{
    connection::{Context, unreadable},
    output::{CommandError, Exit, lines},
};

/// What a verified receipt shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    verified: bool,
    tree_size: u64,
    root: String,
    #[serde(flatten)]
    entry: Opened,
}

/// Verifies a file that `audit receipt` wrote.
pub(super) fn verify(context: &Context, file: &Path) -> Result<Exit, CommandError> {
    let key = context.ledger_key()?;
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    let wrong =
        |what: &str, error: &dyn std::error::Error| CommandError::unverified(what).caused_by(error);
    let receipt: ReceiptFile = jose::strict_json::from_str(text.trim())
        .map_err(|error| wrong("the file is no receipt", &error))?;
    if receipt.v != 1 {
        return Err(CommandError::unverified(format!(
            "the receipt has version {}, known is 1",
            receipt.v
        )));
    }
    if receipt.ledger_key != key.to_string() {
        return Err(
            CommandError::unverified("the receipt is of another ledger").hint(format!(
                "it names `{}`, trusted is `{key}`",
                receipt.ledger_key
            )),
        );
    }
    let verified = Receipt::parse(&receipt.proof)
        .and_then(|proof| proof.verify(leaf_hash(receipt.leaf.as_bytes()), key))
        .map_err(|error| wrong("the receipt does not verify", &error))?;
    if verified.index() != receipt.index {
        let message = format!(
            "the proof is for leaf {}, not {}",
            verified.index(),
            receipt.index
        );
        return Err(CommandError::unverified(message));
    }
    let entry = open(receipt.index, &receipt.leaf, &receipt.disclosures)?;
    let shown = Shown {
        verified: true,
        tree_size: verified.size(),
        root: verified.root().to_string(),
        entry,
    };
    context.output.print(&shown, |shown| {
        let head = lines(&[
            (
                "verified",
                format!("leaf {} of {}", shown.entry.index, shown.tree_size),
            ),
            ("logged", shown.entry.time.to_string()),
        ]);
        let values: Vec<(&str, String)> = shown
            .entry
            .values
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_string()))
            .collect();
        format!("{head}{}", lines(&values))
    })?;
    Ok(Exit::Done)
}
