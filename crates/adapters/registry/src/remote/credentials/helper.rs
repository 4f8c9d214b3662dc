//! Programs that keep credentials for docker: `docker-credential-NAME get`, the server on its input, JSON on its output.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::Login;
use crate::error::RegistryError;

/// Where such programs are looked for, and how long one may take.
#[derive(Debug, Clone)]
pub struct Helpers {
    /// The directories, first match first; relative ones are passed over.
    pub directories: Vec<PathBuf>,
    /// How long one may take; some ask a person.
    pub patience: Duration,
}

impl Default for Helpers {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            patience: Duration::from_secs(60),
        }
    }
}

impl Helpers {
    /// What the helper knows about the server; `None` when it has nothing.
    pub(super) fn ask(&self, name: &str, server: &str) -> Result<Option<Login>, RegistryError> {
        let failed = |what| RegistryError::Helper {
            name: name.chars().take(64).flat_map(char::escape_debug).collect(),
            what,
        };
        let program = self.find(name).ok_or_else(|| failed("is not there"))?;
        let mut child = Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| failed("can't be run"))?;
        let answer = self.answer(&mut child, server);
        // Whatever came of it, nothing of ours is left running.
        let (bytes, good) = match answer {
            Ok(answer) => answer,
            Err(what) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(what));
            }
        };
        if !good {
            let nothing = bytes.windows(NOTHING.len()).any(|part| part == NOTHING);
            return if nothing {
                Ok(None)
            } else {
                Err(failed("failed"))
            };
        }
        login(&bytes)
            .ok_or_else(|| failed("gave an answer that can't be read"))
            .map(Some)
    }

    /// What the program wrote, and whether it ended well.
    #[expect(
        clippy::disallowed_methods,
        reason = "measures how long another process takes"
    )]
    fn answer(
        &self,
        child: &mut Child,
        server: &str,
    ) -> Result<(Zeroizing<Vec<u8>>, bool), &'static str> {
        let deadline = Instant::now() + self.patience;
        let (mut input, output) = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .ok_or("can't be talked to")?;
        // Far less than a pipe holds, so this never waits. One that ended already says so by its status.
        let _ = input.write_all(server.as_bytes());
        drop(input);
        let (sender, receiver) = mpsc::sync_channel(1);
        // Apart, because a grandchild may keep the pipe open for ever.
        thread::spawn(move || {
            // Room for all of it at once: growing would leave copies behind.
            let mut bytes = Zeroizing::new(Vec::with_capacity(OUTPUT_LIMIT + 1));
            let read = output.take(OUTPUT_LIMIT as u64 + 1).read_to_end(&mut bytes);
            let _ = sender.send(read.map(|_| bytes));
        });
        let bytes = receiver
            .recv_timeout(self.patience)
            .map_err(|_| "did not answer in time")?
            .map_err(|_| "can't be read from")?;
        if bytes.len() > OUTPUT_LIMIT {
            return Err("says more than is read");
        }
        while Instant::now() < deadline {
            match child.try_wait() {
                Ok(Some(status)) => return Ok((bytes, status.success())),
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                Err(_) => return Err("can't be waited for"),
            }
        }
        Err("did not end in time")
    }

    /// The program, by its whole path: no shell, and nothing from the directory we happen to stand in.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(good) {
            return None;
        }
        self.directories
            .iter()
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(format!("docker-credential-{name}")))
            .find(|path| is_program(path))
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn login(bytes: &[u8]) -> Option<Login> {
    let mut answer: Answer = serde_json::from_slice(bytes).ok()?;
    let name = std::mem::take(&mut answer.username);
    let secret = Zeroizing::new(std::mem::take(&mut answer.secret));
    if secret.is_empty() {
        return None;
    }
    Some(if name == TOKEN {
        Login::IdentityToken(secret)
    } else {
        Login::Password {
            name,
            password: secret,
        }
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// In the place of a name: the secret is a token that buys others.
const TOKEN: &str = "<token>";
/// How helpers say that they have nothing; all of them are made with one library.
const NOTHING: &[u8] = b"credentials not found";
const OUTPUT_LIMIT: usize = 64 * 1024;
const NAME_LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// A helper that is this script.
    fn helper(script: &str) -> (tempfile::TempDir, Helpers) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker-credential-x");
        // A file still open for writing in some other thread's child can't be run; a copy made by another process can.
        let made = Command::new("sh")
            .args([
                "-c",
                "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\" && chmod 700 \"$0\"",
            ])
            .arg(&path)
            .arg(script)
            .status();
        assert!(made.unwrap().success());
        let helpers = Helpers {
            directories: vec!["relative".into(), directory.path().to_owned()],
            patience: Duration::from_secs(20),
        };
        (directory, helpers)
    }

    fn ask(script: &str) -> Result<Option<(String, String)>, String> {
        let (_directory, helpers) = helper(script);
        let found = helpers
            .ask("x", "h.example")
            .map_err(|error| error.to_string())?;
        Ok(found.map(|login| match login {
            Login::Password { name, password } => (name, password.to_string()),
            Login::IdentityToken(token) => (String::new(), token.to_string()),
        }))
    }

    #[test]
    fn a_helper_is_told_the_server_and_believed() {
        let script = r#"[ "$1 $(cat)" = "get h.example" ] && echo '{"ServerURL":"h","Username":"ann","Secret":"s3"}'"#;
        assert_eq!(ask(script), Ok(Some(("ann".to_owned(), "s3".to_owned()))));
        let token = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
        assert_eq!(ask(token), Ok(Some((String::new(), "t".to_owned()))));
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics_and_no_login_is_empty(text in r#"\{("(Username|Secret|ServerURL)":("[a-z<>]{0,8}"|1|null),?){0,3}\}|.{0,40}"#) {
            match login(text.as_bytes()) {
                Some(Login::Password { password, .. }) => proptest::prop_assert!(!password.is_empty()),
                Some(Login::IdentityToken(token)) => proptest::prop_assert!(!token.is_empty()),
                None => {}
            }
        }
    }

    #[test]
    fn nothing_there_is_an_answer() {
        let script = "echo 'credentials not found in native keychain'; exit 1";
        assert_eq!(ask(script), Ok(None));
    }

    #[test]
    fn broken_helpers_are_errors_and_say_no_secret() {
        for script in [
            "echo s3cret; exit 1",
            "echo s3cret",
            "exit 0",
            r#"echo '{"Username":"ann"}'"#,
            r#"echo '{"Username":"ann","Secret":""}'"#,
            "exec cat /dev/zero",
        ] {
            let error = ask(script).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the time itself is tested")]
    fn a_helper_that_does_not_end_is_ended() {
        for script in ["exec sleep 600", "echo x; exec >&-; exec sleep 600"] {
            let (_directory, mut helpers) = helper(script);
            helpers.patience = Duration::from_millis(300);
            let start = Instant::now();
            assert!(helpers.ask("x", "h.example").is_err());
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn only_names_are_names_of_helpers() {
        let (_directory, helpers) = helper("echo");
        assert!(helpers.find("x").is_some());
        for name in [
            "",
            "y",
            "../x",
            "/bin/sh",
            "x;true",
            "x y",
            "x\0",
            &"x".repeat(65),
        ] {
            assert!(helpers.find(name).is_none(), "{name}");
        }
    }
}
