//! Runs the program as a person at a terminal would.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::tell::Since;

/// The program.
#[derive(Clone, Debug)]
pub struct Bailiwick {
    program: PathBuf,
    config: PathBuf,
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The command, as it would be typed.
    pub command: String,
    /// Exit code.
    pub code: i32,
    /// Standard output: data.
    pub stdout: String,
    /// Standard error: talk.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Bailiwick {
    /// The program, and the file that says which server its commands ask and what they pin.
    #[must_use]
    pub fn new(program: &Path, config: &Path) -> Self {
        Self {
            program: program.to_owned(),
            config: config.to_owned(),
        }
    }

    /// The same program, asking as one of the lab's people.
    #[must_use]
    pub fn of(&self, person: &str) -> Self {
        Self {
            program: self.program.clone(),
            config: self.config.with_file_name(format!("client-{person}.toml")),
        }
    }

    /// The program's file.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a command that needs no server.
    ///
    /// # Errors
    /// When it can't be started; a command that fails is [`Said`] with its code.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<Said> {
        self.with_input(words, words, &[])
    }

    /// Runs a command that asks the server.
    ///
    /// # Errors
    /// As [`Bailiwick::run`].
    pub fn ask(&self, words: &[&str]) -> anyhow::Result<Said> {
        self.tell(words, &[])
    }

    /// As [`Bailiwick::ask`], with standard input.
    ///
    /// # Errors
    /// As [`Bailiwick::run`].
    pub fn tell(&self, words: &[&str], input: &[u8]) -> anyhow::Result<Said> {
        let config = self.config.display().to_string();
        self.with_input(&[words, &["--config", &config]].concat(), words, input)
    }

    fn with_input(&self, words: &[&str], shown: &[&str], input: &[u8]) -> anyhow::Result<Said> {
        let since = Since::now();
        let mut child = Command::new(&self.program)
            .args(words)
            .env_clear()
            .env("PATH", PATH)
            // Its own group: Ctrl-C at the terminal is for the demo, which ends everything in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start `{}`", self.program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // It may have ended without reading.
            let _ = stdin.write_all(input);
        }
        let output = child
            .wait_with_output()
            .context("can't read what the program said")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said {
            command: shown_as_typed(shown),
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            took: since.took(),
        })
    }
}

impl Said {
    /// The same, if it ended with this code.
    ///
    /// # Errors
    /// With what it said, if not.
    pub fn ended(self, code: i32) -> anyhow::Result<Self> {
        if self.code != code {
            bail!(
                "`{}` ended with {} instead of {code}: {}{}",
                self.command,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self)
    }

    /// Its standard output as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("`{}` printed no JSON: {}", self.command, self.stdout))
    }
}

/// Long paths and keys shortened: the line is for reading.
fn shown_as_typed(words: &[&str]) -> String {
    let short = words.iter().map(|word| {
        let word = word
            .rsplit_once("/bailiwick-demo-")
            .map_or(*word, |(before, rest)| {
                if before.contains(':') {
                    word
                } else {
                    rest.split_once('/').map_or(rest, |(_, path)| path)
                }
            });
        if word.contains([' ', '"']) {
            format!("'{word}'")
        } else {
            word.to_owned()
        }
    });
    let words: Vec<String> = short.collect();
    format!("bailiwick {}", words.join(" "))
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
