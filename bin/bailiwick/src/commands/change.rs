//! `bailiwick change list|show`.

use clap::{Args, Subcommand};
use server::ports::EstateVersion;
use web::{
    Call,
    client::Question,
    wire::{Answer, ChangeShown},
};

use crate::{
    connection::ConnectionArgs,
    output::{CommandError, Exit, lines, table},
};

/// Shows the versions of the estate and what each changed.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    #[command(subcommand)]
    command: ChangeCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum ChangeCommand {
    /// Lists all versions, newest first.
    #[command(after_help = "Example: bailiwick change list")]
    List,
    /// Shows what one version changed.
    #[command(after_help = "Example: bailiwick change show 3")]
    Show {
        /// Its number.
        #[arg(value_name = "VERSION")]
        number: u64,
    },
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn run(args: ChangeArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    let client = context.client()?;
    match args.command {
        ChangeCommand::List => {
            let answer: Answer<Vec<EstateVersion>> =
                client.get(Call::Changes, Question::default()).await?;
            context.output.print(&answer.data, |versions| {
                let row = |it: &EstateVersion| {
                    vec![
                        it.version.0.to_string(),
                        it.at.to_string(),
                        it.by.clone(),
                        it.leaf.to_string(),
                        it.change.clone(),
                    ]
                };
                table(
                    &["VERSION", "APPLIED", "BY", "LEAF", "CHANGE"],
                    &versions.iter().map(row).collect::<Vec<_>>(),
                )
            })?;
        }
        ChangeCommand::Show { number } => {
            let number = number.to_string();
            let path = [("version", number.as_str())];
            let answer: Answer<ChangeShown> = client
                .get(
                    Call::Change,
                    Question {
                        path: &path,
                        query: &[],
                    },
                )
                .await?;
            context.output.print(&answer.data, change_text)?;
        }
    }
    Ok(Exit::Done)
}

fn change_text(shown: &ChangeShown) -> String {
    let EstateVersion {
        version,
        hash,
        change,
        by,
        leaf,
        at,
    } = &shown.version;
    let pairs = [
        ("version", version.0.to_string()),
        ("applied", at.to_string()),
        ("by", by.clone()),
        ("estate", hash.to_string()),
        ("change", change.clone()),
        ("leaf", leaf.to_string()),
    ];
    let changes: String = shown
        .changes
        .iter()
        .map(|change| format!("{}\n", crate::output::plain(change)))
        .collect();
    format!("{}{changes}", lines(&pairs))
}
