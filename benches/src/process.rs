//! A whole process from start to end: its time, its processor time and its peak memory.

use std::fs;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::machine::{cpu_of, start};

/// What one run of a program took.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// From before its start to its end.
    pub wall: Duration,
    /// User and system time, of all its threads, in steps of 10 ms.
    pub cpu: Duration,
    /// The most memory that was resident, in bytes, as seen last before its end.
    pub peak_rss: u64,
}

/// Why a run has no figures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// Fault: the machine's; the program is not installed or not built.
    #[error("`{program}` did not start")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// Fault: the program's, or of how it was called; its own words follow.
    #[error("`{program}` ended with {status}: {words}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said on stderr.
        words: String,
    },
    /// Fault: the program's, or the machine is too slow for the work.
    #[error("`{program}` took longer than {limit:?} and was ended")]
    Late {
        /// The program.
        program: String,
        /// How long it may take.
        limit: Duration,
    },
    /// Fault: the machine's.
    #[error("`{program}` could not be watched")]
    Watch {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs a program to its end and measures it. A program that fails, or takes too long, has no figures.
///
/// # Errors
/// [`ProcessError`]
pub fn measure(command: &mut Command, limit: Duration) -> Result<Usage, ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Nobody reads the pipe while the program runs: more than 64 KiB of words would hold it up until the limit.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let began = start();
    let mut child = command.spawn().map_err(|source| ProcessError::Start {
        program: program.clone(),
        source,
    })?;
    let watched = watch(&mut child, began, limit).map_err(|source| ProcessError::Watch {
        program: program.clone(),
        source,
    })?;
    let Watched {
        usage,
        late,
        status,
        words,
    } = watched;
    match status.success() {
        true => Ok(usage),
        false if late => Err(ProcessError::Late { program, limit }),
        false => Err(ProcessError::Failed {
            program,
            status,
            words,
        }),
    }
}

struct Watched {
    usage: Usage,
    late: bool,
    status: ExitStatus,
    words: String,
}

/// Waits for the end without reaping: until then the kernel keeps the times, and the number is nobody else's.
fn watch(child: &mut Child, began: Instant, limit: Duration) -> io::Result<Watched> {
    let pid = Pid::from_child(child);
    let ended = AtomicBool::new(false);
    let (wall, peak_rss, late) = thread::scope(|scope| {
        let guard = scope.spawn(|| guard(pid, began, limit, &ended));
        let waited = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
        let wall = began.elapsed();
        ended.store(true, Ordering::Relaxed);
        let (peak_rss, late) = guard.join().unwrap_or_default();
        waited.map(|_| (wall, peak_rss, late))
    })?;
    let cpu = cpu_of(&child.id().to_string())?;
    let status = child.wait()?;
    let mut words = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut words)?;
    }
    Ok(Watched {
        usage: Usage {
            wall,
            cpu,
            peak_rss,
        },
        late,
        status,
        words,
    })
}

/// Until the process has ended: looks at its peak memory, which only grows, and ends it when it is late.
fn guard(pid: Pid, began: Instant, limit: Duration, ended: &AtomicBool) -> (u64, bool) {
    let (mut peak, mut late) = (0, false);
    while !ended.load(Ordering::Relaxed) {
        peak = peak_of(pid).unwrap_or_default().max(peak);
        if !late && began.elapsed() > limit {
            late = kill_process(pid, Signal::KILL).is_ok();
        }
        thread::sleep(LOOK);
    }
    (peak, late)
}

/// `None` when it is ending and has no memory any more.
fn peak_of(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Seldom enough to take no noticeable time from what is measured.
const LOOK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<Usage, ProcessError> {
        measure(Command::new("sh").args(["-c", script]), limit)
    }

    #[test]
    fn a_run_has_its_time_its_work_and_its_memory() {
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 0.05";
        let usage = sh(work, Duration::from_secs(60)).unwrap();
        assert!(usage.cpu >= Duration::from_millis(10), "{usage:?}");
        assert!(usage.wall >= Duration::from_millis(50), "{usage:?}");
        assert!(usage.peak_rss > 100 * 1024, "{usage:?}");
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = sh("echo the reason >&2; exit 3", Duration::from_secs(60)).unwrap_err();
        assert!(error.to_string().contains("the reason"), "{error}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let error = sh("exec sleep 600", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ProcessError::Late { .. }), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = measure(&mut Command::new("no-such-program"), Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "`no-such-program` did not start");
    }
}
