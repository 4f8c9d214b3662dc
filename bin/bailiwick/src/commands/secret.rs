//! `bailiwick secret put|list|show`. There is no `get`: a person cannot read a secret.

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
};

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use clap::{Args, Subcommand};
use custody::{KeyDocument, KeyUse, seal_secret};
use estate::{DataSetName, SecretName};
use serde_json::Value;
use server::{
    Code,
    govern::{SealedSecret, SecretSummary},
};
use web::{Call, Client, ClientError, client::Question, wire::Answer};
use zeroize::Zeroizing;

use crate::{
    connection::{ConnectionArgs, Context, unreadable},
    output::{CommandError, Exit, lines, or_dash, plain, table},
    system::SystemClock,
};

/// Stores secrets, sealed before they leave this machine. There is no get: nobody reads one back.
#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    #[command(subcommand)]
    command: SecretCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Seals a secret to its data set's key and stores it as the next version.
    #[command(
        after_help = "Example: bailiwick secret put db/medrec-pg/admin --dataset medical-records \
                            --from-file admin.json --root-pin sha256:…"
    )]
    Put {
        /// Its name.
        name: SecretName,
        /// Whose data it opens.
        #[arg(long)]
        dataset: DataSetName,
        /// File with the value, byte for byte; `-` for stdin.
        #[arg(long, value_name = "FILE")]
        from_file: PathBuf,
    },
    /// Lists all secrets, without their values.
    #[command(after_help = "Example: bailiwick secret list")]
    List,
    /// Shows one secret, without its value.
    #[command(after_help = "Example: bailiwick secret show db/medrec-pg/admin")]
    Show {
        /// Its name.
        name: SecretName,
    },
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn run(args: SecretArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    match args.command {
        SecretCommand::Put {
            name,
            dataset,
            from_file,
        } => put(&context, &name, &dataset, &from_file).await,
        SecretCommand::List => list(&context).await,
        SecretCommand::Show { name } => show(&context, &name).await,
    }
}

async fn put(
    context: &Context,
    name: &SecretName,
    dataset: &DataSetName,
    file: &std::path::Path,
) -> Result<Exit, CommandError> {
    let pin = context.root_pin()?;
    let client = context.client()?;
    let value = read_value(file)?;
    let path = [("name", dataset.as_str())];
    let question = Question {
        path: &path,
        query: &[],
    };
    let answer: Answer<web::wire::KeyDocument> = client.get(Call::DataSetKey, question).await?;
    let now = SystemClock.timestamp();
    let document =
        KeyDocument::verify(&answer.data.document, KeyUse::Dataset, pin, now).map_err(|error| {
            CommandError::unverified("the data set's key is not used").caused_by(&error)
        })?;
    if document.dataset != *dataset || document.resource != dataset.as_str() {
        let message = format!(
            "the server sent the key of `{}`, not of `{dataset}`",
            document.resource
        );
        return Err(CommandError::unverified(message));
    }
    let version = newest(&client, name).await? + 1;
    let row = seal_secret(&document, name, version, &value, "")
        .map_err(|error| CommandError::failed("the secret can't be sealed").caused_by(&error))?;
    let sealed = SealedSecret {
        version,
        dataset: row.dataset,
        suite: row.suite,
        key_id: row.key_id.to_string(),
        enc: B64.encode(row.enc),
        ct: B64.encode(row.ct),
    };
    let path = [("name", name.as_str())];
    let answer: Answer<Value> = client
        .send(
            Call::PutSecret,
            Question {
                path: &path,
                query: &[],
            },
            &sealed,
        )
        .await?;
    let leaf = or_dash(answer.receipt.map(|receipt| receipt.index));
    context.output.print(&answer.data, |_| {
        let rest = [
            ("name", name.to_string()),
            ("version", version.to_string()),
            ("leaf", leaf),
        ];
        format!("value: sealed\n{}", lines(&rest))
    })?;
    Ok(Exit::Done)
}

async fn newest(client: &Client, name: &SecretName) -> Result<u64, CommandError> {
    let path = [("name", name.as_str())];
    let answer: Result<Answer<SecretSummary>, _> = client
        .get(
            Call::Secret,
            Question {
                path: &path,
                query: &[],
            },
        )
        .await;
    match answer {
        Ok(answer) => Ok(answer.data.version),
        Err(ClientError::Refused {
            code: Code::NotFound,
            ..
        }) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

async fn list(context: &Context) -> Result<Exit, CommandError> {
    let answer: Answer<Vec<SecretSummary>> = context
        .client()?
        .get(Call::Secrets, Question::default())
        .await?;
    context.output.print(&answer.data, |secrets| {
        let row = |it: &SecretSummary| {
            vec![
                it.name.to_string(),
                value_text(it),
                it.version.to_string(),
                it.dataset.to_string(),
                it.by.clone(),
            ]
        };
        table(
            &["SECRET", "VALUE", "VERSION", "DATA SET", "BY"],
            &secrets.iter().map(row).collect::<Vec<_>>(),
        )
    })?;
    Ok(Exit::Done)
}

async fn show(context: &Context, name: &SecretName) -> Result<Exit, CommandError> {
    let path = [("name", name.as_str())];
    let answer: Answer<SecretSummary> = context
        .client()?
        .get(
            Call::Secret,
            Question {
                path: &path,
                query: &[],
            },
        )
        .await?;
    context.output.print(&answer.data, |secret| {
        let mut rest = vec![
            ("name", secret.name.to_string()),
            ("version", secret.version.to_string()),
            ("data set", secret.dataset.to_string()),
            ("suite", secret.suite.clone()),
            ("by", secret.by.clone()),
        ];
        rest.extend(secret.since.clone().map(|since| ("exposed", since)));
        format!("value: {}\n{}", plain(&value_text(secret)), lines(&rest))
    })?;
    if answer.data.exposed {
        eprintln!(
            "hint: somebody had a hand inside a container that holds it: change it at its source, then `bailiwick secret put {name}`"
        );
    }
    Ok(Exit::Done)
}

/// What is known of the value: that it is sealed, and whether a person may have seen it.
fn value_text(secret: &SecretSummary) -> String {
    match secret.exposed {
        true => format!("{}; exposed, rotate", secret.value),
        false => secret.value.clone(),
    }
}

fn read_value(file: &std::path::Path) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut value = Zeroizing::new(Vec::with_capacity(MAX_VALUE + 1));
    let limit = MAX_VALUE as u64 + 1;
    let read = if file.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut value)
    } else {
        fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut value))
    };
    read.map_err(|error| unreadable(file, &error))?;
    match value.len() {
        0 => Err(CommandError::usage("the secret is empty")),
        length if length > MAX_VALUE => Err(CommandError::usage(format!(
            "a secret has at most {MAX_VALUE} bytes"
        ))),
        _ => Ok(value),
    }
}

const MAX_VALUE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_somebody_may_have_seen_is_to_be_replaced() {
        let sealed = serde_json::json!({
            "value": "sealed", "name": "db/token", "version": 1, "dataset": "records",
            "suite": "suite", "by": "person:chen@hospital.example", "exposed": false,
        });
        let mut secret: SecretSummary = serde_json::from_value(sealed).unwrap();
        assert_eq!(value_text(&secret), "sealed");
        secret.exposed = true;
        assert_eq!(value_text(&secret), "sealed; exposed, rotate");
    }
}
