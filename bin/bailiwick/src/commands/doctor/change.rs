//! `--fix`: shows what would change, asks, keeps the old file, and writes the new one as a whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use containers::gate::handlers;

use super::{decoder, diff::unified, version::Version};
use crate::output::CommandError;

/// Wraps every handler of a configuration, and adds what leads layers to the decoder.
pub(super) fn fix(
    config: &Path,
    program: &Path,
    version: Option<Version>,
    yes: bool,
) -> Result<(), CommandError> {
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
    let text = with_decoder(config, fixed.text, version);
    if text == old {
        say(&format!("nothing to change in `{}`", file.display()));
        return Ok(());
    }
    say(&unified(&file.display().to_string(), &old, &text));
    if !yes {
        ask(&file)?;
    }
    let backup = replace(&file, &old, &text).map_err(|error| {
        CommandError::failed(format!("can't write `{}`", file.display())).caused_by(&error)
    })?;
    say(&format!(
        "wrote `{}`; the old one is `{}`\nrestart containerd: until then it does as before",
        file.display(),
        backup.display()
    ));
    Ok(())
}

/// The same with what is missing on the way to the decoder. What is there and wrong stays for people to judge.
fn with_decoder(config: &Path, text: String, version: Option<Version>) -> String {
    let Ok(own) = std::env::current_exe().and_then(fs::canonicalize) else {
        return text;
    };
    let mut files = decoder_files(config);
    let Some(main) = files.first_mut() else {
        return text;
    };
    main.1 = text.parse().unwrap_or_default();
    let mut more = decoder::missing(&files, &own);
    let mut changed = text.clone();
    if let Some(pull) = decoder::local_pull(&files, version) {
        match within_section(&changed, pull) {
            Some(with) => changed = with,
            None => more.push_str(pull),
        }
    }
    if !more.is_empty() {
        changed = format!("{}\n\n{more}", changed.trim_end());
    }
    // What can't be added so, because it is written in another way, is left as it was.
    match changed.parse::<toml::Table>() {
        Ok(_) => changed,
        Err(_) => text,
    }
}

/// The file itself first, with what it imports.
fn decoder_files(config: &Path) -> Vec<(PathBuf, toml::Table)> {
    let files = handlers::files(config).unwrap_or_default().into_iter();
    files
        .filter_map(|(path, text)| Some((path, text.parse().ok()?)))
        .collect()
}

/// Puts what follows the head of a section behind the same head, where it stands in `text`.
fn within_section(text: &str, section: &str) -> Option<String> {
    let (head, members) = section.split_once('\n')?;
    let is_head = |line: &str| line.trim().replace('\'', "\"") == head;
    let at = text.lines().position(is_head)?;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.insert(at + 1, members.trim_end());
    Some(format!("{}\n", lines.join("\n")))
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
            assert!(fix(&file, gate, None, false).is_err());
            assert_eq!(fs::read_to_string(&file).unwrap(), "version = 2\n");
        }
        fix(&file, gate, None, true).unwrap();
        let found = handlers::read(&file, &[gate.to_owned()]).unwrap();
        assert!(handlers::is_everywhere(&found));
        fix(&file, gate, None, true).unwrap();
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            2,
            "nothing to change, nothing written"
        );
    }

    #[test]
    fn a_fix_leads_layers_to_the_decoder_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let gate = Path::new("/usr/local/sbin/bailiwick-runc");
        for (old, newest) in [
            ("version = 2\n", true),
            (
                "version = 3\n[plugins.'io.containerd.cri.v1.images']\n  snapshotter = 'overlayfs'\n",
                true,
            ),
            ("version = 2\n", false),
        ] {
            let version = Version::of(if newest { "2.1.0" } else { "1.7.24" });
            fs::write(&file, old).unwrap();
            fix(&file, gate, version, true).unwrap();
            let text = fs::read_to_string(&file).unwrap();
            let files = decoder_files(&file);
            let checks = decoder::checks(&files, version);
            // The built-in processors may lead to a decoder of ours on this machine.
            let wrong: Vec<_> = checks.iter().filter(|check| check.is_wrong()).collect();
            assert!(wrong.is_empty(), "{wrong:?} {text}");
            assert_eq!(
                text.contains("use_local_image_pull = true"),
                newest,
                "{text}"
            );
            assert_eq!(
                text.matches("cri.v1.images").count(),
                usize::from(newest),
                "{text}"
            );
            fix(&file, gate, version, true).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn a_fix_touches_no_processor_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let text = "version = 2\n[stream_processors.\"io.containerd.ocicrypt.decoder.v1.tar.gzip\"]\npath = \"/theirs\"\n";
        fs::write(&file, text).unwrap();
        fix(
            &file,
            Path::new("/usr/local/sbin/bailiwick-runc"),
            None,
            true,
        )
        .unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("/theirs") && text.matches("v1.tar.gzip").count() == 1,
            "{text}"
        );
    }
}
