//! `bailiwick apply` and `bailiwick diff`.

use std::path::PathBuf;

use clap::Args;
use server::{Code, govern::NOTHING_CHANGES};
use web::{
    Call, Client, ClientError,
    client::Question,
    wire::{Access, Answer, Diff, Estate, Submitted},
};

use super::change::{approve, checked, words};
use crate::{
    connection::{ConnectionArgs, Context},
    estate_folder::FolderArgs,
    output::{CommandError, Exit, lines},
    signing,
};

/// Submits an estate as one change. What only narrows access is in force at once; what may widen it waits for the signatures of
/// those whose it is. Nothing is removed unless `--prune` says so.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: bailiwick apply -f estate/ --prune
Example: bailiwick apply -f estate/ --sign ~/.ssh/id_ed25519")]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Remove what the folder does not have.
    #[arg(long)]
    prune: bool,
    /// Signs with this SSH key if the change waits, after showing what is signed. Can be given more than once.
    #[arg(long, value_name = "KEY")]
    sign: Vec<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Shows what an estate would change, who would gain or lose what, and who would have to sign. Exit code 3 when it differs.
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
    let ApplyArgs {
        folder,
        prune,
        sign,
        connection,
    } = args;
    let context = connection.context()?;
    let client = context.client()?;
    let body = Estate {
        files: folder.files()?,
        prune,
    };
    let answer: Result<Answer<Submitted>, ClientError> =
        client.send(Call::Apply, Question::default(), &body).await;
    let submitted = match answer {
        // What is wanted is in force already: scripts that apply again and again are right to do so.
        Err(ClientError::Refused {
            code: Code::Conflict,
            message,
            ..
        }) if message == NOTHING_CHANGES => {
            eprintln!("{NOTHING_CHANGES}");
            return Ok(Exit::Done);
        }
        other => other?.data,
    };
    let submitted = signed(&context, &client, submitted, &folder, &sign).await?;
    approve::report(&context, &submitted, None)
}

/// Signs with each key until the change is in force, if it leads to the folder's estate.
async fn signed(
    context: &Context,
    client: &Client,
    mut submitted: Submitted,
    folder: &FolderArgs,
    keys: &[PathBuf],
) -> Result<Submitted, CommandError> {
    let Some(pending) = submitted.waiting.as_ref().filter(|_| !keys.is_empty()) else {
        return Ok(submitted);
    };
    let change = checked::fetch(client, pending.number, context.pinned_ledger()).await?;
    checked::compare(&change, folder)?;
    eprint!("{}", words::shown(&change));
    for key in keys {
        if submitted.waiting.is_none() {
            eprintln!(
                "warning: `{}` did not sign: the change is in force already",
                key.display()
            );
            continue;
        }
        let signature = signing::sign(key, change.hash())?;
        submitted = approve::bring(client, change.number(), signature.armored()).await?;
    }
    Ok(submitted)
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

fn diff_text(diff: &Diff) -> String {
    let pairs = [
        (
            "in force",
            format!("version {} ({})", diff.base, diff.base_hash.0),
        ),
        ("effect", words::effect(diff.effect).to_owned()),
    ];
    format!(
        "{}{}{}",
        lines(&pairs),
        words::difference(&diff.changes, &diff.access),
        words::needs("needs", &diff.needs)
    )
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
