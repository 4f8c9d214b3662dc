//! Peers beside which ours is measured and that Debian lacks: built by `benches/peers/build.sh`, or not measured.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use fixture::{FixtureError, run};

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

/// A skopeo to measure.
#[derive(Debug, Clone)]
pub struct Skopeo {
    /// The program.
    pub program: PathBuf,
    /// It and its version.
    pub name: String,
}

/// Debian's skopeo and, if it was built, a current one; says so if it was not.
///
/// # Errors
/// [`FixtureError`], when there is no skopeo at all.
pub fn skopeos() -> Result<Vec<Skopeo>, FixtureError> {
    let words = run("skopeo", ["--version"])?;
    let mut skopeos = vec![Skopeo {
        program: PathBuf::from("skopeo"),
        name: words.trim().replace("version ", ""),
    }];
    let current = current_skopeo();
    if current.is_none() {
        println!("note: a current skopeo was not built and is not measured");
    }
    skopeos.extend(current);
    Ok(skopeos)
}

/// The newest that was built.
fn current_skopeo() -> Option<Skopeo> {
    let entries = std::fs::read_dir(folder()).ok()?;
    let mut found = entries.filter_map(|entry| {
        let program = entry.ok()?.path();
        let version = program.file_name()?.to_str()?.strip_prefix("skopeo-")?;
        let name = format!("skopeo {version}");
        Some(Skopeo { program, name })
    });
    let first = found.next()?;
    Some(
        found.fold(first, |newest, other| match other.name > newest.name {
            true => other,
            false => newest,
        }),
    )
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
    name: String,
}

impl GoOcicrypt {
    /// Starts it on a random layer of `size` bytes and lets it use one core; `None` where it was not built.
    ///
    /// # Errors
    /// [`PeerError::Run`]
    pub fn start(size: usize) -> Result<Option<Self>, PeerError> {
        let program = folder().join(OCICRYPT);
        if !program.exists() {
            return Ok(None);
        }
        let mut child = Command::new(program)
            .arg(size.to_string())
            .env("GOMAXPROCS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(broken)?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(broken(io::Error::other("its pipes are missing")));
        };
        let mut this = Self {
            child,
            questions,
            answers: BufReader::new(answers),
            name: String::new(),
        };
        this.name = this.ask("version")?;
        Ok(Some(this))
    }

    /// It and its version.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long one `encrypt` or `decrypt` took.
    ///
    /// # Errors
    /// [`PeerError`]
    pub fn time(&mut self, operation: &str) -> Result<Duration, PeerError> {
        let answer = self.ask(operation)?;
        let nanoseconds = answer.parse().map_err(|_| PeerError::Answer {
            peer: OCICRYPT,
            answer,
        })?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    fn ask(&mut self, question: &str) -> Result<String, PeerError> {
        writeln!(self.questions, "{question}").map_err(broken)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(broken)?;
        Ok(answer.trim().to_owned())
    }
}

fn broken(source: io::Error) -> PeerError {
    PeerError::Run {
        peer: OCICRYPT,
        source,
    }
}

impl Drop for GoOcicrypt {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What OpenSSL's own benchmark can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Primitive {
    /// SHA-256.
    Sha256,
    /// HMAC with it.
    HmacSha256,
    /// AES in counter mode, with a key of 256 bits.
    Aes256Ctr,
}

impl Primitive {
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Sha256 => ["-evp", "sha256"],
            Self::HmacSha256 => ["-hmac", "sha256"],
            Self::Aes256Ctr => ["-evp", "aes-256-ctr"],
        }
    }
}

/// What OpenSSL's own benchmark says, in bytes per second, of one second over the same `piece` bytes on one core.
///
/// # Errors
/// [`PeerError`]
pub fn openssl_speed(primitive: Primitive, piece: usize) -> Result<f64, PeerError> {
    let output = Command::new(OPENSSL)
        .args(["speed", "-elapsed", "-seconds", "1", "-bytes"])
        .arg(piece.to_string())
        .args(primitive.words())
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
    fn openssl_has_figures_of_all_primitives() {
        for primitive in [
            Primitive::Sha256,
            Primitive::HmacSha256,
            Primitive::Aes256Ctr,
        ] {
            assert!(openssl_speed(primitive, 65536).unwrap() > 1e6);
        }
    }
}
