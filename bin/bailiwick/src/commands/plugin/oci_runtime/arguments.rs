//! runc's arguments, as far as they say what is made and into what a hand goes. Forms that runc and its kin (crun, youki) may
//! read differently are refused, but only for the commands that matter: everything else is the runtime's own business.

mod flags;

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use containers::gate::Making;
use evidence::ContainerRef;

use self::flags::{
    CHECKPOINT_FLAGS, CREATE_FLAGS, EXEC_FLAGS, Flag, GLOBAL_FLAGS, RESTORE_FLAGS, RUN_FLAGS,
};
use super::refusal::{Log, Refusal};

/// What a runtime is told to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Nothing that the gate has to look at.
    Unguarded,
    /// Something that it has.
    Guarded(Guarded),
}

/// A call that makes a container or lets a hand into one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Guarded {
    /// Which container.
    pub(super) container: ContainerRef,
    /// runc's own folder of containers.
    pub(super) root: PathBuf,
    /// What is done.
    pub(super) deed: Deed,
}

/// What is done to a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// It is made.
    Make {
        /// How.
        making: Making,
        /// From this bundle.
        bundle: PathBuf,
    },
    /// Another process is started in it.
    Exec(Command),
    /// Its memory is written to a file.
    Checkpoint,
}

/// The process of an exec.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// As this file says.
    File(PathBuf),
    /// As a person types it.
    Typed {
        /// The command.
        argv: Vec<String>,
        /// Nothing but the command was chosen: not the terminal, user or environment.
        is_plain: bool,
    },
}

/// Reads a command line without the program's name; the log is known even if the rest is not understood.
pub(super) fn read(arguments: &[OsString]) -> (Result<Call, Refusal>, Option<Log>) {
    let mut globals = Globals::default();
    let call = match globals.read(arguments) {
        Ok(None) => Ok(Call::Unguarded),
        Ok(Some((command, rest))) => globals.call(command, rest).map(Call::Guarded),
        Err(why) => Err(why),
    };
    (call, globals.log())
}

/// The commands that the gate looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Create,
    Run,
    Restore,
    Exec,
    Checkpoint,
}

#[derive(Default)]
struct Globals<'a> {
    root: Option<&'a OsStr>,
    log: Option<&'a OsStr>,
    format: Option<&'a OsStr>,
}

/// What was found of a command's flags.
#[derive(Default)]
struct Found<'a> {
    values: Vec<(&'static str, Option<&'a OsStr>)>,
    positional: Vec<&'a OsStr>,
}

impl<'a> Globals<'a> {
    /// The command that is guarded and what comes after it.
    fn read(&mut self, words: &'a [OsString]) -> Result<Option<(Kind, &'a [OsString])>, Refusal> {
        let mut rest = words;
        while let Some((word, after)) = rest.split_first() {
            let bytes = word.as_bytes();
            if !bytes.starts_with(b"-") {
                return Ok(Kind::named(word).map(|kind| (kind, after)));
            }
            match take(GLOBAL_FLAGS, word, after) {
                Ok((flag, value, after)) => {
                    self.keep(flag, value, words)?;
                    rest = after;
                }
                Err(why) => {
                    return guarded_word(words).map_or(Ok(None), |kind| Err(kind.refused(why)));
                }
            }
        }
        Ok(None)
    }

    fn keep(
        &mut self,
        flag: &'static str,
        value: Option<&'a OsStr>,
        words: &[OsString],
    ) -> Result<(), Refusal> {
        let place = match flag {
            "root" => &mut self.root,
            "log" => &mut self.log,
            "log-format" => &mut self.format,
            _ => return Ok(()),
        };
        if place.is_some()
            && let Some(kind) = guarded_word(words)
        {
            return Err(kind.refused(format!("`--{flag}` is given twice")));
        }
        *place = value;
        Ok(())
    }

    fn log(&self) -> Option<Log> {
        Some(Log {
            path: self.log.filter(|log| !log.is_empty())?.into(),
            is_json: self.format.is_some_and(|format| format == "json"),
        })
    }

    fn call(&self, kind: Kind, words: &[OsString]) -> Result<Guarded, Refusal> {
        let refused = |why: String| kind.refused(why);
        let found = match kind {
            Kind::Exec => Found::before_the_command(kind.flags(), words),
            _ => Found::anywhere(kind.flags(), words),
        };
        let found = found.map_err(refused)?;
        let mut positional = found.positional.iter();
        let id = positional.next().and_then(|id| id.to_str());
        let id = id.ok_or_else(|| refused("it names no container".to_owned()))?;
        let root = Path::new(self.root.unwrap_or(OsStr::new(DEFAULT_ROOT)));
        let guarded = |deed| {
            Ok(Guarded {
                container: ContainerRef {
                    runtime_namespace: namespace(root).map_err(refused)?,
                    id: id.to_owned(),
                },
                root: root.to_owned(),
                deed,
            })
        };
        let command = positional.copied();
        match kind {
            Kind::Exec => guarded(Deed::Exec(found.command(command).map_err(refused)?)),
            _ if command.count() > 0 => Err(refused("it names more than a container".to_owned())),
            Kind::Checkpoint => guarded(Deed::Checkpoint),
            Kind::Create => guarded(found.make(Making::Create).map_err(refused)?),
            Kind::Run => guarded(found.make(Making::Run).map_err(refused)?),
            Kind::Restore => guarded(found.make(Making::Restore).map_err(refused)?),
        }
    }
}

impl<'a> Found<'a> {
    /// Flags before and after the container's id, as runc sorts them.
    fn anywhere(flags: &[Flag], words: &'a [OsString]) -> Result<Self, String> {
        let mut found = Self::default();
        let mut rest = words;
        while let Some((word, after)) = rest.split_first() {
            if word.as_bytes().starts_with(b"-") {
                rest = found.flag(flags, word, after)?;
            } else {
                found.positional.push(word);
                rest = after;
            }
        }
        Ok(found)
    }

    /// Flags up to the container's id; what comes after it is the command's.
    fn before_the_command(flags: &[Flag], words: &'a [OsString]) -> Result<Self, String> {
        let mut found = Self::default();
        let mut rest = words;
        while let Some((word, after)) = rest.split_first() {
            if word.as_bytes().starts_with(b"-") {
                rest = found.flag(flags, word, after)?;
            } else {
                found.positional = rest.iter().map(OsString::as_os_str).collect();
                break;
            }
        }
        Ok(found)
    }

    fn flag(
        &mut self,
        flags: &[Flag],
        word: &'a OsStr,
        after: &'a [OsString],
    ) -> Result<&'a [OsString], String> {
        let (name, value, after) = take(flags, word, after)?;
        let once = SAID_ONCE.contains(&name);
        if once && self.values.iter().any(|(other, _)| *other == name) {
            return Err(format!("`--{name}` is given twice"));
        }
        self.values.push((name, value));
        Ok(after)
    }

    fn value(&self, name: &str) -> Option<&'a OsStr> {
        self.values
            .iter()
            .find(|(other, _)| *other == name)
            .and_then(|(_, value)| *value)
    }

    fn make(&self, making: Making) -> Result<Deed, String> {
        let bundle = self.value("bundle").filter(|bundle| !bundle.is_empty());
        let bundle = std::path::absolute(bundle.unwrap_or(OsStr::new(".")))
            .map_err(|error| format!("the bundle's path can't be told: {error}"))?;
        Ok(Deed::Make { making, bundle })
    }

    fn command(&self, words: impl Iterator<Item = &'a OsStr>) -> Result<Command, String> {
        if let Some(file) = self.value("process").filter(|file| !file.is_empty()) {
            return Ok(Command::File(file.into()));
        }
        let argv: Option<Vec<String>> =
            words.map(|word| word.to_str().map(str::to_owned)).collect();
        let argv = argv.ok_or("the command is no UTF-8")?;
        if argv.is_empty() {
            return Err("it has no command".to_owned());
        }
        let is_plain = self.values.iter().all(|(name, _)| HARMLESS.contains(name));
        Ok(Command::Typed { argv, is_plain })
    }
}

impl Kind {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Create, "create"),
        (Self::Run, "run"),
        (Self::Restore, "restore"),
        (Self::Exec, "exec"),
        (Self::Checkpoint, "checkpoint"),
    ];

    fn named(word: &OsStr) -> Option<Self> {
        let named = |(_, name): &&(Self, &str)| word == *name;
        Self::ALL.iter().find(named).map(|(kind, _)| *kind)
    }

    fn name(self) -> &'static str {
        let own = Self::ALL.iter().find(|(kind, _)| *kind == self);
        own.map_or("", |(_, name)| name)
    }

    fn refused(self, why: String) -> Refusal {
        Refusal::Arguments {
            command: self.name(),
            why,
        }
    }

    fn flags(self) -> &'static [Flag] {
        match self {
            Self::Create => CREATE_FLAGS,
            Self::Run => RUN_FLAGS,
            Self::Restore => RESTORE_FLAGS,
            Self::Exec => EXEC_FLAGS,
            Self::Checkpoint => CHECKPOINT_FLAGS,
        }
    }
}

/// A guarded command anywhere: behind something that is not understood, it may be the one that is meant.
fn guarded_word(words: &[OsString]) -> Option<Kind> {
    words.iter().find_map(|word| Kind::named(word))
}

/// A known flag at the front, its value, and what comes after.
fn take<'a>(
    flags: &[Flag],
    word: &'a OsStr,
    after: &'a [OsString],
) -> Result<(&'static str, Option<&'a OsStr>, &'a [OsString]), String> {
    let unknown = || format!("`{}` is not known", word.display());
    let bytes = word.as_bytes();
    let (name, attached) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            let (name, value) = bytes.split_at(at);
            (name, value.get(1..).map(OsStr::from_bytes))
        }
        None => (bytes, None),
    };
    let name = std::str::from_utf8(name).map_err(|_| unknown())?;
    let is_named = |flag: &&Flag| match name.strip_prefix("--") {
        Some(long) => flag.long == long,
        // `-b=x` is `x` to runc and `=x` to others.
        None => attached.is_none() && flag.short.is_some_and(|short| name == format!("-{short}")),
    };
    let flag = flags.iter().find(is_named).ok_or_else(unknown)?;
    match (flag.takes_value, attached) {
        (false, None) => Ok((flag.long, None, after)),
        (false, Some(_)) => Err(format!("`--{}` takes no value", flag.long)),
        (true, Some(value)) => Ok((flag.long, Some(value), after)),
        (true, None) => match after.split_first() {
            Some((value, after)) if !value.as_bytes().starts_with(b"-") => {
                Ok((flag.long, Some(value), after))
            }
            _ => Err(format!("`--{}` has no value", flag.long)),
        },
    }
}

/// containerd's namespace is the last part of the folder that it gives to the runtime.
fn namespace(root: &Path) -> Result<String, String> {
    match root.components().next_back() {
        Some(Component::Normal(name)) => name.to_str().map(str::to_owned),
        _ => None,
    }
    .ok_or_else(|| format!("`--root {}` ends in no name", root.display()))
}

/// Where runc keeps its containers when it is not told.
const DEFAULT_ROOT: &str = "/run/runc";
/// Flags of which a second one would count instead of the first, or not.
const SAID_ONCE: &[&str] = &["bundle", "process"];
/// Flags that leave the process what it would be without them.
const HARMLESS: &[&str] = &["detach", "pid-file", "ignore-paused", "no-subreaper"];

#[cfg(test)]
mod tests;
