//! Tar files, as far as archives of images need them: where each file in one lies, without unpacking any.
//!
//! Two readers of a tar file can see different files in it: by doubled names, by sizes that one field and an extension
//! tell differently, by links and holes. All of that is refused here rather than resolved.

mod header;
mod pax;

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

pub(super) use header::{BLOCK, directory_header, end_of_archive, file_header, padding};
use header::{Header, Kind};

/// Why a file is no tar file that is read here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// Fault: this machine's disk.
    #[error("the file can't be read")]
    Read(#[source] io::Error),
    /// Fault: whoever made the archive.
    #[error("{0}")]
    Malformed(&'static str),
    /// Fault: whoever made the archive; reading it as others do could reach outside, or mean two things.
    #[error("entry `{}` {what}", name.escape_debug())]
    Refused {
        /// The entry's name, cut.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Where a file's bytes lie in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    File(Extent),
    Directory,
    /// Another entry of the same archive, already resolved to a name without `..`; never a path on this machine.
    Link(String),
}

/// All entries of an archive.
#[derive(Debug, Default)]
pub(super) struct TarIndex(HashMap<String, Entry>);

impl TarIndex {
    /// Looks at every header.
    pub(super) fn read(input: &mut (impl Read + Seek)) -> Result<Self, TarError> {
        let end = input.seek(SeekFrom::End(0)).map_err(TarError::Read)?;
        input.rewind().map_err(TarError::Read)?;
        let mut scan = Scan { input, at: 0, end };
        let mut index = Self::default();
        let mut extension = Extension::default();
        while let Some(header) = scan.header()? {
            match header.kind {
                Kind::LongName => set_once(&mut extension.name, scan.text(&header)?)?,
                Kind::LongLink => set_once(&mut extension.link, scan.text(&header)?)?,
                Kind::Extended => pax::apply(&scan.extension(&header)?, &mut extension)?,
                Kind::Global => pax::check_global(&scan.extension(&header)?)?,
                Kind::File | Kind::OldFile | Kind::Directory | Kind::Symlink => {
                    let extension = std::mem::take(&mut extension);
                    index.add(&mut scan, header, extension)?;
                }
            }
        }
        if extension != Extension::default() {
            return Err(TarError::Malformed("the last header belongs to no entry"));
        }
        Ok(index)
    }

    /// What `name` stands for.
    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    /// The file with this name; a link is no file.
    pub(super) fn file(&self, name: &str) -> Option<Extent> {
        match self.0.get(name)? {
            Entry::File(extent) => Some(*extent),
            Entry::Directory | Entry::Link(_) => None,
        }
    }

    /// All names and what they stand for.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    fn add(
        &mut self,
        scan: &mut Scan<'_, impl Read + Seek>,
        header: Header,
        extension: Extension,
    ) -> Result<(), TarError> {
        let written = extension.name.unwrap_or(header.name);
        let size = extension.size.unwrap_or(header.size);
        let kind = match header.kind {
            // Before there was a type for directories, a slash at the end said it.
            Kind::OldFile if written.ends_with('/') => Kind::Directory,
            Kind::OldFile => Kind::File,
            other => other,
        };
        let Some(name) = inside(&written, kind == Kind::Directory)? else {
            return scan.skip_nothing(size, &written);
        };
        let entry = match kind {
            Kind::Directory => {
                scan.skip_nothing(size, &name)?;
                Entry::Directory
            }
            Kind::Symlink => {
                scan.skip_nothing(size, &name)?;
                let target = extension.link.unwrap_or(header.link);
                Entry::Link(resolve(&name, &target)?)
            }
            _ => Entry::File(scan.skip(size, &name)?),
        };
        if self.0.len() == ENTRY_LIMIT {
            return Err(TarError::Malformed("it has too many entries"));
        }
        match self.0.insert(name.clone(), entry.clone()) {
            None => Ok(()),
            Some(Entry::Directory) if entry == Entry::Directory => Ok(()),
            Some(_) => Err(refused(&name, "is there twice")),
        }
    }
}

/// What headers of extension say about the entry after them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extension {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), TarError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(TarError::Malformed("two headers describe one entry")),
    }
}

/// The place in the file.
struct Scan<'a, I> {
    input: &'a mut I,
    at: u64,
    end: u64,
}

impl<I: Read + Seek> Scan<'_, I> {
    /// The next header; `None` at the mark of the end. A file that only ends was cut.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        if self.end - self.at < BLOCK {
            return Err(TarError::Malformed(
                "it is no tar file, or ends before its mark of the end",
            ));
        }
        let mut block = [0; BLOCK as usize];
        self.input.read_exact(&mut block).map_err(TarError::Read)?;
        self.at += BLOCK;
        Header::parse(&block)
    }

    /// Passes over a file's bytes.
    fn skip(&mut self, size: u64, name: &str) -> Result<Extent, TarError> {
        let offset = self.at;
        let next = size
            .checked_add(padding(size))
            .and_then(|length| offset.checked_add(length))
            .filter(|next| *next <= self.end)
            .ok_or_else(|| refused(name, "is larger than the archive"))?;
        self.input
            .seek(SeekFrom::Start(next))
            .map_err(TarError::Read)?;
        self.at = next;
        Ok(Extent { offset, size })
    }

    /// Some readers pass over the bytes that such an entry says it has, others do not.
    fn skip_nothing(&self, size: u64, name: &str) -> Result<(), TarError> {
        if size == 0 {
            Ok(())
        } else {
            Err(refused(name, "has a size without being a file"))
        }
    }

    /// The bytes of a header of extension.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        if header.size > EXTENSION_LIMIT {
            return Err(TarError::Malformed("a header is larger than is read"));
        }
        let start = self.at;
        let extent = self.skip(header.size, &header.name)?;
        self.input
            .seek(SeekFrom::Start(start))
            .map_err(TarError::Read)?;
        let mut bytes = Vec::new();
        let count = (&mut *self.input)
            .take(extent.size)
            .read_to_end(&mut bytes)
            .map_err(TarError::Read)?;
        self.input
            .seek(SeekFrom::Start(self.at))
            .map_err(TarError::Read)?;
        if count as u64 != extent.size {
            return Err(TarError::Malformed("it became shorter meanwhile"));
        }
        Ok(bytes)
    }

    fn text(&mut self, header: &Header) -> Result<String, TarError> {
        let mut bytes = self.extension(header)?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        String::from_utf8(bytes).map_err(|_| TarError::Malformed("a name is no text"))
    }
}

/// The name as it is looked up; `None` for the archive's own root.
fn inside(written: &str, directory: bool) -> Result<Option<String>, TarError> {
    let mut name = written.strip_prefix("./").unwrap_or(written);
    if directory {
        name = name.strip_suffix('/').unwrap_or(name);
        if matches!(name, "" | ".") {
            return Ok(None);
        }
    }
    let odd = |part: &str| matches!(part, "" | "." | "..");
    if name.contains('\0') || name.split('/').any(odd) {
        return Err(refused(written, "has a name that leads elsewhere"));
    }
    Ok(Some(name.to_owned()))
}

/// What a link in `name` stands for, as a name in the archive.
fn resolve(name: &str, target: &str) -> Result<String, TarError> {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." => {}
            ".." if parts.pop().is_some() => {}
            "" | ".." => return Err(refused(name, "is a link that leads out of the archive")),
            other => parts.push(other),
        }
    }
    Ok(parts.join("/"))
}

fn refused(name: &str, what: &'static str) -> TarError {
    TarError::Refused {
        name: name.chars().take(128).collect(),
        what,
    }
}

/// Four entries for each of the layers that `images` reads at most would be a tenth.
const ENTRY_LIMIT: usize = 32 * 1024;
const EXTENSION_LIMIT: u64 = 256 * 1024;

#[cfg(test)]
mod tests;
