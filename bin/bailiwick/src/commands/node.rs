//! `bailiwick node list|show|ban|token`.

use clap::{Args, Subcommand};
use estate::NodeName;
use serde_json::Value;
use web::{
    Call,
    client::Question,
    wire::{Answer, Ban, Node, NodeState, Token},
};

use crate::{
    connection::{ConnectionArgs, Context},
    output::{CommandError, Exit, lines, or_dash, table},
};

/// Lists, shows and bans nodes, and makes their tokens.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Lists the nodes of the inventory and those that attested.
    #[command(after_help = "Example: bailiwick node list --pending")]
    List {
        /// Only those that never attested.
        #[arg(long)]
        pending: bool,
    },
    /// Shows one node.
    #[command(after_help = "Example: bailiwick node show dal05-r12-n07")]
    Show {
        /// Its name.
        name: NodeName,
    },
    /// Bans a node: within a second its leases end and it gets nothing more.
    #[command(
        after_help = "Example: bailiwick node ban dal05-r12-n07 --reason 'stolen from rack 12'"
    )]
    Ban {
        /// Its name.
        name: NodeName,
        /// Why, for the trail.
        #[arg(long)]
        reason: String,
    },
    /// Makes a one-time token for a node that may join by token (lab); shown once, kept nowhere.
    #[command(after_help = "Example: bailiwick node token lab-n1 > token")]
    Token {
        /// Its name.
        name: NodeName,
    },
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn run(args: NodeArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    match args.command {
        NodeCommand::List { pending } => list(&context, pending).await,
        NodeCommand::Show { name } => show(&context, &name).await,
        NodeCommand::Ban { name, reason } => ban(&context, &name, reason).await,
        NodeCommand::Token { name } => token(&context, &name).await,
    }
}

async fn list(context: &Context, pending: bool) -> Result<Exit, CommandError> {
    let answer: Answer<Vec<Node>> = context
        .client()?
        .get(Call::Nodes, Question::default())
        .await?;
    let mut nodes = answer.data;
    nodes.retain(|node| !pending || node.state == NodeState::Pending);
    context.output.print(&nodes, |nodes| {
        let row = |node: &Node| {
            vec![
                node.name.to_string(),
                state(node.state).to_owned(),
                or_dash(node.location.as_ref()),
                or_dash(node.cluster.as_ref()),
                or_dash(node.boot.as_ref()),
                or_dash(node.quoted_at),
            ]
        };
        let rows: Vec<_> = nodes.iter().map(row).collect();
        table(
            &[
                "NODE",
                "STATE",
                "LOCATION",
                "CLUSTER",
                "BOOT PROFILE",
                "LAST QUOTE",
            ],
            &rows,
        )
    })?;
    Ok(Exit::Done)
}

async fn show(context: &Context, name: &NodeName) -> Result<Exit, CommandError> {
    let path = [("name", name.as_str())];
    let answer: Answer<Node> = context
        .client()?
        .get(
            Call::Node,
            Question {
                path: &path,
                query: &[],
            },
        )
        .await?;
    context.output.print(&answer.data, |node| {
        lines(&[
            ("node", node.name.to_string()),
            ("state", state(node.state).to_owned()),
            ("location", or_dash(node.location.as_ref())),
            ("cluster", or_dash(node.cluster.as_ref())),
            ("attestor", or_dash(node.attestor.as_ref())),
            ("boot profile", or_dash(node.boot.as_ref())),
            ("epoch", or_dash(node.epoch)),
            ("attested", or_dash(node.attested_at)),
            ("last quote", or_dash(node.quoted_at)),
            ("certificate ends", or_dash(node.not_after)),
        ])
    })?;
    Ok(Exit::Done)
}

async fn ban(context: &Context, name: &NodeName, reason: String) -> Result<Exit, CommandError> {
    let path = [("name", name.as_str())];
    let question = Question {
        path: &path,
        query: &[],
    };
    let answer: Answer<Value> = context
        .client()?
        .send(Call::Ban, question, &Ban { reason })
        .await?;
    let leaf = or_dash(answer.receipt.map(|receipt| receipt.index));
    context.output.print(&answer.data, |_| {
        lines(&[("banned", name.to_string()), ("leaf", leaf)])
    })?;
    Ok(Exit::Done)
}

async fn token(context: &Context, name: &NodeName) -> Result<Exit, CommandError> {
    let path = [("name", name.as_str())];
    let answer: Answer<Token> = context
        .client()?
        .get(
            Call::Token,
            Question {
                path: &path,
                query: &[],
            },
        )
        .await?;
    context
        .output
        .print(&answer.data, |token| token.token.clone())?;
    eprintln!("hint: it admits `{name}` once, within ten minutes");
    Ok(Exit::Done)
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Pending => "pending",
        NodeState::Attested => "attested",
        NodeState::Lapsed => "lapsed",
        NodeState::Banned => "banned",
        NodeState::Removed => "removed",
    }
}
