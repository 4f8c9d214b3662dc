//! The program under test, run as a person runs it: words in, exit code and two streams out.

use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::workspace_binary;
use serde_json::Value;

/// `bailiwick`.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

/// What a run said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output: data.
    pub stdout: String,
    /// Standard error: talk.
    pub stderr: String,
}

impl Program {
    /// The one beside this test.
    #[must_use]
    pub fn find() -> Self {
        Self(workspace_binary("bailiwick").unwrap())
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it with PATH alone in its environment.
    #[must_use]
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Said {
        self.run_with(words, &[])
    }

    /// As [`Program::run`], with more variables.
    #[must_use]
    pub fn run_with<S: AsRef<std::ffi::OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
        environment: &[(&str, &str)],
    ) -> Said {
        let output = Command::new(&self.0)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(environment.iter().copied())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Said {
    /// The same, which must have ended well.
    #[must_use]
    pub fn well(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// The words of a run that must have failed with this code.
    #[must_use]
    pub fn refused(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.stderr
    }

    /// Its data as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
