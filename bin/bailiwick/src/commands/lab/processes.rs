//! Background processes by pid file. A pid alone may meanwhile be another's, so its start time is kept beside it.

use std::{
    ffi::OsStr,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Something that runs in the background.
#[derive(Debug, Clone)]
pub(super) struct Part {
    name: String,
    folder: PathBuf,
}

impl Part {
    pub(super) fn new(name: &str, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The process, if it still is the one that was started.
    pub(super) fn running(&self) -> Option<u32> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let pid = pid.parse().ok()?;
        (start_time(pid)? == started).then_some(pid)
    }

    /// Keeps which process it is.
    pub(super) fn record(&self, pid: u32) -> anyhow::Result<()> {
        let started = start_time(pid)
            .with_context(|| format!("`{}` ended at once: {}", self.name, self.last_words()))?;
        fs::write(self.pid_file(), format!("{pid} {started}\n"))
            .with_context(|| format!("can't write `{}`", self.pid_file().display()))
    }

    /// Ends it, gently first; whether it ran.
    pub(super) fn stop(&self) -> anyhow::Result<bool> {
        let Some(pid) = self.running() else {
            return Ok(false);
        };
        for (signal, patience) in [(Signal::TERM, 100), (Signal::KILL, 100)] {
            if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                // It may end by itself just now.
                let _ = kill_process(pid, signal);
            }
            for _ in 0..patience {
                if self.running().is_none() {
                    let _ = fs::remove_file(self.pid_file());
                    return Ok(true);
                }
                sleep(PAUSE);
            }
        }
        bail!("`{}`, process {pid}, does not end", self.name)
    }

    /// Waits for a state of it.
    pub(super) fn wait_until(
        &self,
        what: &str,
        patience: Duration,
        reached: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let looks = patience.as_millis() / PAUSE.as_millis();
        for _ in 0..looks {
            if reached() {
                return Ok(());
            }
            if self.running().is_none() {
                bail!("`{}` ended: {}", self.name, self.last_words());
            }
            sleep(PAUSE);
        }
        bail!(
            "waited {patience:?} in vain until `{}` {what}: {}",
            self.name,
            self.last_words()
        )
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join(format!("{}.pid", self.name))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.trim().lines().rev().take(5).collect();
        if lines.is_empty() {
            return "it said nothing".to_owned();
        }
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Starts a command of this program in the background; its output goes to a log in the lab's folder.
pub(super) fn background<const N: usize>(
    part: &Part,
    words: [&str; N],
    config: &Path,
) -> anyhow::Result<()> {
    let log = part.log_file();
    let failed = || format!("can't write `{}`", log.display());
    let out = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(failed)?;
    let err = out.try_clone().with_context(failed)?;
    let mut command = own_program();
    command.args(words).arg(config);
    // Of its own group: Ctrl-C in the terminal is not meant for it.
    command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0);
    let child = command
        .spawn()
        .with_context(|| format!("can't start `{}`", part.name))?;
    part.record(child.id())
}

/// Runs a command of this program to its end; what it printed.
pub(super) fn own_command(words: impl IntoIterator<Item: AsRef<OsStr>>) -> anyhow::Result<String> {
    let mut command = own_program();
    let output = command
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("can't start another process of this program")?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        bail!(
            "`bailiwick {}` failed: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// This very program, also when its file was replaced meanwhile.
fn own_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("bailiwick");
    command
}

/// When a process was started, in the kernel's ticks; nothing for one that ended and waits to be collected.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold parentheses and spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?;
    (state != "Z" && state != "X").then(|| started.to_owned())
}

const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_pid_and_start_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::new("sleeper", folder.path());
        assert_eq!(part.running(), None);
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        part.record(child.id()).unwrap();
        assert_eq!(part.running(), Some(child.id()));
        assert!(part.stop().unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(!part.stop().unwrap());
    }

    #[test]
    fn another_process_with_the_same_pid_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::new("other", folder.path());
        fs::write(part.pid_file(), format!("{} 1\n", std::process::id())).unwrap();
        assert_eq!(part.running(), None);
        assert!(!part.stop().unwrap());
    }
}
