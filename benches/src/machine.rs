//! The clock, the processor time, and what the machine is like that measures.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Starts a stopwatch.
#[expect(
    clippy::disallowed_methods,
    reason = "measuring is the purpose of this crate"
)]
pub fn start() -> Instant {
    Instant::now()
}

/// Processor time of this process so far, user and system, of all its threads.
///
/// # Errors
/// The system's, when it does not tell.
pub fn own_cpu() -> io::Result<Duration> {
    cpu_of("self")
}

/// Processor time of a process, of all its threads, also of those that ended; known until the process is reaped.
pub(crate) fn cpu_of(process: &str) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    ticks(&stat)
        .map(|ticks| Duration::from_millis(ticks * TICK_MS))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the process has no times"))
}

/// User and system time. The name comes before them, in brackets, and may itself hold brackets and spaces.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut times = after_name.split(' ').skip(11);
    let mut next = || times.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// The kernel tells times in hundredths of a second on every architecture that is built for.
const TICK_MS: u64 = 10;

/// Whether a folder lies in memory.
///
/// # Errors
/// The system's, when there is no such folder.
pub fn in_memory(folder: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(folder)?.f_type == TMPFS_MAGIC)
}

/// From `statfs(2)`.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// From now on this process, and every program that it starts, runs on one core only; answers which.
///
/// # Errors
/// The system's, when it does not let us choose.
pub fn pin_to_one_core() -> io::Result<usize> {
    let core = rustix::thread::sched_getcpu();
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)?;
    Ok(core)
}

/// How large the measured layer or file is, in MiB.
///
/// # Errors
/// When `BENCH_LAYER_MIB` is set, and not to a number that is greater than zero.
pub fn layer_mebibytes() -> io::Result<u64> {
    let Some(text) = std::env::var_os("BENCH_LAYER_MIB") else {
        return Ok(1024);
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.filter(|number| *number > 0).ok_or_else(|| {
        let text = text.display();
        io::Error::other(format!("BENCH_LAYER_MIB: `{text}` is no number of MiB"))
    })
}

/// One line about the machine, and a warning when others work on it.
pub fn introduce(bench: &str) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(": ")?.1.to_owned())
    });
    let model = model.as_deref().unwrap_or("unknown processor");
    println!("\n== {bench}: {cores} cores, {model}");
    let load = fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    if let Some(load) = load.filter(|load| *load >= QUIET) {
        println!("note: load average {load}; others work on this machine or did a minute ago");
        println!("note: quote neither figures nor ratios of this run");
    }
    if cfg!(debug_assertions) {
        println!("note: not built for release; quote nothing of this run");
    }
}

const QUIET: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 5 1 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a) R 1 2"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn work_takes_processor_time() {
        let before = own_cpu().unwrap();
        let mut sum = 0_u64;
        while own_cpu().unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(own_cpu().unwrap() > before);
    }

    #[test]
    fn a_pinned_process_and_its_children_have_one_core() {
        // The affinity is this thread's, and that of what it starts.
        let pinned = || {
            let core = pin_to_one_core().unwrap();
            let output = std::process::Command::new("nproc").output().unwrap();
            (core, String::from_utf8(output.stdout).unwrap())
        };
        let (core, cores) = std::thread::spawn(pinned).join().unwrap();
        assert!(core < rustix::thread::CpuSet::MAX_CPU);
        assert_eq!(cores.trim(), "1");
    }

    #[test]
    fn what_lies_in_memory_is_told_from_what_does_not() {
        assert!(in_memory(Path::new("/dev/shm")).unwrap());
        assert!(!in_memory(Path::new("/proc")).unwrap());
        assert!(in_memory(Path::new("/no/such/folder")).is_err());
    }
}
