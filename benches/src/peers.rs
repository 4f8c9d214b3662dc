//! Peers beside which ours is measured and that Debian lacks: built by `benches/peers/build.sh`, or not measured.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Why a peer gave no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Fault: the machine's; the program did not start or broke off.
    #[error("`{peer}` could not be run")]
    Run {
        /// The program.
        peer: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Fault: the peer's; its version writes something else.
    #[error("`{peer}` answered `{answer}`, which is no figure")]
    Answer {
        /// The program.
        peer: &'static str,
        /// What it wrote.
        answer: String,
    },
}

/// Where `benches/peers/build.sh` puts what it builds; cargo runs benchmarks in the folder of their package.
fn folder() -> PathBuf {
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    house.unwrap_or(Path::new("/")).join("target/peers")
}

/// The newest skopeo that was built, and its version.
#[must_use]
pub fn current_skopeo() -> Option<(PathBuf, String)> {
    let mut found = std::fs::read_dir(folder())
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.strip_prefix("skopeo-")?;
            let version = version.to_owned();
            Some((path, version))
        })
        .collect::<Vec<_>>();
    found.sort();
    found.pop()
}

/// imgcrypt's decoder, if it was built.
#[must_use]
pub fn imgcrypt_decoder() -> Option<PathBuf> {
    Some(folder().join("ctd-decoder")).filter(|program| program.exists())
}

/// Go's ocicrypt over one layer in memory, waiting for questions.
pub struct GoOcicrypt {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl GoOcicrypt {
    /// Starts it on a random layer of `size` bytes; `None` where it was not built.
    ///
    /// # Errors
    /// [`PeerError::Run`]
    pub fn start(size: usize) -> Result<Option<Self>, PeerError> {
        let program = folder().join(OCICRYPT);
        if !program.exists() {
            return Ok(None);
        }
        let failed = |source| PeerError::Run {
            peer: OCICRYPT,
            source,
        };
        let mut child = Command::new(program)
            .arg(size.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(questions), Some(answers)) => Ok(Some(Self {
                child,
                questions,
                answers: BufReader::new(answers),
            })),
            _ => Err(failed(io::Error::other("its pipes are missing"))),
        }
    }

    /// How long one `encrypt` or `decrypt` took.
    ///
    /// # Errors
    /// [`PeerError`]
    pub fn time(&mut self, operation: &str) -> Result<Duration, PeerError> {
        let failed = |source| PeerError::Run {
            peer: OCICRYPT,
            source,
        };
        writeln!(self.questions, "{operation}").map_err(failed)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(failed)?;
        let nanoseconds = answer.trim().parse().map_err(|_| PeerError::Answer {
            peer: OCICRYPT,
            answer,
        })?;
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for GoOcicrypt {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What OpenSSL's own benchmark says of a primitive on one core (`aes-256-ctr`, `sha256`), in bytes per second over `piece` bytes.
///
/// # Errors
/// [`PeerError`]
pub fn openssl_speed(primitive: &str, piece: usize) -> Result<f64, PeerError> {
    let output = Command::new(OPENSSL)
        .args(["speed", "-seconds", "1", "-bytes"])
        .args([piece.to_string().as_str(), "-evp", primitive])
        .stderr(Stdio::null())
        .output()
        .map_err(|source| PeerError::Run {
            peer: OPENSSL,
            source,
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let thousands = text.lines().last().and_then(thousands);
    thousands
        .map(|thousands| thousands * 1e3)
        .ok_or_else(|| PeerError::Answer {
            peer: OPENSSL,
            answer: text.into_owned(),
        })
}

/// `AES-256-CTR    8300000.00k`
fn thousands(line: &str) -> Option<f64> {
    let figure = line.split_whitespace().last()?.strip_suffix('k')?;
    figure
        .parse()
        .ok()
        .filter(|figure: &f64| figure.is_finite())
}

const OCICRYPT: &str = "bench-ocicrypt";
const OPENSSL: &str = "openssl";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssls_figure_is_in_thousands() {
        assert_eq!(thousands("AES-256-CTR    8300000.50k"), Some(8_300_000.5));
        assert_eq!(thousands("sha256   x"), None);
        assert_eq!(thousands(""), None);
    }

    #[test]
    fn openssl_has_figures_of_both_primitives() {
        for primitive in ["aes-256-ctr", "sha256"] {
            assert!(openssl_speed(primitive, 65536).unwrap() > 1e6);
        }
        assert!(openssl_speed("no-such-cipher", 65536).is_err());
    }
}
