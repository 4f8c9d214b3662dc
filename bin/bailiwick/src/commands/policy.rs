//! `bailiwick policy check|test|schema|who-can|explain`.

use ::policy::{TestVerdict, WhoCan as Answered};
use clap::{Args, Subcommand};
use estate::{Ask, ImageSetName, NodeName};
use serde_json::json;
use web::{
    Call,
    client::Question,
    wire::{Access, Answer, ExplainQuestion, Explanation, Grantor, Question as Asked, WhoCan},
};

use crate::{
    connection::{ConnectionArgs, Context},
    estate_folder::FolderArgs,
    output::{CommandError, Exit, lines, plain, table},
    system::SystemClock,
};

/// Checks and tests rules offline, and asks the server about those in force.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Loads an estate as the server would, without one.
    #[command(after_help = "Example: bailiwick policy check -f estate/")]
    Check {
        #[command(flatten)]
        folder: FolderArgs,
    },
    /// Runs an estate's tests, without a server. Exit code 1 when one fails.
    #[command(after_help = "Example: bailiwick policy test -f estate/")]
    Test {
        #[command(flatten)]
        folder: FolderArgs,
    },
    /// Prints the schema that rules are checked against.
    #[command(after_help = "Example: bailiwick policy schema > bailiwick.cedarschema")]
    Schema,
    /// Who can do something, over the nodes and image sets of the estate in force, or of `-f`; and which people could grant it to
    /// themselves, in which way, and how many of them would have to agree.
    #[command(
        after_help = "Example: bailiwick policy who-can 'lease credential/postgresql/medical-records'"
    )]
    WhoCan {
        /// The question.
        ask: Ask,
        /// Answer from this folder, without a server.
        #[arg(short = 'f', long = "folder", value_name = "DIR")]
        folder: Option<std::path::PathBuf>,
    },
    /// Why a workload that runs as well as it can be measured would be answered so, on a node as it attested.
    #[command(
        after_help = "Example: bailiwick policy explain 'lease credential/postgresql/medical-records' \
                            --node fra02-n1 --image medrec"
    )]
    Explain {
        /// The question.
        ask: Ask,
        /// The node.
        #[arg(long)]
        node: NodeName,
        /// The workload's image set; an image in no set otherwise.
        #[arg(long)]
        image: Option<ImageSetName>,
    },
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn run(args: PolicyArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    match args.command {
        PolicyCommand::Check { folder } => check(&context, &folder),
        PolicyCommand::Test { folder } => test(&context, &folder),
        PolicyCommand::Schema => context
            .output
            .print(&::policy::SCHEMA, |schema| (*schema).to_owned())
            .map(|()| Exit::Done),
        PolicyCommand::WhoCan { ask, folder } => who_can(&context, &ask, folder).await,
        PolicyCommand::Explain { ask, node, image } => explain(&context, &ask, node, image).await,
    }
}

fn check(context: &Context, folder: &FolderArgs) -> Result<Exit, CommandError> {
    let policies = folder.policies()?;
    let rules: Vec<String> = policies.rule_ids().map(ToString::to_string).collect();
    let estate = policies.estate();
    let data = json!({ "estate": estate.hash().0.to_string(), "rules": rules });
    context.output.print(&data, |_| {
        lines(&[
            ("estate", estate.hash().0.to_string()),
            ("data sets", estate.datasets().count().to_string()),
            ("image sets", estate.image_sets().count().to_string()),
            ("nodes", estate.nodes().count().to_string()),
            ("rules", rules.join(", ")),
        ])
    })?;
    Ok(Exit::Done)
}

fn test(context: &Context, folder: &FolderArgs) -> Result<Exit, CommandError> {
    let report = folder.policies()?.test(SystemClock.timestamp());
    let row = |file: &str, name: &str, verdict: &TestVerdict| match verdict {
        TestVerdict::Passed { asked } => {
            json!({ "file": file, "name": name, "passed": true, "asked": asked })
        }
        TestVerdict::Failed { why } => {
            json!({ "file": file, "name": name, "passed": false, "why": why })
        }
    };
    let data: Vec<_> = report
        .results
        .iter()
        .map(|it| row(&it.file, &it.name, &it.verdict))
        .collect();
    context.output.print(&data, |_| {
        let line = |it: &::policy::TestResult| match &it.verdict {
            TestVerdict::Passed { asked } => {
                format!("passed  {}: {} ({asked} asked)\n", it.file, plain(&it.name))
            }
            TestVerdict::Failed { why } => format!(
                "FAILED  {}: {}\n        {}\n",
                it.file,
                plain(&it.name),
                plain(why)
            ),
        };
        report.results.iter().map(line).collect()
    })?;
    if report.results.is_empty() {
        eprintln!("warning: the estate has no tests");
    }
    Ok(if report.passed() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

async fn who_can(
    context: &Context,
    ask: &Ask,
    folder: Option<std::path::PathBuf>,
) -> Result<Exit, CommandError> {
    let answer = match folder {
        Some(folder) => offline(&FolderArgs::at(folder), ask)?,
        None => {
            let asked = Asked {
                ask: ask.to_string(),
            };
            let answer: Answer<WhoCan> = context
                .client()?
                .send(Call::WhoCan, Question::default(), &asked)
                .await?;
            answer.data
        }
    };
    context.output.print(&answer, who_can_text)?;
    if answer.permitted.is_empty() && answer.refused == 0 {
        eprintln!("warning: the estate has nothing that the question could be about");
        eprintln!(
            "hint: look for the name in the estate's files; `bailiwick change list` tells which version is in force"
        );
    }
    Ok(Exit::Done)
}

fn who_can_text(answer: &WhoCan) -> String {
    let row = |it: &Access| {
        vec![
            it.image
                .as_ref()
                .map_or_else(|| "(the node)".to_owned(), ToString::to_string),
            it.node.to_string(),
            it.location.to_string(),
            it.cluster.to_string(),
            it.target.clone(),
            it.rules.join(", "),
        ]
    };
    let rows: Vec<_> = answer.permitted.iter().map(row).collect();
    let headings = [
        "IMAGE SET",
        "NODE",
        "LOCATION",
        "CLUSTER",
        "TARGET",
        "BY RULE",
    ];
    let shown = if rows.is_empty() {
        "nobody\n".to_owned()
    } else {
        table(&headings, &rows)
    };
    let grantors = grantors_text(&answer.could_grant);
    format!(
        "{shown}{} permitted, {} refused\n{grantors}",
        rows.len(),
        answer.refused
    )
}

/// People who have no access, and in which ways they could grant it to themselves.
fn grantors_text(grantors: &[Grantor]) -> String {
    if grantors.is_empty() {
        return String::new();
    }
    let row = |it: &Grantor| {
        let people: Vec<String> = it.people.iter().map(ToString::to_string).collect();
        vec![
            it.way.clone(),
            it.must_agree.to_string(),
            it.teams.join(", "),
            people.join(", "),
        ]
    };
    let rows: Vec<_> = grantors.iter().map(row).collect();
    format!(
        "\ncould grant themselves this:\n{}",
        table(&["BY", "MUST AGREE", "OF", "WHO"], &rows)
    )
}

fn offline(folder: &FolderArgs, ask: &Ask) -> Result<WhoCan, CommandError> {
    let Answered { rows, refused, .. } = folder.policies()?.who_can(ask, SystemClock.timestamp());
    Ok(WhoCan {
        ask: ask.to_string(),
        permitted: rows.iter().map(Access::from).collect(),
        refused,
        // Who could widen access depends on founders, too, whom only a server knows.
        could_grant: Vec::new(),
    })
}

async fn explain(
    context: &Context,
    ask: &Ask,
    node: NodeName,
    image: Option<ImageSetName>,
) -> Result<Exit, CommandError> {
    let asked = ExplainQuestion {
        ask: ask.to_string(),
        node,
        image,
    };
    let answer: Answer<Explanation> = context
        .client()?
        .send(Call::Explain, Question::default(), &asked)
        .await?;
    context.output.print(&answer.data, |explained| {
        let facts: String = explained
            .facts
            .iter()
            .map(|fact| format!("  {fact}\n"))
            .collect();
        let lacks: String = explained
            .lacks
            .iter()
            .map(|(rule, lacks)| match lacks.is_empty() {
                true => format!("  `{rule}` applies\n"),
                false => format!("  `{rule}` lacks {}\n", lacks.join(" and ")),
            })
            .collect();
        format!(
            "{}\n{}\n{facts}{lacks}",
            explained.question, explained.answer
        )
    })?;
    Ok(if answer.data.permitted {
        Exit::Done
    } else {
        Exit::Denied
    })
}
