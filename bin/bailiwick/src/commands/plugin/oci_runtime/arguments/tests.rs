//! Command lines as containerd, people and attackers write them.

use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn call(line: &str) -> Result<Call, String> {
    super::read(&words(line))
        .0
        .map_err(|refusal| refusal.explain())
}

fn guarded(line: &str) -> Guarded {
    match call(line) {
        Ok(Call::Guarded(guarded)) => guarded,
        other => panic!("{line}: {other:?}"),
    }
}

const CONTAINERD: &str = "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json";

#[test]
fn what_containerd_writes_is_understood() {
    let create = guarded(&format!(
        "{CONTAINERD} --systemd-cgroup create --bundle /b --pid-file /b/init.pid --console-socket /s app"
    ));
    assert_eq!(create.container.runtime_namespace, "k8s.io");
    assert_eq!(create.container.id, "app");
    assert_eq!(
        create.deed,
        Deed::Make {
            making: Making::Create,
            bundle: "/b".into()
        }
    );
    let exec = guarded(&format!(
        "{CONTAINERD} exec --process /b/p.json --detach --pid-file /x app"
    ));
    assert_eq!(exec.deed, Deed::Exec(Command::File("/b/p.json".into())));
    let restore = guarded(&format!(
        "{CONTAINERD} restore --image-path /i --detach --no-subreaper --bundle /b app"
    ));
    assert!(matches!(
        restore.deed,
        Deed::Make {
            making: Making::Restore,
            ..
        }
    ));
    let checkpoint = guarded(&format!(
        "{CONTAINERD} checkpoint --image-path /i --leave-running app"
    ));
    assert_eq!(checkpoint.deed, Deed::Checkpoint);
    let log = super::read(&words(CONTAINERD)).1.unwrap();
    assert_eq!(
        (log.path.as_path(), log.is_json),
        (Path::new("/b/log.json"), true)
    );
}

#[test]
fn what_a_person_types_is_understood() {
    let here = std::env::current_dir().unwrap();
    let run = guarded("run -d app");
    assert_eq!(run.container.runtime_namespace, "runc");
    assert_eq!(run.root, Path::new("/run/runc"));
    assert_eq!(
        run.deed,
        Deed::Make {
            making: Making::Run,
            bundle: here.clone()
        }
    );
    assert_eq!(guarded("create -b b app"), guarded("create app --bundle=b"));
    assert!(
        matches!(guarded("create -b b app").deed, Deed::Make { bundle, .. } if bundle == here.join("b"))
    );
    let typed = |line: &str| match guarded(line).deed {
        Deed::Exec(Command::Typed { argv, is_plain }) => (argv.join(" "), is_plain),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        typed("exec app ls -l --tty"),
        ("ls -l --tty".to_owned(), true)
    );
    assert_eq!(typed("exec -d app ls"), ("ls".to_owned(), true));
    for flag in [
        "-t",
        "-u 0",
        "--user=0",
        "-e A=b",
        "--cwd /x",
        "-c CAP_SYS_ADMIN",
    ] {
        assert_eq!(
            typed(&format!("exec {flag} app ls")),
            ("ls".to_owned(), false),
            "{flag}"
        );
    }
}

#[test]
fn everything_else_is_the_runtimes_own_business() {
    for line in [
        "",
        "--version",
        "--help",
        "state app",
        "--root /r kill --all app KILL",
        "delete --force app",
        "--new-flag list",
        "features",
        "start create",
        "newly-invented app",
    ] {
        assert_eq!(call(line), Ok(Call::Unguarded), "{line}");
    }
}

/// Each of these may be read otherwise by some runtime, or makes a container that the gate does not see.
#[test]
fn what_makes_a_container_and_is_not_understood_is_refused() {
    for line in [
        "create",
        "create app other",
        "create --bundle",
        "create --bundle --pid-file app",
        "create --bundle /a --bundle /b app",
        "create -b /a --bundle=/b app",
        "create -b=/b app",
        "create -bundle /b app",
        "create --bun /b app",
        "create --config /other.json app",
        "create --no-pivot=true app",
        "create -- app",
        "create app -- --bundle /b",
        "create --help",
        "run -db app",
        "restore --bundle /b",
        "--new-flag x create app",
        "--debug=true create app",
        "-- create app",
        "- create app",
        "--root /a --root /b create app",
        "--log /a --log /b exec app sh",
        "--root / create app",
        "--root /a/.. create app",
        "exec",
        "exec app",
        "exec --process",
        "exec -p /a -p /b app",
        "exec -it app sh",
        "exec --ignore app sh",
        "exec -- app sh",
        "checkpoint",
        "checkpoint app other",
    ] {
        let refused = call(line);
        assert!(
            matches!(&refused, Err(why) if why.contains("does not understand")),
            "{line}: {refused:?}"
        );
    }
}

#[test]
fn words_that_are_no_text_are_refused_where_they_matter() {
    let odd = OsString::from_vec(vec![0xff]);
    let with = |line: &str| {
        let mut words = words(line);
        words.push(odd.clone());
        super::read(&words).0
    };
    assert!(with("create --bundle /b").is_err() && with("exec app ls").is_err());
    assert!(matches!(with("state"), Ok(Call::Unguarded)));
    let odd_root = [OsString::from("--root"), odd.clone()].into_iter();
    let line: Vec<OsString> = odd_root.chain(words("create app")).collect();
    assert!(super::read(&line).0.is_err());
}

#[test]
fn the_log_is_known_even_if_the_rest_is_not_understood() {
    let (call, log) = super::read(&words("--log /l --log-format=json create --what app"));
    assert!(call.is_err());
    assert_eq!(
        log,
        Some(Log {
            path: "/l".into(),
            is_json: true
        })
    );
}

proptest! {
    /// With a guarded command as the first word that is no flag, nothing is let through unseen.
    #[test]
    fn a_guarded_command_is_never_overlooked(
        // None of these takes the next word as its value.
        flags in proptest::collection::vec("(--x[a-z]{0,8}(=[a-z]{0,3})?|--debug|--log=[a-z]|-[a-z]{1,2}|--|-)", 0..4),
        rest in proptest::collection::vec("[a-z-]{0,8}", 0..5),
    ) {
        for command in ["create", "run", "restore", "exec", "checkpoint"] {
            let mut line: Vec<OsString> = flags.iter().map(OsString::from).collect();
            line.push(command.into());
            line.extend(rest.iter().map(OsString::from));
            prop_assert!(!matches!(super::read(&line).0, Ok(Call::Unguarded)), "{line:?}");
        }
    }

    #[test]
    fn hostile_words_never_panic(line in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..6)) {
        let line: Vec<OsString> = line.into_iter().map(OsString::from_vec).collect();
        let _ = super::read(&line);
    }
}
