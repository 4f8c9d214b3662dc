//! `--fix`: shows what would change, asks, keeps the old file, and writes the new one as a whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use containers::gate::handlers;

use super::diff::unified;
use crate::output::CommandError;

/// Wraps every handler of a configuration.
pub(super) fn fix(config: &Path, program: &Path, yes: bool) -> Result<(), CommandError> {
    let unreadable = |error: io::Error| {
        CommandError::failed(format!("can't read `{}`", config.display()))
            .caused_by(&error)
            .hint("`containerd config default` prints what containerd does without a file")
    };
    // Written is the file itself, not a link to it.
    let file = fs::canonicalize(config).map_err(unreadable)?;
    let old = fs::read_to_string(&file).map_err(unreadable)?;
    let fixed = handlers::fix(&old, program).map_err(|error| {
        CommandError::failed(format!("can't change `{}`", file.display())).caused_by(&error)
    })?;
    for (name, _) in &fixed.left {
        say(&format!("handler `{name}` stays as it is: see below"));
    }
    if fixed.text == old {
        say(&format!("nothing to change in `{}`", file.display()));
        return Ok(());
    }
    say(&unified(&file.display().to_string(), &old, &fixed.text));
    if !yes {
        ask(&file)?;
    }
    let backup = replace(&file, &old, &fixed.text).map_err(|error| {
        CommandError::failed(format!("can't write `{}`", file.display())).caused_by(&error)
    })?;
    say(&format!(
        "wrote `{}`; the old one is `{}`\nrestart containerd: until then it does as before",
        file.display(),
        backup.display()
    ));
    Ok(())
}

fn say(text: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

fn ask(file: &Path) -> Result<(), CommandError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(CommandError::usage("nobody is there to ask").hint("say --yes to write it"));
    }
    let _ = write!(io::stderr(), "write `{}`? [y/N] ", file.display());
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(CommandError::failed("nothing was written"))
    }
}

/// Whoever reads finds the old file or the new one; the old one is kept under the next free name.
fn replace(file: &Path, old: &str, new: &str) -> io::Result<PathBuf> {
    let mode = fs::metadata(file)?.permissions().mode() & 0o7777;
    let backup = backup(file, old, mode)?;
    let fresh = beside(file, &format!(".new-{}", std::process::id()));
    let write = || {
        write_new(&fresh, new, mode)?;
        fs::rename(&fresh, file)?;
        File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })?;
    Ok(backup)
}

fn backup(file: &Path, old: &str, mode: u32) -> io::Result<PathBuf> {
    for number in 1..MOST_BACKUPS {
        let backup = beside(file, &format!(".bak-{number}"));
        match write_new(&backup, old, mode) {
            Ok(()) => return Ok(backup),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "there are too many backups",
    ))
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

const MOST_BACKUPS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_file_is_kept_and_the_new_one_has_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let first = replace(&file, "one", "two").unwrap();
        let second = replace(&file, "two", "three").unwrap();
        assert!(first.ends_with("config.toml.bak-1") && second.ends_with("config.toml.bak-2"));
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(
            (text(&first), text(&second), text(&file)),
            ("one".into(), "two".into(), "three".into())
        );
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_fix_with_yes_wraps_and_one_without_a_terminal_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "version = 2\n").unwrap();
        let gate = Path::new("/usr/local/sbin/bailiwick-runc");
        if !io::stdin().is_terminal() {
            assert!(fix(&file, gate, false).is_err());
            assert_eq!(fs::read_to_string(&file).unwrap(), "version = 2\n");
        }
        fix(&file, gate, true).unwrap();
        let found = handlers::read(&file, &[gate.to_owned()]).unwrap();
        assert!(handlers::is_everywhere(&found));
        fix(&file, gate, true).unwrap();
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            2,
            "nothing to change, nothing written"
        );
    }
}
