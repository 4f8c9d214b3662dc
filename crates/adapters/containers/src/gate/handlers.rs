//! Whether containerd leads every container that comes through CRI to the gate: its configuration, with the files that it
//! imports, names a runtime for each handler, and each has to be runc's kind with the gate as its program.
//!
//! Read as containerd's own reader reads: it does not mind the case of keys, and an imported file replaces or is merged
//! into a section depending on the version. So a key in another case is an error, and every file that speaks of handlers has
//! to be right by itself.

mod fix;
mod imports;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml_edit::{Document, Item, TableLike};

pub use fix::{Fixed, fix};

/// It can't be told what containerd does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlersError {
    /// Fault: this machine, or whoever named the file.
    #[error("containerd's configuration `{}` can't be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Fault: whoever wrote the file.
    #[error("containerd's configuration is no TOML")]
    Syntax(#[source] Box<toml_edit::TomlError>),
    /// Fault: whoever wrote the file.
    #[error("containerd's configuration has no `version = 2` or `version = 3`")]
    Version,
    /// Fault: whoever wrote the file.
    #[error("`{key}` in containerd's configuration has another type than it should")]
    Type {
        /// The key.
        key: String,
    },
    /// Fault: whoever wrote the file: containerd takes one key for the other.
    #[error("`{found}` in containerd's configuration is written `{expected}`")]
    Case {
        /// As it stands there.
        found: String,
        /// As it should stand there.
        expected: &'static str,
    },
    /// Fault: whoever wrote the file, or this program, which understands simple patterns only.
    #[error("the import `{pattern}` in containerd's configuration is not understood")]
    Import {
        /// As it stands there.
        pattern: String,
    },
}

/// One of containerd's runtime handlers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// Its name, such as `runc`.
    pub name: String,
    /// The file that says so.
    pub file: PathBuf,
    /// Where it leads.
    pub leads: Leads,
}

/// Where a handler leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// To the gate.
    Gate,
    /// To the built-in program: no `BinaryName` is set.
    BuiltIn,
    /// To another program.
    Program(String),
    /// To a runtime of another kind, such as Kata Containers: the gate can't stand before it.
    OtherRuntime(String),
}

/// Every handler of a configuration and of the files that it imports; `programs` are the gate's.
///
/// # Errors
/// [`HandlersError`]: then not every handler leads to the gate.
pub fn read(config: &Path, programs: &[PathBuf]) -> Result<Vec<Handler>, HandlersError> {
    let mut handlers = Vec::new();
    for (index, file) in imports::with_imports(config)?.into_iter().enumerate() {
        let is_main = index == 0;
        let found = of_text(&file.text, programs, is_main)?;
        handlers.extend(found.into_iter().map(|(name, leads)| Handler {
            name,
            file: file.path.clone(),
            leads,
        }));
    }
    Ok(handlers)
}

/// A configuration and the files that it imports, in the order in which they count: paths and texts.
///
/// # Errors
/// [`HandlersError`]
pub fn files(config: &Path) -> Result<Vec<(PathBuf, String)>, HandlersError> {
    let files = imports::with_imports(config)?.into_iter();
    Ok(files.map(|file| (file.path, file.text)).collect())
}

/// Whether there are handlers, and each leads to the gate.
pub fn is_everywhere(handlers: &[Handler]) -> bool {
    !handlers.is_empty() && handlers.iter().all(|handler| handler.leads == Leads::Gate)
}

/// The handlers of one file. The built-in one counts in a file that names others, and in the first file anyway.
fn of_text(
    text: &str,
    programs: &[PathBuf],
    is_main: bool,
) -> Result<Vec<(String, Leads)>, HandlersError> {
    let document = parse(text)?;
    let version = version(document.as_table())?;
    let mut found = Vec::new();
    for (id, sections) in Version::ALL.map(|version| (version, version.section())) {
        let Some(containerd) = walk(document.as_table(), &sections)? else {
            continue;
        };
        let before = found.len();
        if let Some(runtimes) = table(containerd, "runtimes")? {
            for (name, item) in runtimes.iter() {
                let handler = item.as_table_like().ok_or_else(|| other_type(name))?;
                found.push((name.to_owned(), leads(handler, programs)?));
            }
        }
        for old in OLD_HANDLERS {
            if let Some(handler) = table(containerd, old)?
                && text_at(handler, "runtime_type")?.is_some_and(|kind| !kind.is_empty())
            {
                found.push((old.to_owned(), leads(handler, programs)?));
            }
        }
        let names_built_in = found.iter().skip(before).any(|(name, _)| name == BUILT_IN);
        if id == version && !names_built_in {
            found.push((BUILT_IN.to_owned(), Leads::BuiltIn));
        }
    }
    if found.is_empty() && is_main {
        found.push((BUILT_IN.to_owned(), Leads::BuiltIn));
    }
    Ok(found)
}

fn leads(handler: &dyn TableLike, programs: &[PathBuf]) -> Result<Leads, HandlersError> {
    let kind = text_at(handler, "runtime_type")?.unwrap_or_default();
    let path = text_at(handler, "runtime_path")?.unwrap_or_default();
    let sandboxer = text_at(handler, "sandboxer")?.unwrap_or_default();
    if !RUNC_KINDS.contains(&kind) || !path.is_empty() || !SANDBOXERS.contains(&sandboxer) {
        let other = [path, kind, sandboxer]
            .into_iter()
            .find(|text| !text.is_empty());
        return Ok(Leads::OtherRuntime(other.unwrap_or_default().to_owned()));
    }
    let options = table(handler, "options")?;
    let program = options
        .map(|options| text_at(options, "BinaryName"))
        .transpose()?
        .flatten()
        .unwrap_or_default();
    Ok(match program {
        "" => Leads::BuiltIn,
        program if is_gate(Path::new(program), programs) => Leads::Gate,
        program => Leads::Program(program.to_owned()),
    })
}

/// The program is one of the gate's by its path, or is, under the gate's name, the same file.
pub(crate) fn is_gate(program: &Path, programs: &[PathBuf]) -> bool {
    if !program.is_absolute() {
        return false;
    }
    if programs.iter().any(|gate| gate == program) {
        return true;
    }
    let same = |gate: &PathBuf| matches!((fs::canonicalize(program), fs::canonicalize(gate)), (Ok(a), Ok(b)) if a == b);
    super::is_gate_name(program) && programs.iter().any(same)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Two,
    Three,
}

impl Version {
    const ALL: [Self; 2] = [Self::Two, Self::Three];

    /// Where the handlers stand.
    fn section(self) -> [&'static str; 3] {
        let plugin = match self {
            Self::Two => "io.containerd.grpc.v1.cri",
            Self::Three => "io.containerd.cri.v1.runtime",
        };
        ["plugins", plugin, "containerd"]
    }
}

fn version(document: &dyn TableLike) -> Result<Version, HandlersError> {
    match member(document, "version")?.and_then(Item::as_integer) {
        Some(2) => Ok(Version::Two),
        Some(3) => Ok(Version::Three),
        _ => Err(HandlersError::Version),
    }
}

fn parse(text: &str) -> Result<Document<&str>, HandlersError> {
    Document::parse(text).map_err(|source| HandlersError::Syntax(Box::new(source)))
}

fn walk<'a>(
    from: &'a dyn TableLike,
    path: &[&'static str],
) -> Result<Option<&'a dyn TableLike>, HandlersError> {
    let mut at = from;
    for key in path {
        let Some(next) = table(at, key)? else {
            return Ok(None);
        };
        at = next;
    }
    Ok(Some(at))
}

fn table<'a>(
    of: &'a dyn TableLike,
    key: &'static str,
) -> Result<Option<&'a dyn TableLike>, HandlersError> {
    member(of, key)?
        .map(|item| item.as_table_like().ok_or_else(|| other_type(key)))
        .transpose()
}

fn text_at<'a>(of: &'a dyn TableLike, key: &'static str) -> Result<Option<&'a str>, HandlersError> {
    member(of, key)?
        .map(|item| item.as_str().ok_or_else(|| other_type(key)))
        .transpose()
}

/// The value of a key; containerd's reader takes a key in another case for the same one.
fn member<'a>(of: &'a dyn TableLike, key: &'static str) -> Result<Option<&'a Item>, HandlersError> {
    let other = of
        .iter()
        .map(|(found, _)| found)
        .find(|found| *found != key && found.to_lowercase() == key.to_lowercase());
    match other {
        Some(found) => Err(HandlersError::Case {
            found: found.to_owned(),
            expected: key,
        }),
        None => Ok(of.get(key)),
    }
}

fn other_type(key: &str) -> HandlersError {
    HandlersError::Type {
        key: key.to_owned(),
    }
}

/// The handler that containerd has when nobody names it.
const BUILT_IN: &str = "runc";
const OLD_HANDLERS: [&str; 2] = ["default_runtime", "untrusted_workload_runtime"];
const RUNC_KIND: &str = "io.containerd.runc.v2";
const RUNC_KINDS: [&str; 2] = [RUNC_KIND, "io.containerd.runc.v1"];
/// The sandbox is a container like others.
const SANDBOXERS: [&str; 2] = ["", "podsandbox"];

#[cfg(test)]
mod tests;
