//! Providers that are programs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use images::{KeyService, Kind};

use crate::{PATIENT, fails, provider, wrap};

/// A provider that runs a script of the shell.
struct Program {
    folder: tempfile::TempDir,
    entry: String,
}

impl Program {
    fn script(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("provider");
        let text = text.replace("$FOLDER", folder.path().to_str().unwrap());
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let entry = format!(r#"{{"cmd":{{"path":{path:?},"args":["a b","$HOME;"]}}}}"#);
        Self { folder, entry }
    }

    fn patient(&self, patience: Duration) -> std::sync::Arc<dyn KeyService> {
        provider(&self.entry, patience)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

#[test]
fn question_and_answer_go_over_its_standard_streams() {
    let program = Program::script(
        r#"cat >"$FOLDER/asked"; printf '%s|' "$@" >"$FOLDER/args"; echo noise >&2
           echo '{"keywrapresults":{"annotation":"AQID"},"keyunwrapresults":{"optsdata":null}}'"#,
    );
    let kms = program.patient(PATIENT);
    assert_eq!(wrap(&*kms).unwrap(), [1, 2, 3]);
    assert!(program.file("asked").starts_with(r#"{"op":"keywrap","#));
    assert_eq!(program.file("args"), "a b|$HOME;|");
    // The same program does not unwrap, and says so in its way.
    fails(kms.unwrap(&[], b"packet"), Kind::Failed, "another question");
    let asked = program.file("asked");
    assert!(asked.contains(r#""dc":{"Parameters":{}}"#), "{asked}");
}

#[test]
fn options_come_back_as_text_or_as_numbers() {
    for form in [r#""e30=""#, "[123,125]"] {
        let script =
            format!(r#"cat >/dev/null; echo '{{"keyunwrapresults":{{"optsdata":{form}}}}}'"#);
        let kms = Program::script(&script);
        assert_eq!(
            *kms.patient(PATIENT).unwrap(&[], b"packet").unwrap(),
            *b"{}"
        );
    }
}

#[test]
fn what_it_complains_about_is_told_but_never_the_key() {
    let kms = Program::script("cat >/dev/null; echo 'no such key' >&2; exit 3");
    fails(
        wrap(&*kms.patient(PATIENT)),
        Kind::Failed,
        "exit status: 3 and said: no such key",
    );
    let kms = Program::script("cat >&2; exit 1");
    fails(wrap(&*kms.patient(PATIENT)), Kind::Failed, "withheld");
    let kms = Program::script("cat >/dev/null; echo '{}'; exit 1");
    fails(
        wrap(&*kms.patient(PATIENT)),
        Kind::Failed,
        "said: (nothing)",
    );
}

#[test]
fn a_packet_that_holds_the_key_in_clear_is_refused() {
    let kms = Program::script(
        r#"sed 's/.*"optsdata":"\([^"]*\)".*/{"keywrapresults":{"annotation":"\1"}}/'"#,
    );
    fails(
        wrap(&*kms.patient(PATIENT)),
        Kind::VerificationFailed,
        "in clear",
    );
}

#[test]
fn who_is_slow_is_ended_with_all_that_it_started() {
    let program = Program::script(
        r#"sleep 300 & echo $! >"$FOLDER/child.part"; mv "$FOLDER/child.part" "$FOLDER/child"; wait"#,
    );
    fails(
        wrap(&*program.patient(Duration::from_secs(2))),
        Kind::Unavailable,
        "did not answer",
    );
    let child = format!("/proc/{}/stat", program.file("child").trim());
    let is_over = || {
        let state = fs::read_to_string(Path::new(&child));
        state.map_or(true, |state| state.contains(") Z "))
    };
    for _ in 0..1000 {
        if is_over() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it still runs");
}

#[test]
fn huge_answers_and_huge_complaints_are_bounded() {
    let kms = Program::script("cat >/dev/null; head -c 6000000 /dev/zero");
    fails(wrap(&*kms.patient(PATIENT)), Kind::Failed, "longer than");
    let kms = Program::script("cat >/dev/null; head -c 6000000 /dev/zero | tr '\\0' x >&2; exit 1");
    fails(wrap(&*kms.patient(PATIENT)), Kind::Failed, "xxxx");
}

#[test]
fn malformed_and_empty_answers_are_refused() {
    for answer in [
        "",
        "null x",
        "{}",
        r#"{"keywrapresults":{"annotation":"!"}}"#,
    ] {
        let kms = Program::script(&format!("cat >/dev/null; printf '%s' '{answer}'"));
        fails(wrap(&*kms.patient(PATIENT)), Kind::Failed, "answer is");
    }
}

#[test]
fn who_answers_without_reading_is_understood() {
    let kms = Program::script(r#"exec <&-; echo '{"keyunwrapresults":{"optsdata":"e30="}}'"#);
    let packet = vec![7; 1 << 20];
    let opened = kms.patient(PATIENT).unwrap(&[], &packet).unwrap();
    assert_eq!(*opened, *b"{}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let kms = provider(r#"{"cmd":{"path":"/nonexistent/kms"}}"#, PATIENT);
    fails(wrap(&*kms), Kind::Usage, "/nonexistent/kms");
}
