//! The three system calls about pidfds that no safe library offers.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What `PIDFD_GET_INFO` says of a live process (Linux 6.13).
pub(crate) struct Info {
    pub(crate) pid: u32,
    pub(crate) cgroup_id: Option<u64>,
}

pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// The handle of the process that connected (Linux 6.5).
#[expect(unsafe_code, reason = "no library has SO_PEERPIDFD yet")]
pub(crate) fn of_peer(stream: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut fd: RawFd = -1;
    let mut length = mem::size_of::<RawFd>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `fd`, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            ptr::from_mut(&mut fd).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: the call succeeded, so the kernel made this descriptor for us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the error means that the kernel is too old.
pub(crate) fn unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOPROTOOPT)
}

/// `None`: the kernel is too old, or the process has ended.
#[expect(unsafe_code, reason = "no library has PIDFD_GET_INFO yet")]
pub(crate) fn info(handle: BorrowedFd<'_>) -> Option<Info> {
    let mut raw = RawInfo {
        mask: MASK_PID | MASK_CGROUP,
        ..RawInfo::default()
    };
    // SAFETY: the opcode is that of PIDFD_GET_INFO for a structure of this very size, which is plain integers.
    unsafe {
        ioctl::ioctl(
            handle,
            ioctl::Updater::<{ PIDFD_GET_INFO }, RawInfo>::new(&mut raw),
        )
    }
    .ok()?;
    (raw.mask & MASK_PID != 0).then(|| Info {
        pid: raw.tgid,
        cgroup_id: (raw.mask & MASK_CGROUP != 0).then_some(raw.cgroup_id),
    })
}

/// A pidfd becomes readable when its process ends.
pub(crate) fn alive(handle: BorrowedFd<'_>) -> bool {
    let mut wait = [PollFd::new(&handle, PollFlags::IN)];
    loop {
        match poll(&mut wait, Some(&Timespec::default())) {
            Ok(ready) => return ready == 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

const SO_PEERPIDFD: libc::c_int = 77;
const MASK_PID: u64 = 1;
const MASK_CGROUP: u64 = 4;
const PIDFD_GET_INFO: ioctl::Opcode = ioctl::opcode::read_write::<RawInfo>(0xff, 11);

/// `struct pidfd_info` of linux/pidfd.h, first version.
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    mask: u64,
    cgroup_id: u64,
    pid: u32,
    tgid: u32,
    parent: u32,
    users_and_groups: [u32; 8],
    exit_code: i32,
}

const _: () = assert!(mem::size_of::<RawInfo>() == 64);
