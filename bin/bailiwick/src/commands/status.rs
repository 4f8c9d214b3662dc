//! `bailiwick status`.

use clap::Args;
use server::govern::Status;
use web::{Call, client::Question, wire::Answer};

use crate::{
    connection::ConnectionArgs,
    output::{CommandError, Exit, lines},
};

/// Shows how the server is, and what its operator should know.
#[derive(Debug, Args)]
#[command(after_help = "Example: bailiwick status --output json")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn run(args: StatusArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    let answer: Answer<Status> = context
        .client()?
        .get(Call::Status, Question::default())
        .await?;
    context.output.print(&answer.data, |status| {
        let size = status.checkpoint.lines().nth(1).unwrap_or("0").to_owned();
        lines(&[
            ("trust domain", status.trust_domain.clone()),
            ("tenant", status.tenant.clone()),
            ("lab", if status.lab { "yes" } else { "no" }.to_owned()),
            ("custody", status.custody.clone()),
            (
                "estate",
                format!("version {} ({})", status.policy, status.estate),
            ),
            ("root", status.root.clone()),
            ("ledger key", status.ledger_key.clone()),
            ("leaves", size),
            ("nodes", status.nodes.to_string()),
            ("leases", status.leases.to_string()),
        ])
    })?;
    for warning in &answer.data.warnings {
        eprintln!("warning: {}", crate::output::plain(warning));
    }
    Ok(Exit::Done)
}
