//! A change as the server tells it, of which everything that a signature covers was computed anew here: a server that shows one
//! change and has another signed is found out.

use estate::{ChangeRecord, Digest, Estate};
use tlog::VerifierKey;
use web::{
    Call, Client,
    client::Question,
    wire::{AccessChange, Answer, ChangeShown},
};

use crate::{
    estate_folder::FolderArgs,
    output::{CommandError, plain},
};

/// A change whose hash, and whose list of gains and losses, are those that its record commits to.
pub(crate) struct CheckedChange {
    answer: ChangeShown,
    hash: String,
}

impl CheckedChange {
    /// What the server answered.
    pub(crate) fn answer(&self) -> &ChangeShown {
        &self.answer
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.answer.record.number.0
    }

    /// What is signed, as computed here.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }
}

/// Asks for a change, and checks the answer.
///
/// # Errors
/// [`CommandError`]; exit code 4 when the answer contradicts itself.
pub(crate) async fn fetch(
    client: &Client,
    number: u64,
    pinned: Option<&VerifierKey>,
) -> Result<CheckedChange, CommandError> {
    let named = number.to_string();
    let path = [("number", named.as_str())];
    let question = Question {
        path: &path,
        query: &[],
    };
    let answer: Answer<ChangeShown> = client.get(Call::Change, question).await?;
    check(answer.data, number, pinned)
}

fn check(
    answer: ChangeShown,
    number: u64,
    pinned: Option<&VerifierKey>,
) -> Result<CheckedChange, CommandError> {
    let record = &answer.record;
    if record.v != ChangeRecord::FORMAT {
        return Err(CommandError::failed(format!(
            "change {number} is of format {}, which this program does not know",
            record.v
        ))
        .hint("use a version of this program that is as new as the server's"));
    }
    let wrong = if (record.number.0, answer.listed.number) != (number, number) {
        Some("the record is of another change")
    } else if pinned.is_some_and(|pinned| pinned.name() != record.ledger) {
        // Signed here, it would count on the other server.
        Some("it was submitted to another ledger than the pinned one")
    } else if record.hash() != answer.listed.hash {
        Some("its record has another hash")
    } else if record.effect() != answer.listed.effect {
        Some("its record has another effect on access")
    } else if digest_of(&answer.access) != record.access {
        Some("its record commits to another list of who gains and loses")
    } else {
        None
    };
    match wrong {
        Some(what) => Err(CommandError::unverified(format!(
            "the server does not show change {number} as it is: {what}"
        ))
        .hint("sign nothing, and tell the people of security and audit")),
        None => Ok(CheckedChange {
            hash: answer.record.hash().to_string(),
            answer,
        }),
    }
}

/// As the record commits to it: SHA-256 of the list's JCS form.
fn digest_of(access: &[AccessChange]) -> Digest {
    // Texts, lists and flags only: JCS can't fail.
    Digest::of(serde_json_canonicalizer::to_vec(&access).unwrap_or_default())
}

/// Whether the change leads to the estate of this folder. Promotions, which only a server writes, are taken from the change: each is
/// checked against the promoters that the folder names.
///
/// # Errors
/// [`CommandError`]; exit code 4 when it leads elsewhere.
pub(crate) fn compare(change: &CheckedChange, folder: &FolderArgs) -> Result<(), CommandError> {
    let ChangeShown {
        listed,
        record,
        promotions,
        ..
    } = &change.answer;
    let elsewhere = |what: &str| {
        CommandError::unverified(format!(
            "change {} leads to another estate than the folder's{what}",
            listed.number
        ))
        .hint("compare the folder with what was submitted: `bailiwick diff -f DIR` shows how it differs from what is in force")
    };
    let mut files = folder.files()?;
    files.retain(|(path, _)| !Estate::is_kept_by_server(path));
    if let Some((path, _)) = promotions
        .iter()
        .find(|(path, _)| !Estate::is_kept_by_server(path))
    {
        return Err(elsewhere(&format!(": `{}` is no promotion", plain(path))));
    }
    files.extend(promotions.iter().cloned());
    let estate = Estate::parse(&files).map_err(|error| CommandError::failed(error.to_string()))?;
    if estate.hash() != record.result {
        return Err(elsewhere(""));
    }
    for (path, _) in promotions {
        eprintln!(
            "note: `{}` is the server's; what it promotes is signed by the promoters that the folder names",
            plain(path)
        );
    }
    Ok(())
}
