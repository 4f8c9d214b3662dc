//! Who is at the other end of a Unix socket: a process that the kernel names and that can't be exchanged for another one
//! while it is being looked at.
//!
//! A process id alone is a number that is given away again. Here a process is held by a pidfd; everything that is read
//! below `/proc/PID` counts only if the same process still lives afterwards, and [`Process::look`] sees to that.

mod cgroup;
mod pidfd;
mod procfs;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use crate::cgroup::Cgroup;

/// Why nothing is known of a process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Fault: none; the process ended, before or while it was looked at.
    #[error("the process has ended")]
    Gone,
    /// Fault: the caller; only a connected Unix socket has a peer.
    #[error("the socket has no peer process")]
    NoPeer {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: this machine, or the process hides (another user's `/proc`, another process namespace).
    #[error("`{what}` of process {pid} can't be read")]
    Unreadable {
        /// The process.
        pid: u32,
        /// Which part of it.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: whoever moved the process, or a control group tree that this machine does not show as it is.
    #[error("the control group of process {pid} is not the one that its path names")]
    CgroupMismatch {
        /// The process.
        pid: u32,
    },
}

/// How a process came to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The kernel gave the handle with the connection: it can't be another process.
    Kernel,
    /// The handle was opened by number (an old kernel, or not a peer): the number may have passed to another process
    /// before that.
    ByNumber,
}

/// A process, held.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    handle: OwnedFd,
    binding: Binding,
}

impl Process {
    /// Holds the process that has this number now.
    pub fn open(pid: u32) -> Result<Self, PeerError> {
        let handle = pidfd::open(pid).map_err(|error| gone_or(error, pid, "pidfd"))?;
        Ok(Self {
            pid,
            handle,
            binding: Binding::ByNumber,
        })
    }

    /// Its number, as this process's own namespace counts.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it came to be held.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// Whether it still runs; one that has ended and waits to be reaped does not.
    pub fn still_alive(&self) -> bool {
        pidfd::alive(self.handle.as_fd())
    }

    /// Runs `look` on its `/proc` folder, and trusts the result only if the process lived until the end.
    pub fn look<T>(
        &self,
        what: &'static str,
        look: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<T, PeerError> {
        if !self.still_alive() {
            return Err(PeerError::Gone);
        }
        let seen = look(&PathBuf::from(format!("/proc/{}", self.pid)));
        if !self.still_alive() {
            return Err(PeerError::Gone);
        }
        seen.map_err(|error| gone_or(error, self.pid, what))
    }

    /// The executable, open: the bytes that run, whatever happens to their name.
    pub fn open_exe(&self) -> Result<File, PeerError> {
        self.look("exe", |proc| File::open(proc.join("exe")))
    }

    /// Its control group; the path is checked against the kernel's own id of the group where both can be had.
    pub fn cgroup(&self) -> Result<Cgroup, PeerError> {
        let path = self.look("cgroup", |proc| {
            procfs::cgroup_path(&procfs::read_small(&proc.join("cgroup"))?).ok_or_else(malformed)
        })?;
        let id = pidfd::info(self.handle.as_fd()).and_then(|info| info.cgroup_id);
        Cgroup::checked(path, id).ok_or(PeerError::CgroupMismatch { pid: self.pid })
    }

    /// The process that started it, held; or that adopted it.
    pub fn parent(&self) -> Result<Self, PeerError> {
        let number = || {
            self.look("stat", |proc| {
                procfs::stat(&procfs::read_small(&proc.join("stat"))?).ok_or_else(malformed)
            })
            .map(|stat| stat.parent)
        };
        let pid = number()?;
        let parent = Self::open(pid)?;
        // While this process lives and still names that number, the number was not given away in between.
        if number()? != pid {
            return Err(PeerError::Gone);
        }
        Ok(parent)
    }

    /// When it started, in clock ticks since boot: with the number it names a process for as long as the machine runs.
    pub fn start_time(&self) -> Result<u64, PeerError> {
        self.look("stat", |proc| {
            procfs::stat(&procfs::read_small(&proc.join("stat"))?).ok_or_else(malformed)
        })
        .map(|stat| stat.start_time)
    }
}

/// The process that connected to a Unix socket. A descriptor that it hands on still speaks in its name.
#[derive(Debug)]
pub struct Peer {
    process: Process,
    uid: u32,
    gid: u32,
}

impl Peer {
    /// Asks the kernel who connected.
    pub fn of(stream: impl AsFd) -> Result<Self, PeerError> {
        let stream = stream.as_fd();
        let credentials =
            rustix::net::sockopt::socket_peercred(stream).map_err(|error| PeerError::NoPeer {
                source: error.into(),
            })?;
        let pid = credentials.pid.as_raw_nonzero().get().cast_unsigned();
        let process = match pidfd::of_peer(stream) {
            Ok(handle) => Process {
                pid,
                handle,
                binding: Binding::Kernel,
            },
            Err(error) if pidfd::unsupported(&error) => Process::open(pid)?,
            Err(error) => return Err(gone_or(error, pid, "pidfd")),
        };
        // An old kernel's handle tells nothing of itself; a new one's must agree with the credentials.
        if pidfd::info(process.handle.as_fd()).is_some_and(|info| info.pid != pid)
            || !process.still_alive()
        {
            return Err(PeerError::Gone);
        }
        Ok(Self {
            process,
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
        })
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Its user when it connected.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Its group when it connected.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Whether it still runs.
    pub fn still_alive(&self) -> bool {
        self.process.still_alive()
    }
}

fn gone_or(error: io::Error, pid: u32, what: &'static str) -> PeerError {
    if error.raw_os_error() == Some(libc::ESRCH) {
        return PeerError::Gone;
    }
    PeerError::Unreadable {
        pid,
        what,
        source: error,
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unexpected format")
}
