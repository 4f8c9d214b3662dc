//! The gate's configuration: which runtime it becomes, where marks and the list of opened layers lie, where the agent answers.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use containers::gate::{DEFAULT_SOCKET, DEFAULT_STATE};
use serde::Deserialize;

use super::refusal::Refusal;

/// `bailiwick-runc.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GateConfig {
    /// The real runtime.
    pub(crate) runtime: PathBuf,
    /// Folder with the marks of containers.
    #[serde(default = "default_state")]
    pub(crate) state: PathBuf,
    /// The agent's list of opened layers.
    pub(crate) gated: PathBuf,
    /// Where the agent answers.
    #[serde(default = "default_socket")]
    pub(crate) socket: PathBuf,
    /// containerd's socket, which is asked while the agent is away and places are not known.
    #[serde(default = "default_containerd")]
    pub(crate) containerd: PathBuf,
    /// The ledger whose records count: its key, or a file with it; absent: the one that the agent names.
    pub(crate) ledger_key: Option<String>,
    /// Whether a lab's records count.
    #[serde(default)]
    pub(crate) allow_lab: bool,
}

/// The file beside a program, or the usual one.
pub(crate) fn beside(program: &OsStr) -> PathBuf {
    let mut file = program.to_owned();
    file.push(".toml");
    let file = PathBuf::from(file);
    // A bare name was found in the search path: nobody knows where, and the working folder is anybody's.
    if file.is_absolute() && fs::symlink_metadata(&file).is_ok() {
        file
    } else {
        PathBuf::from(DEFAULT)
    }
}

impl GateConfig {
    /// Reads the file, which only root may be able to write.
    ///
    /// # Errors
    /// [`Refusal::Config`]
    pub(crate) fn read(path: &Path) -> Result<Self, Refusal> {
        let refused = |why: String| Refusal::Config {
            path: path.to_owned(),
            why,
        };
        let text = read_own(path).map_err(refused)?;
        let config: Self =
            toml::from_str(&text).map_err(|error| refused(error.message().to_owned()))?;
        config.check().map_err(refused)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let paths = [
            ("runtime", &self.runtime),
            ("state", &self.state),
            ("gated", &self.gated),
            ("socket", &self.socket),
            ("containerd", &self.containerd),
        ];
        for (key, path) in paths {
            if !path.is_absolute() {
                return Err(format!("`{key}` is no absolute path"));
            }
        }
        // Otherwise it would call itself for ever.
        if is_this_program(&self.runtime) {
            return Err("`runtime` is the gate itself".to_owned());
        }
        Ok(())
    }
}

fn read_own(path: &Path) -> Result<String, String> {
    let read = || {
        let mut text = String::new();
        let mut file = File::open(path)?;
        let found = file.metadata()?;
        let is_own = found.uid() == 0 || found.uid() == rustix::process::geteuid().as_raw();
        let is_safe = found.is_file() && is_own && found.mode() & 0o022 == 0;
        if is_safe {
            file.by_ref().take(LARGEST).read_to_string(&mut text)?;
        }
        Ok::<_, std::io::Error>(is_safe.then_some(text))
    };
    match read() {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err("it is no file that only root can write".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn is_this_program(path: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((identity(path), identity(Path::new("/proc/self/exe"))), (Ok(a), Ok(b)) if a == b)
}

fn default_state() -> PathBuf {
    DEFAULT_STATE.into()
}

fn default_socket() -> PathBuf {
    DEFAULT_SOCKET.into()
}

fn default_containerd() -> PathBuf {
    "/run/containerd/containerd.sock".into()
}

/// Where the configuration lies unless it lies beside the program.
pub(crate) const DEFAULT: &str = "/etc/bailiwick/oci-runtime.toml";
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<GateConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.toml");
        fs::write(&path, text).unwrap();
        GateConfig::read(&path).map_err(|refusal| refusal.to_string())
    }

    const GOOD: &str = "runtime = \"/usr/sbin/runc\"\ngated = \"/var/lib/gated.json\"\n";

    #[test]
    fn runtime_and_list_are_named_and_the_rest_has_its_place() {
        let config = read(GOOD).unwrap();
        assert_eq!(config.state, Path::new("/run/bailiwick/gate"));
        assert_eq!(config.socket, Path::new("/run/bailiwick/gate.sock"));
        assert!(!config.allow_lab && config.ledger_key.is_none());
    }

    #[test]
    fn what_is_not_meant_is_refused() {
        let own = std::env::current_exe().unwrap();
        for text in [
            String::new(),
            GOOD.replace("/usr", "usr"),
            format!("{GOOD}more = 1\n"),
            GOOD.replace("gated", "gate"),
            GOOD.replace("/usr/sbin/runc", own.to_str().unwrap()),
        ] {
            assert!(read(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.toml");
        fs::write(&path, GOOD).unwrap();
        assert!(GateConfig::read(&path).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let refusal = GateConfig::read(&path).unwrap_err().to_string();
        assert!(refusal.contains("only root"), "{refusal}");
    }

    #[test]
    fn the_file_beside_an_absolute_program_counts_before_the_usual_one() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("bailiwick-runc");
        assert_eq!(beside(program.as_os_str()), Path::new(DEFAULT));
        let file = folder.path().join("bailiwick-runc.toml");
        fs::write(&file, "").unwrap();
        assert_eq!(beside(program.as_os_str()), file);
        assert_eq!(beside(OsStr::new("bailiwick-runc")), Path::new(DEFAULT));
    }
}
