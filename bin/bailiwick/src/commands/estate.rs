//! `bailiwick apply` and `bailiwick diff`.

use clap::Args;
use server::{Code, govern::NOTHING_CHANGES};
use web::{
    Call, ClientError,
    client::Question,
    wire::{Access, Answer, Applied, Diff, Estate},
};

use crate::{
    connection::ConnectionArgs,
    estate_folder::FolderArgs,
    output::{CommandError, Exit, lines},
};

/// Applies an estate as one version. Nothing is removed unless `--prune` says so.
#[derive(Debug, Args)]
#[command(after_help = "Example: bailiwick apply -f estate/ --prune")]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Remove what the folder does not have.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Shows what an estate would change, and who would gain or lose what. Exit code 3 when it differs.
#[derive(Debug, Args)]
#[command(after_help = "Example: bailiwick diff -f estate/")]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs `apply`.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn apply(args: ApplyArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    let body = Estate {
        files: args.folder.files()?,
        prune: args.prune,
    };
    let answer: Result<Answer<Applied>, ClientError> = context
        .client()?
        .send(Call::Apply, Question::default(), &body)
        .await;
    let answer = match answer {
        // What is wanted is in force already: scripts that apply again and again are right to do so.
        Err(ClientError::Refused {
            code: Code::Conflict,
            message,
            ..
        }) if message == NOTHING_CHANGES => {
            eprintln!("{NOTHING_CHANGES}");
            return Ok(Exit::Done);
        }
        other => other?,
    };
    let leaf = answer.receipt.map(|receipt| receipt.index);
    context
        .output
        .print(&answer.data, |applied| applied_text(applied, leaf))?;
    Ok(Exit::Done)
}

/// Runs `diff`.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn diff(args: DiffArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    let body = Estate {
        files: args.folder.files()?,
        prune: true,
    };
    let answer: Answer<Diff> = context
        .client()?
        .send(Call::Diff, Question::default(), &body)
        .await?;
    let differs = answer.data.base_hash != answer.data.result_hash;
    context.output.print(&answer.data, |diff| {
        if differs {
            diff_text(diff)
        } else {
            format!("{NOTHING_CHANGES}\n")
        }
    })?;
    Ok(if differs { Exit::Denied } else { Exit::Done })
}

fn applied_text(applied: &Applied, leaf: Option<u64>) -> String {
    let mut pairs = vec![("version", applied.version.to_string())];
    pairs.extend(leaf.map(|leaf| ("leaf", leaf.to_string())));
    let ended: String = applied
        .ended_leases
        .iter()
        .map(|lease| format!("ends lease {lease}\n"))
        .collect();
    format!("{}{}{ended}", lines(&pairs), changes_text(&applied.diff))
}

fn diff_text(diff: &Diff) -> String {
    let pairs = [
        (
            "in force",
            format!("version {} ({})", diff.base, diff.base_hash.0),
        ),
        ("change", diff.change.clone()),
    ];
    format!("{}{}", lines(&pairs), changes_text(diff))
}

fn changes_text(diff: &Diff) -> String {
    let changes = diff.changes.iter().map(|change| format!("{change}\n"));
    let access = diff.access.iter().map(|change| {
        let verb = if change.gains { "GAINS" } else { "loses" };
        format!("{verb} {}\n", access_text(&change.access))
    });
    changes.chain(access).collect()
}

/// Who may do what, as a sentence.
pub(crate) fn access_text(access: &Access) -> String {
    let who = access.image.as_ref().map_or_else(
        || format!("node {}", access.node),
        |image| format!("image set {image} on {}", access.node),
    );
    format!(
        "{who} ({}, {}): {} {}",
        access.location, access.cluster, access.action, access.target
    )
}
