//! `bailiwick audit who|search|receipt|verify`.

mod receipt;
mod trail;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use estate::{DataSetName, Timestamp};
use web::{
    Call,
    client::Question,
    wire::{Answer, ReceiptFile, Trail, Verified},
};

use crate::{
    connection::{ConnectionArgs, Context},
    output::{CommandError, Exit, json, plain, write_out},
};

/// Reads the trail and verifies it. Every reading is on record, too.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Who received, or was refused, anything of a data set.
    #[command(after_help = "Example: bailiwick audit who medical-records")]
    Who {
        /// The data set.
        dataset: DataSetName,
    },
    /// Finds entries by what they disclose.
    #[command(
        after_help = "Example: bailiwick audit search --field kind:lease --field node:dal05-n1 --since 2026-11-01T00:00:00Z"
    )]
    Search {
        /// Name and exact value, such as kind:lease, outcome:denied, node:…, location:…, cluster:… or actor:…; `audit verify
        /// RECEIPT` shows all names of an entry. Can be given several times: all must fit.
        #[arg(long = "field", value_name = "NAME:VALUE")]
        fields: Vec<String>,
        /// From this time.
        #[arg(long)]
        since: Option<Timestamp>,
        /// Before this time.
        #[arg(long)]
        until: Option<Timestamp>,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Fetches an entry with its proof, for an offline verifier.
    #[command(after_help = "Example: bailiwick audit receipt 1377 -o 1377.json")]
    Receipt {
        /// The entry's index.
        index: u64,
        /// Where it goes; stdout otherwise.
        #[arg(short = 'o', long = "out", value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Verifies a receipt offline; without one, asks the server to recompute its log. Exit code 4 when something is wrong.
    #[command(
        after_help = "Examples: bailiwick audit verify 1377.json --ledger-key ledger.key\n          bailiwick audit \
                            verify --server unix:/run/bailiwick/server.sock"
    )]
    Verify {
        /// What `audit receipt` fetched.
        receipt: Option<PathBuf>,
    },
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn run(args: AuditArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    match args.command {
        AuditCommand::Who { dataset } => who(&context, &dataset).await,
        AuditCommand::Search {
            fields,
            since,
            until,
            limit,
        } => {
            let mut query: Vec<(&str, String)> =
                fields.into_iter().map(|field| ("field", field)).collect();
            query.extend(since.map(|at| ("since", at.as_seconds().to_string())));
            query.extend(until.map(|at| ("until", at.as_seconds().to_string())));
            query.push(("limit", limit.to_string()));
            let question = Question {
                path: &[],
                query: &query,
            };
            let answer: Answer<Trail> = context.client()?.get(Call::Search, question).await?;
            let shown = trail::print(&context, &answer.data, &["what", "how"])?;
            if answer.data.entries.len() >= limit as usize {
                eprintln!("warning: there may be more: these are the newest {limit} that fit");
                eprintln!("hint: `--limit` shows more, `--since` and `--until` other times");
            }
            Ok(shown)
        }
        AuditCommand::Receipt { index, out } => fetch(&context, index, out).await,
        AuditCommand::Verify {
            receipt: Some(file),
        } => receipt::verify(&context, &file),
        AuditCommand::Verify { receipt: None } => recompute(&context).await,
    }
}

async fn who(context: &Context, dataset: &DataSetName) -> Result<Exit, CommandError> {
    let path = [("dataset", dataset.as_str())];
    let answer: Answer<Trail> = context
        .client()?
        .get(
            Call::Who,
            Question {
                path: &path,
                query: &[],
            },
        )
        .await?;
    trail::print(context, &answer.data, &[])
}

async fn fetch(context: &Context, index: u64, out: Option<PathBuf>) -> Result<Exit, CommandError> {
    let number = index.to_string();
    let path = [("index", number.as_str())];
    let question = Question {
        path: &path,
        query: &[],
    };
    let answer: Answer<ReceiptFile> = context.client()?.get(Call::Receipt, question).await?;
    let text = json(&answer.data)?;
    match out {
        Some(out) => std::fs::write(&out, format!("{text}\n")).map_err(|error| {
            CommandError::failed(format!("`{}` can't be written", out.display())).caused_by(&error)
        })?,
        None => write_out(&text)?,
    }
    Ok(Exit::Done)
}

async fn recompute(context: &Context) -> Result<Exit, CommandError> {
    let answer: Answer<Verified> = context
        .client()?
        .get(Call::Verify, Question::default())
        .await?;
    context
        .output
        .print(&answer.data, |verified| match verified.intact {
            true => {
                "intact: every leaf, disclosure and hash fits the signed checkpoint\n".to_owned()
            }
            false => verified
                .discrepancies
                .iter()
                .map(|found| format!("DIFFERS {}\n", plain(&found.what)))
                .collect(),
        })?;
    Ok(if answer.data.intact {
        Exit::Done
    } else {
        Exit::Unverified
    })
}
