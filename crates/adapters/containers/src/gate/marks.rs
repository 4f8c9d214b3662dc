//! Marks of containers: what the gate saw before a process existed, and what the agent delivered. In memory (tmpfs), so that
//! they end with the boot, as the containers do:
//!
//! ```text
//! <state>/<namespace>/<container>/created   written by the gate, before the runtime makes the container
//!                                 touched   a line for each hand inside; stays as long as the record of the container
//!                                 held      written by the agent, before a delivery leaves it
//! ```
//!
//! A hand and a delivery must not miss each other. Whoever decides by these files holds the folder's lock while it reads
//! `held` and writes `touched` (the gate), or reads `touched` and writes `held` (the agent), and no longer: nobody asks
//! somebody else meanwhile.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use estate::{Digest, Timestamp};
use evidence::{ContainerRef, request::Held};
use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::files::{self, Durable};
use crate::locate;

/// Marks are not to be had. No container is made and no hand let in then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// Fault: whoever named the container.
    #[error("`{}` is no name of a container or namespace that can be marked", .name.escape_debug())]
    Name {
        /// The name.
        name: String,
    },
    /// Fault: this machine, or whoever put something else there.
    #[error("the container's mark `{what}` can't be read")]
    Unreadable {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: this machine.
    #[error("the container's mark `{what}` can't be written")]
    Unwritten {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: whoever wrote the mark.
    #[error("the container's mark `{what}` is malformed")]
    Malformed {
        /// Which.
        what: &'static str,
    },
    /// Fault: whoever holds the lock; it is held for moments only.
    #[error("the container's marks are locked for too long")]
    Busy,
}

/// How a container came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Making {
    /// `create`.
    Create,
    /// `run`.
    Run,
    /// `restore`: with the memory of another life.
    Restore,
}

/// The mark `created`: the runtime was called through the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Created {
    /// Format version, 1.
    pub version: u32,
    /// When, by the node's clock.
    pub at: Timestamp,
    /// How.
    pub making: Making,
    /// The OCI bundle, absolute.
    pub bundle: PathBuf,
    /// Digest of the bundle's `config.json`: the bytes of the specification that the runtime's record has.
    pub spec: Digest,
    /// Chains of opened layers that the gate found beneath; empty for a container that it let pass by itself, or that it could
    /// not judge.
    pub gated: Vec<Digest>,
}

/// The mark `held`: what was delivered into a container and is still there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldMark {
    /// Format version, 1.
    pub version: u32,
    /// Secrets and leases.
    pub held: Held,
    /// Commands that the server let in as probes, each with its arguments.
    pub probes: Vec<Vec<String>>,
}

impl HeldMark {
    /// Whether anything was delivered.
    pub fn is_empty(&self) -> bool {
        self.held.secrets.is_empty() && self.held.leases.is_empty()
    }

    /// Whether exactly this command was let in as a probe.
    pub fn allows(&self, argv: &[String]) -> bool {
        !argv.is_empty() && self.probes.iter().any(|probe| probe == argv)
    }
}

/// A line of the mark `touched`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Touch {
    /// When, by the node's clock.
    pub at: Timestamp,
    /// How: `exec`, `join`, `restore`, `checkpoint`, `seen`.
    pub hand: &'static str,
    /// The command, if there was one.
    pub argv: Vec<String>,
}

/// The folder with all marks of this boot.
#[derive(Debug, Clone)]
pub struct MarksFolder {
    path: PathBuf,
}

/// The marks of one container.
#[derive(Debug)]
pub struct ContainerMarks {
    folder: File,
}

/// Nobody else decides about this container now.
#[derive(Debug)]
#[must_use = "the lock ends with this value"]
pub struct MarksLock {
    _folder: File,
}

impl MarksFolder {
    /// The folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A container's marks; the folder for them is made if it is missing.
    ///
    /// # Errors
    /// [`MarkError`]
    pub fn make(&self, container: &ContainerRef) -> Result<ContainerMarks, MarkError> {
        let (namespace, id) = checked(container)?;
        let make = || {
            let top = self.make_top()?;
            let namespace = files::own_folder_made(&top, namespace)?;
            files::own_folder_made(&namespace, id)
        };
        make()
            .map(|folder| ContainerMarks { folder })
            .map_err(unwritten("folder"))
    }

    /// A container's marks; `None` if it has none.
    ///
    /// # Errors
    /// [`MarkError`]
    pub fn of(&self, container: &ContainerRef) -> Result<Option<ContainerMarks>, MarkError> {
        let (namespace, id) = checked(container)?;
        let open = || {
            let top = files::own_folder(CWD, &self.path)?;
            let namespace = files::own_folder(&top, namespace)?;
            files::own_folder(&namespace, id)
        };
        let folder = unless_missing(open()).map_err(unreadable("folder"))?;
        Ok(folder.map(|folder| ContainerMarks { folder }))
    }

    /// Every container that has marks.
    ///
    /// # Errors
    /// [`MarkError`]
    pub fn containers(&self) -> Result<Vec<ContainerRef>, MarkError> {
        let list = || {
            let Some(top) = unless_missing(files::own_folder(CWD, &self.path))? else {
                return Ok(Vec::new());
            };
            let mut found = Vec::new();
            for namespace in names(&top)? {
                // Removed meanwhile, perhaps.
                let folder = unless_missing(files::own_folder(&top, Path::new(&namespace)))?;
                let ids = folder.map(|folder| names(&folder)).transpose()?;
                found.extend(ids.into_iter().flatten().map(|id| ContainerRef {
                    runtime_namespace: namespace.clone(),
                    id,
                }));
            }
            Ok(found)
        };
        list().map_err(unreadable("folder"))
    }

    /// Forgets a container: its record is gone.
    ///
    /// # Errors
    /// [`MarkError`]
    pub fn remove(&self, container: &ContainerRef) -> Result<(), MarkError> {
        let Some(marks) = self.of(container)? else {
            return Ok(());
        };
        // A container of the same name may be made meanwhile: no hand in it gets between the list and the removal.
        let _lock = marks.lock()?;
        let remove = || {
            for name in names(&marks.folder)? {
                rustix::fs::unlinkat(&marks.folder, name, AtFlags::empty())?;
            }
            let top = files::own_folder(CWD, &self.path)?;
            let namespace = files::own_folder(&top, Path::new(&container.runtime_namespace))?;
            rustix::fs::unlinkat(&namespace, &container.id, AtFlags::REMOVEDIR)?;
            Ok(())
        };
        remove().map_err(unwritten("folder"))
    }

    fn make_top(&self) -> io::Result<File> {
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        files::own_folder_made(CWD, &self.path)
    }
}

impl ContainerMarks {
    /// Waits until nobody else decides about this container. Taken for moments only.
    ///
    /// # Errors
    /// [`MarkError::Busy`] when somebody holds it for longer than that.
    pub fn lock(&self) -> Result<MarksLock, MarkError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        // Opened anew: a lock belongs to an opened file, and `self` may be shared.
        let folder = rustix::fs::openat(&self.folder, ".", flags, Mode::empty())
            .map(File::from)
            .map_err(|error| unreadable("folder")(error.into()))?;
        for _ in 0..LOCK_TRIES {
            match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(MarksLock { _folder: folder }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(unreadable("folder")(error.into())),
            }
        }
        Err(MarkError::Busy)
    }

    /// Says that the runtime is about to make the container. What is marked as touched or held stays.
    ///
    /// # Errors
    /// [`MarkError`]: then the runtime must not be called.
    pub fn write_created(&self, created: &Created) -> Result<(), MarkError> {
        self.write(CREATED, created)
    }

    /// Takes the mark back: the container was refused.
    ///
    /// # Errors
    /// [`MarkError`]
    pub fn remove_created(&self) -> Result<(), MarkError> {
        match rustix::fs::unlinkat(&self.folder, CREATED, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(unwritten(CREATED)(error.into())),
        }
    }

    /// How the container came to be; `None` if not through the gate.
    ///
    /// # Errors
    /// [`MarkError`]
    pub fn created(&self) -> Result<Option<Created>, MarkError> {
        let created: Option<Created> = self.read(CREATED)?;
        match created {
            Some(created) if created.version != 1 || !created.bundle.is_absolute() => {
                Err(MarkError::Malformed { what: CREATED })
            }
            created => Ok(created),
        }
    }

    /// Says that there is a hand inside, from now on for as long as the container's record lives.
    ///
    /// # Errors
    /// [`MarkError`]: then the hand must not be let in.
    pub fn touch(&self, touch: &Touch) -> Result<(), MarkError> {
        let append = || {
            let flags = OFlags::WRONLY
                | OFlags::CREATE
                | OFlags::APPEND
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            let mut file = File::from(rustix::fs::openat(&self.folder, TOUCHED, flags, mode)?);
            let found = rustix::fs::fstat(&file)?;
            if !files::is_file(&found) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            // One line is enough to be touched; the others are for whoever looks.
            if file.metadata()?.len() < LARGEST_TOUCHED {
                let mut line = serde_json::to_vec(touch)?;
                line.truncate(LONGEST_LINE);
                line.push(b'\n');
                file.write_all(&line)?;
            }
            Ok(())
        };
        append().map_err(unwritten(TOUCHED))
    }

    /// Whether there was a hand inside.
    ///
    /// # Errors
    /// [`MarkError`]
    pub fn touched(&self) -> Result<bool, MarkError> {
        // Whatever lies there: nobody else than the gate and the agent puts anything there.
        match rustix::fs::statat(&self.folder, TOUCHED, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(unreadable(TOUCHED)(error.into())),
        }
    }

    /// What was delivered; nothing if nothing is marked.
    ///
    /// # Errors
    /// [`MarkError`]: never mistaken for "nothing was delivered".
    pub fn held(&self) -> Result<HeldMark, MarkError> {
        match self.read(HELD)? {
            None => Ok(HeldMark {
                version: 1,
                ..HeldMark::default()
            }),
            Some(held @ HeldMark { version: 1, .. }) => Ok(held),
            Some(_) => Err(MarkError::Malformed { what: HELD }),
        }
    }

    /// Replaces what was delivered.
    ///
    /// # Errors
    /// [`MarkError`]: then nothing may be delivered.
    pub fn write_held(&self, held: &HeldMark) -> Result<(), MarkError> {
        self.write(HELD, held)
    }

    fn write(&self, what: &'static str, mark: &impl Serialize) -> Result<(), MarkError> {
        let write = || {
            let bytes = serde_json::to_vec(mark)?;
            files::replace(&self.folder, what, &bytes, Durable::No)
        };
        write().map_err(unwritten(what))
    }

    fn read<T: DeserializeOwned>(&self, what: &'static str) -> Result<Option<T>, MarkError> {
        let bytes =
            files::read(&self.folder, Path::new(what), LARGEST).map_err(unreadable(what))?;
        bytes
            .map(|bytes| jose::strict_json::from_slice(&bytes))
            .transpose()
            .map_err(|_| MarkError::Malformed { what })
    }
}

fn checked(container: &ContainerRef) -> Result<(&Path, &Path), MarkError> {
    let ContainerRef {
        runtime_namespace,
        id,
    } = container;
    for name in [runtime_namespace, id] {
        if !locate::is_identifier(name) {
            return Err(MarkError::Name {
                name: name.chars().take(80).collect(),
            });
        }
    }
    Ok((Path::new(runtime_namespace), Path::new(id)))
}

/// What lies in a folder, without what is being written.
fn names(folder: &File) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn unless_missing(opened: io::Result<File>) -> io::Result<Option<File>> {
    match opened {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn unreadable(what: &'static str) -> impl Fn(io::Error) -> MarkError {
    move |source| MarkError::Unreadable { what, source }
}

fn unwritten(what: &'static str) -> impl Fn(io::Error) -> MarkError {
    move |source| MarkError::Unwritten { what, source }
}

const CREATED: &str = "created";
const TOUCHED: &str = "touched";
const HELD: &str = "held";
/// 1 MiB.
const LARGEST: u64 = 1 << 20;
const LARGEST_TOUCHED: u64 = 64 << 10;
const LONGEST_LINE: usize = 4 << 10;
const LOCK_TRIES: u32 = 400;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
