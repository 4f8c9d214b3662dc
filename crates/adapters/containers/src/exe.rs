//! The running file: its hash, and whether it is the image's.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use estate::Digest;
use evidence::ExeFacts;
use rustix::fs::{FileType, Stat, fstat, fstatfs, major, minor};

use crate::mountinfo::Seen;
use crate::overlay::Layers;

/// Hashes of files that were read before. A file in a layer does not change; its times would tell if it did.
#[derive(Default)]
pub(crate) struct Hashes {
    known: Mutex<HashMap<FileId, Digest>>,
}

/// What runs under `/proc/PID`. `layers` are those of an image that was recognised; without them only the hash is told.
pub(crate) fn measure(
    proc: &Path,
    layers: Option<&Layers>,
    seen: &[Seen],
    hashes: &Hashes,
) -> io::Result<Option<ExeFacts>> {
    let exe = File::open(proc.join("exe"))?;
    let stat = fstat(&exe)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let Some(layers) = layers else {
        return Ok(hashes.of_foreign(&exe, &stat)?.map(|digest| ExeFacts {
            digest,
            from_image: None,
        }));
    };
    let name = std::fs::read_link(proc.join("exe"))?;
    if let Some(shipped) = in_image(&stat, &name, layers, seen)
        && let Some(digest) = hashes.of_layer_file(&shipped)?
    {
        return Ok(Some(ExeFacts {
            digest,
            from_image: Some(true),
        }));
    }
    Ok(hashes.of_foreign(&exe, &stat)?.map(|digest| ExeFacts {
        digest,
        from_image: Some(false),
    }))
}

/// The file in the image's layers that is the one that runs: on the container's own overlay, not written by the container,
/// and the same inode, which an overlay passes through.
fn in_image(running: &Stat, name: &Path, layers: &Layers, seen: &[Seen]) -> Option<File> {
    let root = seen.iter().find(|mount| layers.are_under(mount))?;
    if root.device != (major(running.st_dev), minor(running.st_dev)) {
        return None;
    }
    let shipped = layers.untouched(name)?;
    let stat = fstat(&shipped).ok()?;
    let essence = |stat: &Stat| (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    (essence(running) == essence(&stat)).then_some(shipped)
}

/// Device, inode, size, and both times.
type FileId = (u64, u64, i64, [i64; 4]);

impl Hashes {
    fn of_layer_file(&self, file: &File) -> io::Result<Option<Digest>> {
        let stat = fstat(file)?;
        let id = file_id(&stat);
        if let Some(digest) = self.lock().get(&id) {
            return Ok(Some(*digest));
        }
        let digest = hash(file, &stat)?;
        if let Some(digest) = digest {
            let mut known = self.lock();
            if known.len() >= MOST_HASHES {
                known.clear();
            }
            known.insert(id, digest);
        }
        Ok(digest)
    }

    /// A program of the host, which changes only with its times.
    pub(crate) fn of_host_file(&self, file: &File) -> io::Result<Option<Digest>> {
        if FileType::from_raw_mode(fstat(file)?.st_mode) != FileType::RegularFile
            || !SOUND_FILE_SYSTEMS.contains(&fstatfs(file)?.f_type)
        {
            return Ok(None);
        }
        self.of_layer_file(file)
    }

    /// A file outside the image is read each time, and not at all from a file system whose answers somebody makes up.
    fn of_foreign(&self, file: &File, stat: &Stat) -> io::Result<Option<Digest>> {
        let kind = fstatfs(file)?.f_type;
        if !SOUND_FILE_SYSTEMS.contains(&kind) {
            return Ok(None);
        }
        hash(file, stat)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FileId, Digest>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::unnecessary_cast,
    reason = "the widths differ between architectures"
)]
fn file_id(stat: &Stat) -> FileId {
    let times = [
        stat.st_mtime as i64,
        stat.st_mtime_nsec as i64,
        stat.st_ctime as i64,
        stat.st_ctime_nsec as i64,
    ];
    (
        stat.st_dev as u64,
        stat.st_ino as u64,
        stat.st_size as i64,
        times,
    )
}

/// `None`: too large, or too slow to be waited for.
#[expect(
    clippy::disallowed_methods,
    reason = "a limit on waiting, in an adapter"
)]
fn hash(mut file: &File, stat: &Stat) -> io::Result<Option<Digest>> {
    if stat.st_size > LARGEST_EXE {
        return Ok(None);
    }
    let until = Instant::now() + LONGEST_READ;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer)?;
        total += read as i64;
        if read == 0 {
            break;
        }
        if total > LARGEST_EXE || Instant::now() > until {
            return Ok(None);
        }
        context.update(buffer.get(..read).unwrap_or_default());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Ok(Some(Digest::from_bytes(bytes)))
}

const LARGEST_EXE: i64 = 1 << 30;
const LONGEST_READ: Duration = Duration::from_secs(20);
const MOST_HASHES: usize = 4096;
/// ext, XFS, Btrfs, tmpfs, overlay, EROFS, squashfs, F2FS, ZFS: file systems of the kernel on a local disk.
const SOUND_FILE_SYSTEMS: &[rustix::fs::FsWord] = &[
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x794c_7630,
    0xe0f5_e1e2,
    0x7371_7368,
    0xf2f5_2010,
    0x2fc1_2fc1,
];
