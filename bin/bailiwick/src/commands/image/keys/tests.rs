//! Which file is meant, and where its password is.

use std::fs;

use super::*;

fn parsed(argument: &str, files: &[&str]) -> anyhow::Result<KeyArgument> {
    KeyArgument::parse(OsStr::new(argument), |path| {
        files.iter().any(|file| Path::new(file) == path)
    })
}

fn key(path: &str, source: Option<Source>) -> KeyArgument {
    KeyArgument {
        path: path.into(),
        source,
    }
}

fn secret(text: &str) -> Secret {
    Zeroizing::new(text.as_bytes().to_vec())
}

#[test]
fn each_place_of_a_password_is_understood() {
    for (rest, source) in [
        ("pass=a:b=c", Source::Argument(secret("a:b=c"))),
        ("pass=", Source::Argument(secret(""))),
        ("file=/a:b", Source::File("/a:b".into())),
        ("fd=3", Source::Descriptor(3)),
        ("env=PW", Source::Variable("PW".into())),
    ] {
        let argument = format!("key.pem:{rest}");
        assert_eq!(
            parsed(&argument, &["key.pem"]).unwrap(),
            key("key.pem", Some(source))
        );
    }
}

#[test]
fn the_longest_file_wins() {
    let files = ["a", "a:b", "a:b:pass=x"];
    assert_eq!(parsed("a:b", &files).unwrap(), key("a:b", None));
    assert_eq!(
        parsed("a:b:pass=x", &files).unwrap(),
        key("a:b:pass=x", None)
    );
    assert_eq!(
        parsed("a:b:fd=4", &files).unwrap(),
        key("a:b", Some(Source::Descriptor(4)))
    );
    assert_eq!(
        parsed("a:fd=4", &files).unwrap(),
        key("a", Some(Source::Descriptor(4)))
    );
    assert_eq!(
        parsed("a:b:pass=x:env=PW", &files).unwrap(),
        key("a:b:pass=x", Some(Source::Variable("PW".into())))
    );
}

#[test]
fn anything_else_behind_a_file_is_refused_without_being_shown() {
    for rest in [
        "hunter2",
        "",
        "fd=",
        "fd=-1",
        "fd=x",
        "file=",
        "env=",
        "PASS=hunter2",
        "pass",
    ] {
        let refused = parsed(&format!("key.pem:{rest}"), &["key.pem"]).unwrap_err();
        let said = format!("{refused:?} {refused:#}");
        assert!(
            said.contains("`key.pem:`") && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[test]
fn a_mistyped_name_shows_no_password() {
    for argument in [
        "kye.pem:pass=hunter2",
        "kye.pem:hunter2",
        "kye.pem:x:pass=hunter2",
    ] {
        assert_eq!(
            parsed(argument, &["key.pem"]).unwrap(),
            key("kye.pem", None)
        );
        let refused = read_keys(&[argument.into()]).err().unwrap();
        assert!(!format!("{refused:?}").contains("hunter2"));
    }
}

#[test]
fn a_line_end_behind_a_password_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    for (text, password) in [
        ("x y\n", "x y"),
        ("x\r\n", "x"),
        ("x\n\n", "x\n"),
        ("x", "x"),
        ("x\r", "x\r"),
    ] {
        fs::write(&path, text).unwrap();
        let read = Source::File(path.clone()).read().unwrap();
        assert_eq!(*read, password.as_bytes(), "{text:?}");
    }
    for (text, reason) in [
        (String::new(), "is empty"),
        ("\n".into(), "is empty"),
        ("x".repeat(5000), "can't read"),
    ] {
        fs::write(&path, text).unwrap();
        let refused = Source::File(path.clone()).read().unwrap_err();
        assert!(refused.to_string().contains(reason), "{refused}");
    }
    assert!(Source::Descriptor(u32::MAX).read().is_err());
    assert!(Source::Variable("BAILIWICK_NOT_SET".into()).read().is_err());
}
