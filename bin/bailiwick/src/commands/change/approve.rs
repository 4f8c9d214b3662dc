//! Approving: look at what would be signed, agree, sign here, and bring the signature to the server.

use std::io::{self, BufRead, IsTerminal, Write};

use web::{
    Call, Client,
    client::Question,
    wire::{Answer, Approval, ChangeState, Submitted},
};

use super::{
    ApproveArgs,
    checked::{self, CheckedChange},
    words,
};
use crate::{
    connection::Context,
    estate_folder::FolderArgs,
    output::{CommandError, Exit, plain},
    signing,
};

pub(super) async fn run(context: &Context, args: ApproveArgs) -> Result<Exit, CommandError> {
    let ApproveArgs {
        number,
        sign,
        signature,
        folder,
        yes,
    } = args;
    let client = context.client()?;
    let change = checked::fetch(&client, number, context.pinned_ledger()).await?;
    still_waits(&change)?;
    match folder {
        Some(folder) => checked::compare(&change, &FolderArgs::at(folder))?,
        None => eprintln!(
            "hint: with `-f DIR` the change is compared with a folder whose files you know, to the last digest"
        ),
    }
    let signature = match (&sign, &signature) {
        (Some(key), _) => {
            // What is agreed to is talk; stdout has what became of it.
            eprint!("{}", words::shown(&change));
            agree(yes)?;
            signing::sign(key, change.hash())?
        }
        (None, Some(file)) => signing::of_file(file, change.hash())?,
        (None, None) => return Err(CommandError::usage("a key or a signature is needed")),
    };
    let submitted = bring(&client, number, signature.armored()).await?;
    report(context, &submitted, Some(number))
}

/// What became of a change that was submitted or signed.
pub(crate) fn report(
    context: &Context,
    submitted: &Submitted,
    signed: Option<u64>,
) -> Result<Exit, CommandError> {
    match (&submitted.applied, &submitted.waiting) {
        (Some(applied), None) => context
            .output
            .print(submitted, |_| words::applied(applied))?,
        (None, Some(waiting)) => {
            context
                .output
                .print(submitted, |_| words::waiting(waiting))?;
            words::how_to_sign(waiting.number, &waiting.hash.to_string());
        }
        _ => {
            let what = signed.map_or("the change".to_owned(), |number| format!("change {number}"));
            return Err(CommandError::failed(format!(
                "the server does not say what became of {what}"
            ))
            .hint("bailiwick change list"));
        }
    }
    Ok(Exit::Done)
}

/// Brings a signature.
pub(crate) async fn bring(
    client: &Client,
    number: u64,
    signature: String,
) -> Result<Submitted, CommandError> {
    let named = number.to_string();
    let path = [("number", named.as_str())];
    let question = Question {
        path: &path,
        query: &[],
    };
    let body = Approval { signature };
    let answer: Answer<Submitted> = client.send(Call::Approve, question, &body).await?;
    Ok(answer.data)
}

fn still_waits(change: &CheckedChange) -> Result<(), CommandError> {
    let listed = &change.answer().listed;
    if listed.state == ChangeState::Waiting {
        return Ok(());
    }
    Err(CommandError::failed(format!(
        "change {} does not wait: it is {}",
        listed.number,
        words::state(listed.state)
    ))
    .hint("bailiwick change list"))
}

/// Asks the person at the terminal; nothing but a plain yes is one.
fn agree(yes: bool) -> Result<(), CommandError> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(CommandError::usage("there is no terminal to ask at")
            .hint("look at `bailiwick change show N`, and say `--yes`"));
    }
    eprint!("sign? [y/N] ");
    let _ = io::stderr().flush();
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| CommandError::failed("no answer could be read").caused_by(&error))?;
    if is_yes(&line) {
        return Ok(());
    }
    Err(CommandError::failed(format!(
        "nothing was signed: the answer was `{}`",
        plain(line.trim())
    )))
}

fn is_yes(line: &str) -> bool {
    ["y", "yes"].contains(&line.trim().to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_plain_yes_signs() {
        for line in ["y\n", "Y\n", "yes\r\n", " YES "] {
            assert!(is_yes(line), "{line:?}");
        }
        for line in [
            "",
            "\n",
            "n\n",
            "no\n",
            "yy\n",
            "y n\n",
            "yes, but\n",
            "\u{1b}[A\n",
        ] {
            assert!(!is_yes(line), "{line:?}");
        }
    }
}
