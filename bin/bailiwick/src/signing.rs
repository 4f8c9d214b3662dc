//! Signs changes, always here and never on a server: with a plain key file in this process; whatever needs a passphrase, a
//! touch or an agent goes through `ssh-keygen`, which asks the person at the terminal itself.

use std::{
    fs,
    io::{self, Read, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use estate::ChangeRecord;
use sshsig::{PublicKey, SigningKey, SigningKeyError, SshSignature};
use zeroize::Zeroizing;

use crate::{
    connection::unreadable,
    output::{CommandError, plain},
};

/// Signs a change's hash, as printed, with a key file: a private key, or the public half of one that an agent holds.
///
/// # Errors
/// [`CommandError`] when the key can't be used.
pub(crate) fn sign(key_file: &Path, hash: &str) -> Result<SshSignature, CommandError> {
    sign_with(Path::new("ssh-keygen"), key_file, hash)
}

/// As a server would: whether this is a signature over the hash, by the key that it names itself. The newline that `echo`
/// adds may be under the signature.
pub(crate) fn checks(signature: &SshSignature, hash: &str) -> bool {
    [hash.to_owned(), format!("{hash}\n")].iter().any(|text| {
        let key = signature.public_key();
        signature.verify(key, NAMESPACE, text.as_bytes()).is_ok()
    })
}

fn sign_with(program: &Path, key_file: &Path, hash: &str) -> Result<SshSignature, CommandError> {
    let text = read_key(key_file)?;
    // The public half of a key that an agent or a token holds.
    if text.trim().parse::<PublicKey>().is_ok() {
        return through(program, key_file, hash);
    }
    warn_if_open(key_file);
    match SigningKey::parse(&text) {
        Ok(key) => key.sign(NAMESPACE, hash.as_bytes()).map_err(|error| {
            CommandError::failed(format!("`{}` does not sign", key_file.display()))
                .caused_by(&error)
        }),
        // Encrypted, on hardware, RSA, or in an older form: `ssh-keygen` knows what to do with it.
        Err(error)
            if error.is_for_ssh_keygen()
                || (error == SigningKeyError::Armor && text.contains("PRIVATE KEY-----")) =>
        {
            through(program, key_file, hash)
        }
        Err(error) => Err(CommandError::usage(format!(
            "`{}` is no SSH key",
            key_file.display()
        ))
        .caused_by(&error)
        .hint("`ssh-keygen -t ed25519 -f FILE` makes one; docs/how/sign-changes.md tells the rest")),
    }
}

/// `ssh-keygen` reads the text from its standard input, and asks for a passphrase at the terminal itself. A file, not a pipe:
/// a program that ends without reading breaks nothing.
fn through(program: &Path, key_file: &Path, hash: &str) -> Result<SshSignature, CommandError> {
    let text = unnamed_file(hash).map_err(|error| {
        CommandError::failed("the text to sign can't be handed over").caused_by(&error)
    })?;
    let ran = Command::new(program)
        .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key_file)
        .stdin(text)
        .stderr(Stdio::inherit())
        .output();
    let output = ran.map_err(|error| not_started(&error))?;
    if !output.status.success() {
        return Err(CommandError::failed(format!(
            "`ssh-keygen` did not sign with `{}`",
            key_file.display()
        ))
        .hint("it asks for the passphrase at the terminal, waits for a touch of a hardware key, and with a `.pub` file wants an ssh-agent that holds the key"));
    }
    let armored = String::from_utf8_lossy(&output.stdout);
    let signature = parse(&armored)?;
    if !checks(&signature, hash) {
        return Err(CommandError::unverified(
            "what `ssh-keygen` printed is no signature of this change",
        ));
    }
    Ok(signature)
}

fn unnamed_file(text: &str) -> io::Result<fs::File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// An armoured signature.
///
/// # Errors
/// [`CommandError`] when it is none.
pub(crate) fn parse(armored: &str) -> Result<SshSignature, CommandError> {
    SshSignature::parse(armored).map_err(|error| {
        CommandError::unverified("this is no SSH signature")
            .caused_by(&error)
            .hint("`ssh-keygen -Y sign` writes one, from `-----BEGIN SSH SIGNATURE-----` to `-----END SSH SIGNATURE-----`")
    })
}

/// The signature in a file, made over this hash; `-` is stdin.
///
/// # Errors
/// [`CommandError`] when there is none, or it is for something else.
pub(crate) fn of_file(file: &Path, hash: &str) -> Result<SshSignature, CommandError> {
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        io::stdin().lock().take(MAX_FILE).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
    };
    read.map_err(|error| unreadable(file, &error))?;
    let signature = parse(&text)?;
    if !checks(&signature, hash) {
        return Err(CommandError::unverified(format!(
            "`{}` does not sign this change",
            plain(&file.display().to_string())
        ))
        .hint(format!(
            "what is signed is exactly `{hash}`, in the namespace `{NAMESPACE}`"
        )));
    }
    Ok(signature)
}

/// How to sign without this program.
pub(crate) fn by_hand(number: u64, hash: &str) -> String {
    format!("echo {hash} | ssh-keygen -Y sign -n {NAMESPACE} -f KEY > change-{number}.sig")
}

fn read_key(key_file: &Path) -> Result<Zeroizing<String>, CommandError> {
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize));
    fs::File::open(key_file)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|error| unreadable(key_file, &error))?;
    Ok(text)
}

/// A key that others can read signs for them, too.
fn warn_if_open(key_file: &Path) {
    if let Some(warning) = open_to_others(key_file) {
        eprintln!("warning: {warning}");
    }
}

fn open_to_others(key_file: &Path) -> Option<String> {
    let mode = fs::metadata(key_file).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        format!(
            "`{}` can be read by others than its owner (mode {:o}): whoever reads it signs as you; chmod 600 it",
            key_file.display(),
            mode & 0o777
        )
    })
}

fn not_started(error: &io::Error) -> CommandError {
    CommandError::failed("this key signs through `ssh-keygen`, which does not start")
        .caused_by(error)
        .hint("install Debian's package openssh-client, or sign where it is: `bailiwick change show N` prints the command, `change approve N --signature FILE` takes the result")
}

/// What signatures of changes are for: one made for `git` or a file counts for no change, and the reverse.
const NAMESPACE: &str = ChangeRecord::NAMESPACE;
/// No key or signature is longer.
const MAX_FILE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn folder_with(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        (folder, file)
    }

    #[test]
    fn a_plain_key_signs_the_hash_and_nothing_else() {
        let key = SigningKey::generate_ed25519([7; 32], "chen").unwrap();
        let (_folder, file) = folder_with(&key.to_openssh(), 0o600);
        let signature = sign_with(Path::new("/nonexistent"), &file, HASH).unwrap();
        assert!(
            signature
                .verify(key.public_key(), NAMESPACE, HASH.as_bytes())
                .is_ok()
        );
        assert!(checks(&signature, HASH));
        assert!(!checks(&signature, &HASH.replace('9', "8")));
    }

    #[test]
    fn an_encrypted_key_goes_through_ssh_keygen_and_says_so_where_there_is_none() {
        let (_folder, file) = folder_with(ENCRYPTED, 0o600);
        let refused = sign_with(Path::new("/nonexistent/ssh-keygen"), &file, HASH).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.starts_with("this key signs through `ssh-keygen`"),
            "{text}"
        );
        assert!(text.contains("openssh-client"), "{text}");
    }

    #[test]
    fn a_public_key_is_the_agents_business() {
        let key = SigningKey::generate_ed25519([7; 32], "chen").unwrap();
        let (_folder, file) = folder_with(&key.public_key().to_string(), 0o644);
        let refused = sign_with(Path::new("/nonexistent/ssh-keygen"), &file, HASH).unwrap_err();
        assert!(refused.to_string().contains("openssh-client"));
        let refused = sign_with(Path::new("/bin/false"), &file, HASH).unwrap_err();
        assert!(refused.to_string().contains("ssh-agent"), "{refused}");
    }

    #[test]
    fn what_ssh_keygen_printed_is_not_believed_unread() {
        let key = SigningKey::generate_ed25519([7; 32], "chen").unwrap();
        let (_folder, file) = folder_with(&key.public_key().to_string(), 0o644);
        let refused = sign_with(Path::new("/bin/echo"), &file, HASH).unwrap_err();
        assert_eq!(refused.exit(), crate::output::Exit::Unverified, "{refused}");
    }

    #[test]
    fn a_file_that_is_no_key_is_a_usage_error() {
        for text in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let (_folder, file) = folder_with(text, 0o600);
            let refused = sign_with(Path::new("/nonexistent"), &file, HASH).unwrap_err();
            assert_eq!(
                refused.exit(),
                crate::output::Exit::Usage,
                "{text}: {refused}"
            );
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_warned_about() {
        for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            let (_folder, file) = folder_with("", mode);
            assert_eq!(open_to_others(&file).is_some(), warned, "{mode:o}");
        }
    }

    #[test]
    fn a_signature_file_is_taken_with_and_without_the_newline_and_for_this_hash_only() {
        let key = SigningKey::generate_ed25519([7; 32], "chen").unwrap();
        let file_of = |text: &str, namespace: &str| {
            let signature = key.sign(namespace, text.as_bytes()).unwrap();
            folder_with(&signature.armored(), 0o644)
        };
        for text in [HASH.to_owned(), format!("{HASH}\n")] {
            let (_folder, file) = file_of(&text, NAMESPACE);
            assert!(of_file(&file, HASH).is_ok(), "{text:?}");
        }
        let other = HASH.replace('9', "8");
        for (text, namespace) in [
            (other, NAMESPACE),
            (HASH.to_owned(), "git"),
            (format!("{HASH}\n\n"), NAMESPACE),
            (format!(" {HASH}"), NAMESPACE),
        ] {
            let (_folder, file) = file_of(&text, namespace);
            let refused = of_file(&file, HASH).unwrap_err();
            assert_eq!(refused.exit(), crate::output::Exit::Unverified, "{text:?}");
        }
    }

    /// `ssh-keygen -t ed25519 -N secret`.
    const ENCRYPTED: &str = include_str!("signing/encrypted-key");
}
