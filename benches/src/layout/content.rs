//! What layers hold, and how it is packed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_lc_rs::{digest, rand};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

/// What a layer holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// So many random bytes, packed as gzip that stores what it cannot press.
    Random(u64),
    /// Files of this machine, as a tar archive that is really pressed.
    Files(Vec<PathBuf>, Packing),
}

/// How a tar archive is packed, at the tool's usual level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As most images are.
    Gzip,
    /// As newer builders do.
    Zstd,
}

impl Content {
    /// Answers the layer's descriptor and the digest of what it unpacks to.
    pub(super) fn write(&self, blobs: &Path) -> io::Result<(Value, String)> {
        let written = blobs.join("being-written");
        let packed = Hashing::new(BufWriter::new(File::create(&written)?));
        let mut packer = Hashing::new(self.packer(packed)?);
        match self {
            Self::Random(length) => random(*length, &mut packer)?,
            Self::Files(files, _) => archive(files, &mut packer)?,
        }
        let (packer, diff_id, _) = packer.finish();
        let (mut file, digest, size) = packer.finish()?.finish();
        file.flush()?;
        fs::rename(&written, blobs.join(&digest))?;
        let descriptor = json!({
            "mediaType": self.media_type(), "digest": format!("sha256:{digest}"), "size": size,
        });
        Ok((descriptor, format!("sha256:{diff_id}")))
    }

    fn packer<W: Write>(&self, to: W) -> io::Result<Packer<W>> {
        let gzip = |to, level| Packer::Gzip(GzEncoder::new(to, level));
        Ok(match self {
            Self::Random(_) => gzip(to, Compression::none()),
            Self::Files(_, Packing::Gzip) => gzip(to, Compression::default()),
            Self::Files(_, Packing::Zstd) => Packer::Zstd(zstd::Encoder::new(to, 0)?),
        })
    }

    fn media_type(&self) -> &'static str {
        match self {
            Self::Files(_, Packing::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            Self::Random(_) | Self::Files(_, Packing::Gzip) => {
                "application/vnd.oci.image.layer.v1.tar+gzip"
            }
        }
    }
}

enum Packer<W: Write> {
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Packer<W> {
    fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(packer) => packer.finish(),
            Self::Zstd(packer) => packer.finish(),
        }
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(packer) => packer.write(bytes),
            Self::Zstd(packer) => packer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(packer) => packer.flush(),
            Self::Zstd(packer) => packer.flush(),
        }
    }
}

/// A tar archive, as every layer is one, of a single file.
fn random(length: u64, to: &mut impl Write) -> io::Result<()> {
    to.write_all(&header(length)?)?;
    let mut piece = vec![0; 1024 * 1024];
    let mut left = length;
    while left > 0 {
        let count = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        let piece = piece.get_mut(..count).unwrap_or_default();
        rand::fill(piece).map_err(|_| io::Error::other("no random bytes could be had"))?;
        to.write_all(piece)?;
        left -= count as u64;
    }
    let beyond = usize::try_from(length % 512).unwrap_or_default();
    let ending = vec![0; (512 - beyond) % 512 + 1024];
    to.write_all(&ending)
}

/// As POSIX asks for: numbers in octal, and a sum in which its own field counts as spaces.
fn header(length: u64) -> io::Result<Vec<u8>> {
    let before = format!(
        "{:\0<100}{:07o}\0{:07o}\0{:07o}\0{length:011o}\0{:011o}\0",
        "random", 0o644, 0, 0, 0
    );
    let after = format!("0{:\0<100}ustar\x0000", "");
    let bytes = before.bytes().chain(after.bytes()).map(u64::from);
    let sum = bytes.sum::<u64>() + 8 * u64::from(b' ');
    let header = format!("{before}{sum:06o}\0 {after}");
    let header = format!("{header:\0<512}").into_bytes();
    match header.len() {
        512 => Ok(header),
        _ => Err(io::Error::other("a tar archive takes no file so large")),
    }
}

fn archive(files: &[PathBuf], to: &mut impl Write) -> io::Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--absolute-names", "--file=-", "--"])
        .args(files)
        .stdout(Stdio::piped());
    let mut tar: Child = tar.spawn()?;
    if let Some(mut archive) = tar.stdout.take() {
        io::copy(&mut archive, to)?;
    }
    match tar.wait()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("tar could not read all files")),
    }
}

/// Files of `/usr` that this machine really runs, in `count` layers of about `length` bytes each before they are packed.
///
/// # Errors
/// The system's, when there are not enough of them.
pub fn system_layers(count: usize, length: u64, packing: Packing) -> io::Result<Vec<Content>> {
    let mut files = Vec::new();
    for folder in ["/usr/bin", "/usr/lib", "/usr/share"] {
        collect(Path::new(folder), &mut files)?;
    }
    let mut files = files.into_iter();
    let mut layers = Vec::new();
    while layers.len() < count {
        let (mut layer, mut size) = (Vec::new(), 0);
        while size < length {
            let too_few = || io::Error::other("there are too few files in /usr");
            let (file, more) = files.next().ok_or_else(too_few)?;
            layer.push(file);
            size += more;
        }
        layers.push(Content::Files(layer, packing));
    }
    Ok(layers)
}

/// Regular files and their sizes, by name. No single one of them fills a layer.
fn collect(folder: &Path, files: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            collect(&entry.path(), files)?;
        } else if metadata.is_file() && metadata.len() < 16 * 1024 * 1024 {
            files.push((entry.path(), metadata.len()));
        }
    }
    Ok(())
}

/// Digests what passes by.
struct Hashing<W> {
    inner: W,
    digest: digest::Context,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            digest: digest::Context::new(&digest::SHA256),
            size: 0,
        }
    }

    fn finish(self) -> (W, String, u64) {
        let Self {
            inner,
            digest,
            size,
        } = self;
        (inner, hex::encode(digest.finish()), size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
