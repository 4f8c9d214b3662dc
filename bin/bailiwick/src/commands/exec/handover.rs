//! How a secret reaches the command: memory files that only it has, by preference.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{OpenOptionsExt, PermissionsExt},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create, statfs};
use tempfile::TempDir;

use super::spec::{SecretSpec, SecretTo};

/// What the command gets. The descriptors are not closed when this process becomes the command.
#[derive(Default)]
pub(super) struct Handover {
    environment: Vec<(String, OsString)>,
    memory: Vec<File>,
    /// They go when there is no command after all.
    folders: Vec<TempDir>,
}

/// Something can't be handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandoverError {
    /// Fault: this machine.
    #[error("no memory file could be made")]
    Memory(#[source] io::Error),
    /// Fault: the caller, or this machine.
    #[error("`{}` can't be written", .path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: the caller; take a memory file.
    #[error("it is not text that an environment variable can hold")]
    NotText,
    /// Fault: this machine: there is no folder that lies in memory.
    #[error("neither /run nor /dev/shm lies in memory and can be written")]
    NoMemoryFolder,
    /// Fault: the server.
    #[error("the connection's `{0}` can't be used")]
    Part(&'static str),
}

impl Handover {
    /// Hands a secret over.
    pub(super) fn secret(&mut self, spec: &SecretSpec, value: &[u8]) -> Result<(), HandoverError> {
        match &spec.to {
            SecretTo::Memory { variable } => {
                let path = self.memory_file(value)?;
                self.set(variable, path);
                Ok(())
            }
            SecretTo::Environment { variable } => {
                if value.contains(&0) || std::str::from_utf8(value).is_err() {
                    return Err(HandoverError::NotText);
                }
                warn(&format!(
                    "the secret `{}` goes into the environment, which children, crash reports and `/proc` show",
                    spec.name
                ));
                self.set(variable, OsStr::from_bytes(value));
                Ok(())
            }
            SecretTo::File(path) => write_file(path, value),
        }
    }

    /// Sets a variable of the command.
    pub(super) fn set(&mut self, variable: &str, value: impl Into<OsString>) {
        self.environment.push((variable.to_owned(), value.into()));
    }

    /// Keeps bytes in a memory file that nobody can change any more; gives the path under which the command opens it.
    pub(super) fn memory_file(&mut self, value: &[u8]) -> Result<String, HandoverError> {
        let memory = |error: rustix::io::Errno| HandoverError::Memory(error.into());
        let mut file =
            File::from(memfd_create("bailiwick", MemfdFlags::ALLOW_SEALING).map_err(memory)?);
        file.write_all(value).map_err(HandoverError::Memory)?;
        // libpq refuses password files that others could read.
        file.set_permissions(Permissions::from_mode(0o400))
            .map_err(HandoverError::Memory)?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&file, seals).map_err(memory)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.memory.push(file);
        Ok(path)
    }

    /// Makes a private folder in memory with these files.
    pub(super) fn memory_folder(
        &mut self,
        files: &[(&str, &[u8])],
    ) -> Result<PathBuf, HandoverError> {
        let mut builder = tempfile::Builder::new();
        builder
            .prefix("bailiwick-")
            .permissions(Permissions::from_mode(0o700));
        let (base, folder) = MEMORY_FOLDERS
            .iter()
            .filter(|base| is_in_memory(Path::new(base)))
            .find_map(|base| Some((*base, builder.tempdir_in(base).ok()?)))
            .ok_or(HandoverError::NoMemoryFolder)?;
        if base == SHARED {
            warn(
                "the login lies in /dev/shm, which all containers of a pod share: root in another one can read it",
            );
        }
        for (name, value) in files {
            write_file(&folder.path().join(name), value)?;
        }
        let path = folder.path().to_owned();
        self.folders.push(folder);
        Ok(path)
    }

    /// Becomes the command; what comes back is the reason why not.
    pub(super) fn become_command(self, program: &OsStr, arguments: &[OsString]) -> io::Error {
        let error = Command::new(program)
            .args(arguments)
            .envs(self.environment)
            .exec();
        drop((self.memory, self.folders));
        error
    }

    #[cfg(test)]
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment
            .iter()
            .find(|(variable, _)| variable == name)
            .map(|(_, value)| value.as_os_str())
    }
}

/// Written under another name first: a reader sees the old file or the new one.
fn write_file(path: &Path, value: &[u8]) -> Result<(), HandoverError> {
    let failed = |source| HandoverError::File {
        path: path.to_owned(),
        source,
    };
    let folder = path
        .parent()
        .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    if !is_in_memory(folder) {
        warn(&format!(
            "`{}` does not lie in memory: the secret is written to a disk",
            path.display()
        ));
    }
    let name = path
        .file_name()
        .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let mut first = OsString::from(".");
    first.push(name);
    first.push(format!(".{}", std::process::id()));
    let first = folder.join(first);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&first)
        .and_then(|mut file| file.write_all(value))
        .and_then(|()| fs::rename(&first, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&first);
        failed(source)
    })
}

fn is_in_memory(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|about| IN_MEMORY.contains(&(about.f_type as u64 & 0xffff_ffff)))
}

fn warn(said: &str) {
    let _ = writeln!(io::stderr(), "warning: {said}");
}

/// Where a folder in memory is looked for; the one that others may share comes last.
const MEMORY_FOLDERS: [&str; 2] = ["/run", SHARED];
const SHARED: &str = "/dev/shm";
/// tmpfs and ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_file_is_read_by_its_path_and_cannot_be_changed() {
        let mut handover = Handover::default();
        let path = handover.memory_file(b"value").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"value");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o400
        );
        let error = handover.memory[0].write_all(b"more").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_secret_that_is_no_text_does_not_go_into_the_environment() {
        let mut handover = Handover::default();
        let spec: SecretSpec = "token=TOKEN".parse().unwrap();
        for bad in [b"a\0b".as_slice(), b"\xff"] {
            assert!(matches!(
                handover.secret(&spec, bad),
                Err(HandoverError::NotText)
            ));
        }
        handover.secret(&spec, b"fine").unwrap();
        assert_eq!(handover.variable("TOKEN"), Some(OsStr::new("fine")));
    }

    #[test]
    fn a_secret_file_replaces_the_old_one_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let spec: SecretSpec = format!("token:{}", path.display()).parse().unwrap();
        for value in [b"first".as_slice(), b"second"] {
            Handover::default().secret(&spec, value).unwrap();
            assert_eq!(fs::read(&path).unwrap(), value);
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o400
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_goes_when_there_is_no_command_after_all() {
        let mut handover = Handover::default();
        let folder = handover.memory_folder(&[("password", b"value")]).unwrap();
        assert_eq!(fs::read(folder.join("password")).unwrap(), b"value");
        let error = handover.become_command(OsStr::new("/does/not/exist"), &[]);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!folder.exists());
    }
}
