//! A provider that is a program: the question on its standard input, the answer on its standard output, and success as its
//! exit status. It gets our environment, as others give theirs; nothing is added to it, and no shell is between.

use std::io;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use crate::error::ProviderError;
use crate::provider::LONGEST_ANSWER;

/// What the program wrote.
pub(crate) struct Written {
    /// Its answer, if it ended well.
    pub(crate) answer: Option<Zeroizing<Vec<u8>>>,
    /// How it ended.
    pub(crate) status: String,
    /// The beginning of what it complained about.
    pub(crate) complaint: Vec<u8>,
}

/// Runs the program. Who drops this future ends the program and all that it started.
pub(crate) async fn run(
    path: &Path,
    args: &[String],
    question: &[u8],
) -> Result<Written, ProviderError> {
    let child = Command::new(path)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = child.map_err(|source| ProviderError::Start {
        program: path.to_owned(),
        source,
    })?;
    let mut group = Group(child);
    let (stdin, stdout, stderr) = {
        let Group(child) = &mut group;
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    };
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(ProviderError::Machine(io::ErrorKind::BrokenPipe.into()));
    };
    let tell = async move {
        // A program that answers without having read everything is no worse for it.
        match stdin.write_all(question).await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    };
    let told = async { tell.await.map_err(ProviderError::Machine) };
    let ((), answer, complaint) = tokio::try_join!(told, bounded(stdout), beginning(stderr))?;
    let ended = group.0.wait().await.map_err(ProviderError::Machine)?;
    Ok(Written {
        answer: ended.success().then_some(answer),
        status: ended.to_string(),
        complaint,
    })
}

/// All of it, or an error when it is longer than any answer.
async fn bounded(from: impl AsyncRead + Unpin) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
    let most = u64::try_from(LONGEST_ANSWER).unwrap_or(u64::MAX);
    let mut from = from.take(most.saturating_add(1));
    from.read_to_end(&mut bytes)
        .await
        .map_err(ProviderError::Machine)?;
    match bytes.len() > LONGEST_ANSWER {
        true => Err(ProviderError::TooLong {
            limit: LONGEST_ANSWER,
        }),
        false => Ok(bytes),
    }
}

/// The first words; the rest is read, so that the program is not stopped by a full pipe, and dropped.
async fn beginning(mut from: impl AsyncRead + Unpin) -> Result<Vec<u8>, ProviderError> {
    let mut bytes = Vec::new();
    let first = (&mut from).take(FIRST_WORDS).read_to_end(&mut bytes).await;
    first.map_err(ProviderError::Machine)?;
    let rest = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    rest.map_err(ProviderError::Machine)?;
    Ok(bytes)
}

/// The program and what it started, in a group of their own. It has an id until it was waited for, so that no stranger is hit.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // A group that is gone already is what was wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

const FIRST_WORDS: u64 = 8 * 1024;
