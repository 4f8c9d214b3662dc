//! `bailiwick change list|show|approve|reject`.

pub(crate) mod approve;
pub(crate) mod checked;
pub(crate) mod words;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::Value;
use web::{
    Call,
    client::Question,
    wire::{Answer, ChangeListed, ChangeState, Rejection},
};

use crate::{
    connection::{ConnectionArgs, Context},
    output::{CommandError, Exit, lines, plain, table},
};

/// Shows what people want to change, signs it, or says no.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    #[command(subcommand)]
    command: ChangeCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum ChangeCommand {
    /// Lists all changes, newest first.
    #[command(after_help = "Example: bailiwick change list")]
    List,
    /// Shows one change: what it does to access, who signed and who is missing.
    #[command(after_help = "Example: bailiwick change show 3")]
    Show {
        /// Its number.
        number: u64,
    },
    /// Checks that a change is what the server says, shows it, signs it, and brings the signature.
    #[command(after_help = "\
Example: bailiwick change approve 3 --sign ~/.ssh/id_ed25519
Example: bailiwick change show 3          # prints the hash to sign elsewhere; then, as anybody:
         bailiwick change approve 3 --signature change-3.sig")]
    #[command(group(ArgGroup::new("how").required(true).args(["sign", "signature"])))]
    Approve(ApproveArgs),
    /// Says no to a change that waits, or withdraws one's own.
    #[command(
        after_help = "Example: bailiwick change reject 3 --reason 'not agreed with the ward'"
    )]
    Reject {
        /// Its number.
        number: u64,
        /// Why, for the trail.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// What is approved, and with which signature.
#[derive(Debug, Args)]
struct ApproveArgs {
    /// The change's number.
    number: u64,
    /// Your SSH key: a private key, or the `.pub` file of one that an agent holds. Encrypted and hardware keys go through
    /// `ssh-keygen`.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// A signature that was made elsewhere, `-` for stdin.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Refuses unless the change leads to the estate of this folder.
    #[arg(short = 'f', long = "folder", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Signs without asking; without a terminal it is needed.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn run(args: ChangeArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    match args.command {
        ChangeCommand::List => list(&context).await,
        ChangeCommand::Show { number } => show(&context, number).await,
        ChangeCommand::Approve(args) => approve::run(&context, args).await,
        ChangeCommand::Reject { number, reason } => reject(&context, number, reason).await,
    }
}

async fn list(context: &Context) -> Result<Exit, CommandError> {
    let answer: Answer<Vec<ChangeListed>> = context
        .client()?
        .get(Call::Changes, Question::default())
        .await?;
    context.output.print(&answer.data, |changes| {
        let row = |it: &ChangeListed| {
            vec![
                it.number.to_string(),
                words::state(it.state).to_owned(),
                crate::output::or_dash(it.version),
                words::effect(it.effect).to_owned(),
                it.submitter.clone(),
                it.submitted.to_string(),
                it.missing.join("; "),
            ]
        };
        table(
            &[
                "CHANGE",
                "STATE",
                "VERSION",
                "EFFECT",
                "BY",
                "SUBMITTED",
                "MISSING",
            ],
            &changes.iter().map(row).collect::<Vec<_>>(),
        )
    })?;
    Ok(Exit::Done)
}

async fn show(context: &Context, number: u64) -> Result<Exit, CommandError> {
    let shown = checked::fetch(&context.client()?, number, context.pinned_ledger()).await?;
    context
        .output
        .print(shown.answer(), |_| words::shown(&shown))?;
    if shown.answer().listed.state == ChangeState::Waiting {
        words::how_to_sign(number, shown.hash());
    }
    Ok(Exit::Done)
}

async fn reject(context: &Context, number: u64, reason: String) -> Result<Exit, CommandError> {
    let named = number.to_string();
    let path = [("number", named.as_str())];
    let question = Question {
        path: &path,
        query: &[],
    };
    let body = Rejection { reason };
    let answer: Answer<Value> = context
        .client()?
        .send(Call::Reject, question, &body)
        .await?;
    let leaf = answer.receipt.map(|receipt| receipt.index);
    context.output.print(&answer.data, |_| {
        let pairs = [
            ("state", "rejected".to_owned()),
            ("change", number.to_string()),
            ("reason", plain(&body.reason)),
            ("leaf", crate::output::or_dash(leaf)),
        ];
        lines(&pairs)
    })?;
    Ok(Exit::Done)
}
