//! The Go programs of `interop/`: built once, asked by JSON, never trusted to be there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::program::Program;

/// A judge's program.
#[derive(Clone, Debug)]
pub struct Judge(PathBuf);

impl Judge {
    /// Builds `interop/cmd/NAME`, statically: it also runs in an image with nothing else. Go keeps what it built.
    #[must_use]
    pub fn build(name: &str) -> Self {
        Self::make(".", &format!("./cmd/{name}"), name, "0")
    }

    /// Builds a package of a module below `interop/` with cgo, for what loads the modules of tokens.
    #[must_use]
    pub fn build_with_cgo(module: &str, package: &str, name: &str) -> Self {
        Self::make(module, package, name, "1")
    }

    fn make(module: &str, package: &str, name: &str, cgo: &str) -> Self {
        // LOCK: held while Go builds: two tests of one process want the same file.
        static BUILDING: Mutex<()> = Mutex::new(());
        let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        let module = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../interop")
            .join(module);
        // Beside the program under test, where everything that is built lies.
        let folder = Program::find().path().with_file_name("judges");
        std::fs::create_dir_all(&folder).unwrap();
        let (program, fresh) = (
            folder.join(name),
            folder.join(format!("{name}.{}", std::process::id())),
        );
        let built = Command::new("go")
            .args(["build", "-trimpath", "-o"])
            .arg(&fresh)
            .arg(package)
            .env("CGO_ENABLED", cgo)
            .current_dir(module)
            .output()
            .expect("Go must be installed: its libraries judge this program");
        let words = String::from_utf8_lossy(&built.stderr).into_owned();
        assert!(built.status.success(), "the judge must build: {words}");
        // Renamed, so that no other process finds half a program.
        std::fs::rename(fresh, &program).unwrap();
        Self(program)
    }

    /// The program's file.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.0
    }

    /// Asks it.
    ///
    /// # Errors
    /// The judge's reason when it refuses.
    pub fn ask(&self, question: &Value) -> Result<Value, String> {
        self.ask_with(question, &[])
    }

    /// The same, with more variables.
    ///
    /// # Errors
    /// The judge's reason when it refuses.
    pub fn ask_with(
        &self,
        question: &Value,
        environment: &[(String, String)],
    ) -> Result<Value, String> {
        let mut child = Command::new(&self.0)
            .envs(environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(question.to_string().as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => Ok(serde_json::from_slice(&output.stdout).unwrap()),
            Some(1) => Err(reason),
            other => panic!("the judge ended with {other:?}: {reason}"),
        }
    }
}
