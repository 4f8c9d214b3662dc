//! How commands answer: stdout is data, stderr is talk; one list of exit codes.

use std::{
    error::Error,
    fmt::{self, Write as _},
    io::{self, Write as _},
    process::ExitCode,
};

use clap::ValueEnum;
use serde::Serialize;
use web::ClientError;

/// Exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Not understood.
    Usage = 2,
    /// Denied; for `diff`: differs.
    Denied = 3,
    /// A verification failed.
    Unverified = 4,
    /// Something needed did not answer.
    Unavailable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: stable.
    Json,
}

impl Format {
    /// Writes data to stdout: as JSON, or as what `text` makes of it.
    ///
    /// # Errors
    /// When stdout can't be written; a reader who has seen enough is no error.
    pub(crate) fn print<T: Serialize>(
        self,
        data: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), CommandError> {
        match self {
            Self::Text => write_out(&text(data)),
            Self::Json => write_out(&json(data)?),
        }
    }
}

/// Data as JSON.
///
/// # Errors
/// When it has no JSON form.
pub(crate) fn json(data: &impl Serialize) -> Result<String, CommandError> {
    serde_json::to_string_pretty(data)
        .map_err(|error| CommandError::failed("the answer has no JSON form").caused_by(&error))
}

/// Writes to stdout; the last line ends.
///
/// # Errors
/// When stdout can't be written; a reader who has seen enough is no error.
pub(crate) fn write_out(text: &str) -> Result<(), CommandError> {
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    match io::stdout()
        .lock()
        .write_all(format!("{text}{end}").as_bytes())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::failed("stdout can't be written").caused_by(&error))
        }
        _ => Ok(()),
    }
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandError {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl CommandError {
    /// An error with this exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// Exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Exit code 4.
    pub(crate) fn unverified(message: impl Into<String>) -> Self {
        Self::new(Exit::Unverified, message)
    }

    /// Adds an error and its causes.
    #[must_use]
    pub(crate) fn caused_by(mut self, error: &dyn Error) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let text = error.to_string();
            // A transparent error repeats its source.
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            cause = error.source();
        }
        self
    }

    /// Adds what may help.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for CommandError {
    /// As it is written to stderr, behind `error: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(&self.message))?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {}", plain(cause))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for CommandError {}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Refused { code, .. } => match code.row().exit {
                2 => Exit::Usage,
                3 => Exit::Denied,
                4 => Exit::Unverified,
                5 => Exit::Unavailable,
                _ => Exit::Failed,
            },
            ClientError::NoRoot { .. } | ClientError::Pem { .. } | ClientError::Tls(_) => {
                Exit::Usage
            }
            ClientError::NoReceipt | ClientError::BadReceipt(_) => Exit::Unverified,
            ClientError::Unreachable { .. } | ClientError::Slow(_) | ClientError::Broken(_) => {
                Exit::Unavailable
            }
            _ => Exit::Failed,
        };
        let hint = hint_for(&error);
        let mut this = Self::new(exit, error.to_string());
        if let Some(source) = error.source() {
            this = this.caused_by(source);
        }
        Self { hint, ..this }
    }
}

fn hint_for(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Refused { leaf: Some(leaf), .. } => Some(format!("it is on record as leaf {leaf}")),
        ClientError::Refused { message, .. } if message.starts_with("these would be removed") => {
            Some("put their files back, or say `--prune`".to_owned())
        }
        ClientError::Refused { message, .. } if message.starts_with("there is no change") => {
            Some("bailiwick change list".to_owned())
        }
        ClientError::Refused { message, .. } if message.ends_with("is of nobody who may sign") => {
            Some("a key counts once it stands in the `people.toml` in force, or was a founder's".to_owned())
        }
        ClientError::Unreachable { .. } => {
            Some("is the server running, and is `--server` its address? the local socket is root's alone".to_owned())
        }
        ClientError::NoRoot { .. } => Some("give `--root FILE`: `server init` writes it as `root.pem`".to_owned()),
        _ => None,
    }
}

/// Writes an error to stderr and tells the exit code.
pub(crate) fn report(error: &CommandError) -> Exit {
    let mut stderr = io::stderr().lock();
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(stderr, "error: {}", plain(&error.to_string()));
    error.exit()
}

/// Rows under their headings, as wide as needed.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| plain(cell)).collect())
        .collect();
    let width = |column: usize, heading: &str| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([heading.len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| width(column, heading))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            // Writing to a text can't fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        format!("{}\n", line.trim_end())
    };
    let mut text = line(&mut headings.iter().copied());
    for row in &rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// Names and values, a line each.
pub(crate) fn lines(pairs: &[(&str, String)]) -> String {
    let width = pairs
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default()
        + 1;
    pairs
        .iter()
        .map(|(name, value)| format!("{:<width$} {}\n", format!("{name}:"), plain(value)))
        .collect()
}

/// A value that may be absent.
pub(crate) fn or_dash(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Text without what a terminal would obey: data may come from whoever it is about.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_written_with_causes_and_hint() {
        let cause = "x".parse::<u8>().unwrap_err();
        let error = CommandError::usage("`x` is no number")
            .caused_by(&cause)
            .hint("write digits");
        let text =
            "`x` is no number\n  caused by: invalid digit found in string\nhint: write digits";
        assert_eq!(
            (error.to_string().as_str(), error.exit()),
            (text, Exit::Usage)
        );
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_obeyed() {
        let rows = [
            vec!["long name".to_owned(), "1".to_owned()],
            vec!["b\u{1b}[2J".to_owned(), "2".to_owned()],
        ];
        assert_eq!(
            table(&["name", "n"], &rows),
            "name        n\nlong name   1\nb\\u{1b}[2J  2\n"
        );
    }

    #[test]
    fn every_code_of_the_table_has_its_exit() {
        for row in server::codes::CODES {
            let refused = ClientError::Refused {
                code: row.code,
                message: String::new(),
                leaf: None,
            };
            assert_eq!(
                CommandError::from(refused).exit() as u8,
                row.exit,
                "{}",
                row.name
            );
        }
    }
}
