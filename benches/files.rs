//! Ways to read and to write a large file, from one thread: what the image pipeline could do, beside what it does.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use aws_lc_rs::{digest, rand};
use benches::{
    Better, Limits, Rounds, Side, alternate, in_memory, introduce, layer_mebibytes, own_cpu,
    pin_to_one_core, start,
};
use fixture::{Scratch, yield_to_interrupt};
use rustix::fs::{FallocateFlags, fallocate};

type Run<'a> = Side<'a, Figures, anyhow::Error>;

fn main() -> anyhow::Result<()> {
    // What fails while an interrupt ends the parts must not end us before them.
    compare_all().inspect_err(|_| yield_to_interrupt())
}

fn compare_all() -> anyhow::Result<()> {
    introduce("files");
    let core = pin_to_one_core()?;
    println!("all sides run on core {core} alone, one thread");
    println!(
        "note: mmap for reading and writing, and io_uring, need `unsafe` and are not measured"
    );
    let (memory, disk) = (Path::new("/dev/shm"), env!("CARGO_TARGET_TMPDIR").as_ref());
    ensure!(in_memory(memory)?, "`/dev/shm` does not lie in memory");
    compare(memory, "in /dev/shm", Sync::Never)?;
    match in_memory(disk)? {
        true => println!("note: the target folder lies in memory; no disk is measured"),
        false => compare(disk, "on the disk", Sync::Data)?,
    }
    Ok(())
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Figures {
    wall: Duration,
    cpu: Duration,
}

/// Whether a run's writes must be on the disk before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Never,
    Data,
}

fn compare(folder: &Path, place: &str, sync: Sync) -> anyhow::Result<()> {
    let _ = tempfile::env::override_temp_dir(folder);
    let scratch = Scratch::new("bench-files")?;
    scratch.clean_on_interrupt()?;
    let file = Source::make(scratch.join("source"))?;
    // What was just written is still in the page cache, and the round that warms up reads it once more.
    let title = format!(
        "read {} MiB {place}, all cached, and digest them",
        file.size / MIB
    );
    show(&title, &file.reading()?);
    fs::remove_file(&file.path)?;
    let target = Target {
        path: scratch.join("target"),
        size: file.size,
        sync,
        hot: random(MIB as usize)?,
    };
    let synced = match sync {
        Sync::Never => "",
        Sync::Data => ", with fdatasync",
    };
    let title = format!("write {} MiB {place}{synced}", file.size / MIB);
    show(&title, &target.writing()?);
    Ok(())
}

fn show(title: &str, rounds: &Rounds<Figures>) {
    let table = |what: &str, figure: fn(&Figures) -> Duration| {
        let title = format!("{title}, {what}");
        rounds.table(&title, "s", Better::Less, |run| figure(run).as_secs_f64())
    };
    let wall = table("wall time", |run| run.wall);
    let cpu = table("user and system time", |run| run.cpu);
    print!("{wall}{cpu}");
}

/// A file that is read; its digest tells whether all of it was.
struct Source {
    path: PathBuf,
    size: u64,
    digest: Vec<u8>,
}

impl Source {
    fn make(path: PathBuf) -> anyhow::Result<Self> {
        let size = layer_mebibytes()? * MIB;
        let mut file = File::create(&path)?;
        let mut hash = hash();
        for _ in 0..size / MIB {
            let piece = random(MIB as usize)?;
            hash.update(&piece);
            file.write_all(&piece)?;
        }
        // Nothing is left to be written while others are measured.
        file.sync_all()?;
        let digest = hash.finish().as_ref().to_vec();
        Ok(Self { path, size, digest })
    }

    fn reading(&self) -> anyhow::Result<Rounds<Figures>> {
        let hot = random(PIECE)?;
        let mut sides = vec![self.read(PIECE), self.read(PIECE / 4), self.read(PIECE * 4)];
        sides.push(Run::new("no file, one hot buffer digested", move || {
            timed(|| {
                let mut hash = hash();
                (0..self.size / PIECE as u64).for_each(|_| hash.update(&hot));
                std::hint::black_box(hash.finish());
                Ok(())
            })
        }));
        alternate(LIMITS, sides)
    }

    fn read(&self, piece: usize) -> Run<'_> {
        let mut buffer = vec![0; piece];
        Run::new(format!("read, {} KiB", piece / 1024), move || {
            self.digested(|file, hash| {
                loop {
                    let count = file.read(&mut buffer)?;
                    match buffer.get(..count) {
                        Some(piece) if count > 0 => hash.update(piece),
                        _ => return Ok(()),
                    }
                }
            })
        })
    }

    fn digested(
        &self,
        read: impl FnOnce(&mut File, &mut digest::Context) -> anyhow::Result<()>,
    ) -> anyhow::Result<Figures> {
        let mut hash = hash();
        let figures = timed(|| read(&mut File::open(&self.path)?, &mut hash))?;
        let whole = hash.finish().as_ref() == self.digest;
        ensure!(whole, "something else was read than is in the file");
        Ok(figures)
    }
}

/// A file that is written, anew in each run, from a buffer that stays in the core's cache.
struct Target {
    path: PathBuf,
    size: u64,
    sync: Sync,
    hot: Vec<u8>,
}

impl Target {
    fn writing(&self) -> anyhow::Result<Rounds<Figures>> {
        let piece = self.hot.get(..PIECE).unwrap_or_default();
        let sides = vec![
            self.write(PIECE),
            self.write(PIECE / 4),
            self.write(PIECE * 4),
            self.side("fallocate, then write, 256 KiB", move |file| {
                fallocate(&*file, FallocateFlags::empty(), 0, self.size)?;
                all(file, self.size, piece)
            }),
        ];
        alternate(LIMITS, sides)
    }

    fn write(&self, piece: usize) -> Run<'_> {
        let name = format!("write, {} KiB", piece / 1024);
        let piece = self.hot.get(..piece).unwrap_or_default();
        self.side(name, move |file| all(file, self.size, piece))
    }

    /// The file's making and its end are part of the time, its removal is not.
    fn side<'a>(
        &'a self,
        name: impl Into<String>,
        write: impl Fn(&mut File) -> anyhow::Result<()> + 'a,
    ) -> Run<'a> {
        Run::new(name, move || {
            let figures = timed(|| {
                let options = || File::options().read(true).write(true).clone();
                let mut file = options().create_new(true).open(&self.path)?;
                write(&mut file)?;
                if self.sync == Sync::Data {
                    file.sync_data()?;
                }
                Ok(())
            })?;
            let length = fs::metadata(&self.path)?.len();
            ensure!(length == self.size, "{length} bytes were written");
            fs::remove_file(&self.path)?;
            Ok(figures)
        })
    }
}

fn all(file: &mut File, size: u64, piece: &[u8]) -> anyhow::Result<()> {
    for _ in 0..size / piece.len().max(1) as u64 {
        file.write_all(piece)?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Figures> {
    let (began, cpu) = (start(), own_cpu()?);
    work()?;
    Ok(Figures {
        wall: began.elapsed(),
        cpu: own_cpu()?.saturating_sub(cpu),
    })
}

fn hash() -> digest::Context {
    digest::Context::new(&digest::SHA256)
}

fn random(length: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}

const MIB: u64 = 1024 * 1024;
/// As the image pipeline reads and writes.
const PIECE: usize = 256 * 1024;
const LIMITS: Limits = Limits {
    least: 5,
    most: 9,
    time: Duration::from_secs(20),
};
