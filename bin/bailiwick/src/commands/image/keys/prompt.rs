//! Asks for a password on the terminal, without showing it.

use std::io::{self, IsTerminal, Write};

use jose::key_file::MAX_PASSWORD_LEN;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use super::Secret;

/// Asks on the terminal; `None` where stdin is none.
pub(in super::super) fn ask(question: &str) -> io::Result<Option<Secret>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    let _quiet = Quiet::begin()?;
    eprint!("{question}");
    io::stderr().flush()?;
    // Past stdin's own buffer, in which the password would stay.
    let bytes = std::iter::from_fn(|| {
        let mut byte = [0];
        match rustix::io::retry_on_intr(|| rustix::io::read(&stdin, &mut byte)) {
            Ok(0) => None,
            Ok(_) => Some(Ok(byte[0])),
            Err(error) => Some(Err(error.into())),
        }
    });
    let password = typed(bytes);
    eprintln!();
    password.map(Some)
}

/// A terminal that shows nothing and sends no signals: Ctrl-C arrives as a character, so that the terminal is always
/// put back as it was.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// What was typed up to the end of the line, with the corrections that people make.
fn typed(bytes: impl IntoIterator<Item = io::Result<u8>>) -> io::Result<Secret> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD_LEN));
    for byte in bytes {
        match byte? {
            b'\n' | b'\r' => return Ok(line),
            CTRL_C | CTRL_D => break,
            CTRL_U => line.clear(),
            BACKSPACE | DELETE => {
                // One character may be several bytes of UTF-8.
                while line.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {}
            }
            _ if line.len() == MAX_PASSWORD_LEN => {
                return Err(io::Error::other("the password is too long"));
            }
            byte => line.push(byte),
        }
    }
    Err(io::Error::other("asking was broken off"))
}

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> io::Result<String> {
        let typed = typed(text.bytes().map(Ok))?;
        Ok(String::from_utf8(typed.to_vec()).unwrap())
    }

    #[test]
    fn corrections_count() {
        assert_eq!(line("secret\nmore").unwrap(), "secret");
        assert_eq!(line("sä\u{7f}ecret\r").unwrap(), "secret");
        assert_eq!(line("wrong\u{15}\u{8}secret\n").unwrap(), "secret");
        assert_eq!(line("\n").unwrap(), "");
    }

    #[test]
    fn breaking_off_is_no_password() {
        for text in ["sec\u{3}ret\n", "sec\u{4}\n", "secret", ""] {
            assert!(line(text).is_err(), "{text:?}");
        }
        assert!(line(&format!("{}\n", "x".repeat(MAX_PASSWORD_LEN + 1))).is_err());
        assert!(line(&format!("{}\n", "x".repeat(MAX_PASSWORD_LEN))).is_ok());
    }
}
