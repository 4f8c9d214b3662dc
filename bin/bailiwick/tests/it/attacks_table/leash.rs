//! The program with bounded memory and time: an attack that costs more than that has succeeded.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// How a run ended.
pub(crate) struct Ended {
    /// Exit code; none when it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (code, bytes) = (self.code, self.stdout.len());
        write!(
            f,
            "code {code:?}, {bytes} bytes, and the words: {}",
            self.stderr
        )
    }
}

/// KiB of address space; threads' stacks and the program itself take most of it.
const MEMORY: &str = "1000000";
/// Seconds of processor time, for a program that is not optimised.
const PROCESSOR: &str = "60";
/// How often it is looked at before it is killed; the machine may be busy.
const GLANCES: usize = 36_000;
const PAUSE: Duration = Duration::from_millis(5);

/// Runs it with this input; `payload` is what lies on descriptor 3.
pub(crate) fn on_a_leash(words: &[&str], input: &[u8], payload: Option<&Path>) -> Ended {
    let script = match payload {
        Some(_) => r#"ulimit -v "$1" && ulimit -t "$2" && exec 3<"$3" && shift 3 && exec "$@""#,
        None => r#"ulimit -v "$1" && ulimit -t "$2" && shift 3 && exec "$@""#,
    };
    let mut child = Command::new("/bin/sh")
        .args(["-c", script, "sh", MEMORY, PROCESSOR])
        .arg(payload.unwrap_or(Path::new("")))
        .arg(env!("CARGO_BIN_EXE_bailiwick"))
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // One that refuses does not read to the end.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = reader(child.stdout.take().unwrap());
    let stderr = reader(child.stderr.take().unwrap());
    let code = wait(&mut child);
    writer.join().unwrap();
    let stderr = stderr.join().unwrap();
    Ended {
        code,
        stdout: stdout.join().unwrap(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

fn reader(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn wait(child: &mut Child) -> Option<i32> {
    for _ in 0..GLANCES {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        thread::sleep(PAUSE);
    }
    child.kill().unwrap();
    child.wait().unwrap().code()
}

/// Reads a file of a target, whatever is there.
pub(crate) fn contents(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.read_to_end(&mut bytes);
    }
    bytes
}
