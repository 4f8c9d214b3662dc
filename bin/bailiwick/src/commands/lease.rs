//! `bailiwick lease list|revoke`.

use clap::{Args, Subcommand};
use estate::LeaseId;
use serde_json::Value;
use web::{
    Call,
    client::Question,
    wire::{Answer, Lease},
};

use crate::{
    connection::ConnectionArgs,
    output::{CommandError, Exit, lines, or_dash, table},
};

/// Lists and ends leases of credentials.
#[derive(Debug, Args)]
pub(crate) struct LeaseArgs {
    #[command(subcommand)]
    command: LeaseCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum LeaseCommand {
    /// Lists leases that have not ended.
    #[command(after_help = "Example: bailiwick lease list --all")]
    List {
        /// Also those that ended.
        #[arg(long)]
        all: bool,
    },
    /// Ends a lease: its database role is gone within a second, with its sessions.
    #[command(after_help = "Example: bailiwick lease revoke hospital-1377")]
    Revoke {
        /// Its id.
        id: LeaseId,
    },
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn run(args: LeaseArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    let client = context.client()?;
    match args.command {
        LeaseCommand::List { all } => {
            let query = [("all", all.to_string())];
            let answer: Answer<Vec<Lease>> = client
                .get(
                    Call::Leases,
                    Question {
                        path: &[],
                        query: &query,
                    },
                )
                .await?;
            context.output.print(&answer.data, |leases| {
                let row = |it: &Lease| {
                    vec![
                        it.id.clone(),
                        it.state.clone(),
                        it.credential.clone(),
                        it.node.to_string(),
                        it.role.clone(),
                        it.expires.to_string(),
                    ]
                };
                let rows: Vec<_> = leases.iter().map(row).collect();
                table(
                    &["LEASE", "STATE", "CREDENTIAL", "NODE", "ROLE", "ENDS"],
                    &rows,
                )
            })?;
        }
        LeaseCommand::Revoke { id } => {
            let path = [("id", id.as_str())];
            let answer: Answer<Value> = client
                .get(
                    Call::Revoke,
                    Question {
                        path: &path,
                        query: &[],
                    },
                )
                .await?;
            let leaf = or_dash(answer.receipt.map(|receipt| receipt.index));
            context.output.print(&answer.data, |_| {
                lines(&[("ending", id.to_string()), ("leaf", leaf)])
            })?;
        }
    }
    Ok(Exit::Done)
}
