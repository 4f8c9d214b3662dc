//! Runs `gpg`: bytes in, bytes out, within limits of size and time.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use zeroize::Zeroizing;

use super::Limits;

/// Why GnuPG was of no help.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum GpgError {
    /// Fault: this machine.
    #[error("`{}` can't be started", name.display())]
    NotStarted {
        name: PathBuf,
        source: Arc<io::Error>,
    },
    /// Fault: this machine.
    #[error("gpg can't be talked to")]
    Broken,
    /// Fault: gpg, or whoever it waits for.
    #[error("gpg did not end within {} seconds", patience.as_secs())]
    TooLate { patience: Duration },
    /// Fault: whoever fills the ring or made the packet.
    #[error("gpg says more than {limit} bytes")]
    TooMuch { limit: usize },
    /// Fault: what gpg says.
    #[error("gpg failed: {said}")]
    Failed { said: String },
}

/// The program, and where its keys are.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) name: PathBuf,
    pub(super) homedir: Option<PathBuf>,
}

/// What it said.
pub(super) struct Said {
    pub(super) is_good: bool,
    output: Zeroizing<Vec<u8>>,
    talk: String,
}

impl Program {
    /// Runs it. `--batch` keeps it from asking on the terminal; its agent still asks for passwords, by its own means.
    pub(super) fn run(
        &self,
        words: &[&str],
        input: &[u8],
        limits: Limits,
    ) -> Result<Said, GpgError> {
        let mut command = Command::new(&self.name);
        command.arg("--batch");
        if let Some(homedir) = &self.homedir {
            command.arg("--homedir").arg(homedir);
        }
        let started = command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = started.map_err(|source| GpgError::NotStarted {
            name: self.name.clone(),
            source: Arc::new(source),
        })?;
        let said = listen(&mut child, input, limits);
        if said.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        said
    }
}

impl Said {
    /// Its data, if it ended well.
    pub(super) fn well(self) -> Result<Zeroizing<Vec<u8>>, GpgError> {
        match self.is_good {
            true => Ok(self.output),
            false => Err(self.error()),
        }
    }

    /// What it said to people.
    pub(super) fn error(&self) -> GpgError {
        let lines = self.talk.lines().filter(|line| !line.starts_with(STATUS));
        let said: Vec<String> = lines.map(|line| line.escape_debug().to_string()).collect();
        GpgError::Failed {
            said: said.join("; "),
        }
    }

    /// How many lines of this status it wrote.
    pub(super) fn count(&self, status: &str) -> usize {
        let statuses = self
            .talk
            .lines()
            .filter_map(|line| line.strip_prefix(STATUS));
        let first = |line: &str| line.split(' ').next().map(str::to_owned);
        statuses
            .filter(|line| first(line).as_deref() == Some(status))
            .count()
    }
}

fn listen(child: &mut Child, input: &[u8], limits: Limits) -> Result<Said, GpgError> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(GpgError::Broken);
    };
    let input = input.to_vec();
    // One that ended early says so by its status.
    thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let (output, talk) = (reader(stdout, limits.output), reader(stderr, TALK_LIMIT));
    let late = |_| GpgError::TooLate {
        patience: limits.patience,
    };
    // The agent keeps neither pipe open, so both end with gpg.
    let output = output.recv_timeout(limits.patience).map_err(late)?;
    let talk = talk.recv_timeout(limits.patience).map_err(late)?;
    let (output, talk) = (
        output.ok_or(GpgError::Broken)?,
        talk.ok_or(GpgError::Broken)?,
    );
    if output.len() > limits.output {
        return Err(GpgError::TooMuch {
            limit: limits.output,
        });
    }
    let status = child.wait().map_err(|_| GpgError::Broken)?;
    Ok(Said {
        is_good: status.success(),
        output,
        talk: String::from_utf8_lossy(&talk).into_owned(),
    })
}

type Heard = mpsc::Receiver<Option<Zeroizing<Vec<u8>>>>;

/// Reads one byte more than is allowed, so that too much shows; into a buffer that does not move, for secrets' sake.
fn reader(from: impl Read + Send + 'static, limit: usize) -> Heard {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(1)));
        let read = from
            .take(limit as u64 + 1)
            .read_to_end(&mut bytes)
            .map(|_| bytes);
        let _ = sender.send(read.ok());
    });
    receiver
}

const STATUS: &str = "[GNUPG:] ";
const TALK_LIMIT: usize = 64 * 1024;
