//! Marks in a folder of this process's own.

use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;

struct Scene {
    folder: tempfile::TempDir,
    marks: MarksFolder,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let marks = MarksFolder::new(folder.path().join("run/gate"));
    Scene { folder, marks }
}

fn container(id: &str) -> ContainerRef {
    ContainerRef {
        runtime_namespace: "k8s.io".to_owned(),
        id: id.to_owned(),
    }
}

fn created() -> Created {
    Created {
        version: 1,
        at: Timestamp::from_seconds(5),
        making: Making::Create,
        bundle: "/run/bundle".into(),
        spec: Digest::of("spec"),
        gated: vec![Digest::of("layer")],
    }
}

fn hand() -> Touch {
    Touch {
        at: Timestamp::from_seconds(6),
        hand: "exec",
        argv: vec!["sh".to_owned()],
    }
}

fn held() -> HeldMark {
    HeldMark {
        version: 1,
        held: Held {
            secrets: vec!["db-password".parse().unwrap()],
            leases: Vec::new(),
        },
        probes: vec![vec!["/healthy".to_owned(), "now".to_owned()]],
    }
}

#[test]
fn marks_are_read_as_they_were_written() {
    let Scene { marks, .. } = scene();
    assert!(marks.of(&container("app")).unwrap().is_none());
    assert!(marks.containers().unwrap().is_empty());
    let app = marks.make(&container("app")).unwrap();
    assert_eq!(app.created().unwrap(), None);
    assert!(!app.touched().unwrap() && app.held().unwrap().is_empty());

    app.write_created(&created()).unwrap();
    app.write_held(&held()).unwrap();
    app.touch(&hand()).unwrap();
    let again = marks.of(&container("app")).unwrap().unwrap();
    assert_eq!(again.created().unwrap(), Some(created()));
    assert_eq!(again.held().unwrap(), held());
    assert!(again.touched().unwrap());
    assert_eq!(marks.containers().unwrap(), [container("app")]);
}

#[test]
fn a_second_making_leaves_the_touch_and_what_is_held() {
    let Scene { marks, .. } = scene();
    let app = marks.make(&container("app")).unwrap();
    app.touch(&hand()).unwrap();
    app.write_held(&held()).unwrap();
    app.write_created(&created()).unwrap();
    app.remove_created().unwrap();
    app.remove_created().unwrap();
    assert!(app.touched().unwrap() && !app.held().unwrap().is_empty());
    assert_eq!(app.created().unwrap(), None);
    marks.remove(&container("app")).unwrap();
    marks.remove(&container("app")).unwrap();
    assert!(marks.of(&container("app")).unwrap().is_none());
}

#[test]
fn only_the_very_command_is_an_allowed_probe() {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let held = held();
    assert!(held.allows(&words(&["/healthy", "now"])));
    for argv in [
        &["/healthy"] as &[&str],
        &["/healthy", "now", "x"],
        &["now", "/healthy"],
        &[],
    ] {
        assert!(!held.allows(&words(argv)), "{argv:?}");
    }
    let empty = HeldMark {
        probes: vec![Vec::new()],
        ..held
    };
    assert!(!empty.allows(&[]));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let Scene { marks, .. } = scene();
    for id in ["", ".", "..", "a/b", "../x", "a\0b", "-a", &"a".repeat(77)] {
        assert!(
            matches!(marks.make(&container(id)), Err(MarkError::Name { .. })),
            "{id:?}"
        );
        assert!(marks.of(&container(id)).is_err() && marks.remove(&container(id)).is_err());
    }
    let other = ContainerRef {
        runtime_namespace: "..".to_owned(),
        id: "a".to_owned(),
    };
    assert!(marks.make(&other).is_err());
}

#[test]
fn links_and_folders_that_others_can_enter_are_refused() {
    let Scene { folder, marks } = scene();
    let app = marks.make(&container("app")).unwrap();
    let at = marks.path().join("k8s.io/app");
    let elsewhere = folder.path().join("elsewhere");
    std::fs::write(&elsewhere, "{}").unwrap();
    for name in ["created", "held", "touched"] {
        symlink(&elsewhere, at.join(name)).unwrap();
    }
    assert!(app.created().is_err() && app.held().is_err() && app.touch(&hand()).is_err());
    assert!(app.touched().unwrap(), "whatever it is, it is not nothing");
    assert_eq!(std::fs::read(&elsewhere).unwrap(), b"{}");
    app.write_created(&created()).unwrap();
    assert_eq!(
        app.created().unwrap(),
        Some(created()),
        "a link is replaced, not followed"
    );
    assert_eq!(std::fs::read(&elsewhere).unwrap(), b"{}");

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(marks.path()), mode(&at)), (0o700, 0o700));
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(marks.make(&container("app")).is_err() && marks.of(&container("app")).is_err());
    symlink(&at, marks.path().join("k8s.io/linked")).unwrap();
    assert!(marks.of(&container("linked")).is_err() && marks.make(&container("linked")).is_err());
}

#[test]
fn malformed_marks_are_errors_and_never_absent() {
    let Scene { marks, .. } = scene();
    let app = marks.make(&container("app")).unwrap();
    let at = marks.path().join("k8s.io/app");
    let good = serde_json::to_string(&held()).unwrap();
    for text in [
        "",
        "{}",
        "null",
        &good.replace(":1", ":2"),
        &good.replace("probes", "probe"),
    ] {
        std::fs::write(at.join("held"), text).unwrap();
        assert!(app.held().is_err(), "{text}");
        std::fs::write(at.join("created"), text).unwrap();
        assert!(app.created().is_err(), "{text}");
    }
    let relative = Created {
        bundle: "bundle".into(),
        ..created()
    };
    app.write_created(&relative).unwrap();
    assert!(app.created().is_err());
    let large = vec![b' '; usize::try_from(LARGEST).unwrap() + 1];
    std::fs::write(at.join("held"), large).unwrap();
    assert!(matches!(app.held(), Err(MarkError::Unreadable { .. })));
}

#[test]
fn many_hands_do_not_fill_the_memory() {
    let Scene { marks, .. } = scene();
    let app = marks.make(&container("app")).unwrap();
    let long = Touch {
        argv: vec!["x".repeat(100_000)],
        ..hand()
    };
    for _ in 0..40 {
        app.touch(&long).unwrap();
    }
    let length = std::fs::metadata(marks.path().join("k8s.io/app/touched"))
        .unwrap()
        .len();
    assert!(length <= LARGEST_TOUCHED + 5_000, "{length}");
}

#[test]
fn two_that_decide_take_turns() {
    let Scene { marks, .. } = scene();
    let first = marks.make(&container("app")).unwrap();
    let second = marks.make(&container("app")).unwrap();
    let lock = first.lock().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let _lock = second.lock().unwrap();
            second.touched().unwrap()
        });
        first.touch(&hand()).unwrap();
        drop(lock);
        assert!(
            waiting.join().unwrap(),
            "what was written under the lock is seen after it"
        );
    });
    assert!(marks.make(&container("other")).unwrap().lock().is_ok());
}

/// A container's name comes again while the marks of the one before are removed.
#[test]
fn marks_are_removed_in_turn_with_whoever_decides() {
    let scene = scene();
    let marks = scene.marks.make(&container("app")).unwrap();
    marks.write_created(&created()).unwrap();
    let lock = marks.lock().unwrap();
    let removal = std::thread::spawn({
        let folder = scene.marks.clone();
        move || folder.remove(&container("app"))
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(marks.created().unwrap().is_some() && !removal.is_finished());
    drop(lock);
    removal.join().unwrap().unwrap();
    assert!(scene.marks.of(&container("app")).unwrap().is_none());
    assert!(
        marks.touch(&hand()).is_err(),
        "a hand in it is not let in unmarked"
    );
}

proptest! {
    #[test]
    fn hostile_marks_are_errors(bytes: Vec<u8>, text in "[\\[\\]{}:,\"a-z0-9]{0,80}") {
        let Scene { marks, .. } = scene();
        let app = marks.make(&container("app")).unwrap();
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            for name in ["held", "created"] {
                std::fs::write(marks.path().join("k8s.io/app").join(name), bytes).unwrap();
            }
            prop_assert!(app.held().is_err());
            prop_assert!(app.created().is_err());
        }
    }
}
