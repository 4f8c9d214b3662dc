//! `bailiwick image key`: the signed key document of an image set, fetched and checked.

use std::{fs, path::PathBuf};

use clap::Args;
use custody::{KeyDocument, KeyUse};
use estate::{ImageSetName, Timestamp};
use web::{Call, client::Question, wire::Answer};

use crate::{
    connection::ConnectionArgs,
    output::{CommandError, Exit, lines, write_out},
    system::SystemClock,
};

/// Fetches the key document that images of a set are encrypted to, and checks it against the pinned root.
#[derive(Debug, Args)]
#[command(after_help = "Example: bailiwick image key medrec -o medrec.json --root-pin sha256:…")]
pub(crate) struct ImageKeyArgs {
    /// The image set.
    name: ImageSetName,
    /// Where the document goes; stdout otherwise.
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn run(args: ImageKeyArgs) -> Result<Exit, CommandError> {
    let context = args.connection.context()?;
    let pin = context.root_pin()?;
    let path = [("name", args.name.as_str())];
    let question = Question {
        path: &path,
        query: &[],
    };
    let answer: Answer<web::wire::KeyDocument> =
        context.client()?.get(Call::ImageKey, question).await?;
    let signed = answer.data.document;
    let document = KeyDocument::verify(&signed, KeyUse::Image, pin, SystemClock.timestamp())
        .map_err(|error| {
            CommandError::unverified("the image set's key is not used").caused_by(&error)
        })?;
    if let Some(ledger) = context.pinned_ledger() {
        document.verify_announced(ledger).map_err(|error| {
            CommandError::unverified("the image set's key is not used").caused_by(&error)
        })?;
    }
    if document.resource != args.name.as_str() {
        let message = format!(
            "the server sent the key of `{}`, not of `{}`",
            document.resource, args.name
        );
        return Err(CommandError::unverified(message));
    }
    let Some(out) = args.out else {
        return write_out(&signed).map(|()| Exit::Done);
    };
    fs::write(&out, &signed).map_err(|error| {
        CommandError::failed(format!("`{}` can't be written", out.display())).caused_by(&error)
    })?;
    context.output.print(&document, |document| {
        lines(&[
            ("image set", document.resource.clone()),
            ("data set", document.dataset.to_string()),
            ("authority", document.authority.clone()),
            ("suite", document.suite.clone()),
            ("key id", document.key_id.clone()),
            (
                "valid until",
                Timestamp::from_seconds(document.exp).to_string(),
            ),
        ])
    })?;
    Ok(Exit::Done)
}
