//! Configurations as people and installers write them.

use proptest::prelude::*;

use super::*;

const GATE: &str = "/usr/local/sbin/bailiwick-runc";

fn of(text: &str) -> Result<Vec<(String, Leads)>, HandlersError> {
    of_text(text, &[PathBuf::from(GATE)], true)
}

fn runc(options: &str) -> String {
    format!(
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n{options}"
    )
}

fn wrapped() -> String {
    runc(&format!(
        "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = true\nBinaryName = \"{GATE}\"\n"
    ))
}

#[test]
fn a_wrapped_handler_leads_to_the_gate_in_both_versions() {
    let two = wrapped();
    let three = two
        .replace("version = 2", "version = 3")
        .replace("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime");
    for text in [two, three] {
        assert_eq!(
            of(&text).unwrap(),
            [("runc".to_owned(), Leads::Gate)],
            "{text}"
        );
    }
}

#[test]
fn what_is_not_wrapped_is_told_apart() {
    let kata = wrapped()
        + "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.kata]\nruntime_type = \"io.containerd.kata.v2\"\n";
    let cases = [
        ("version = 2\n".to_owned(), Leads::BuiltIn),
        ("version = 3\n".to_owned(), Leads::BuiltIn),
        (runc(""), Leads::BuiltIn),
        (
            runc("options = { BinaryName = \"/usr/bin/crun\" }"),
            Leads::Program("/usr/bin/crun".to_owned()),
        ),
        // Found by whoever searches the path: nobody knows where.
        (
            runc("options = { BinaryName = \"bailiwick-runc\" }"),
            Leads::Program("bailiwick-runc".to_owned()),
        ),
        (
            kata,
            Leads::OtherRuntime("io.containerd.kata.v2".to_owned()),
        ),
        (
            wrapped().replace(
                "runtime_type =",
                "runtime_path = \"/opt/shim\"\nruntime_type =",
            ),
            Leads::OtherRuntime("/opt/shim".to_owned()),
        ),
        (
            wrapped().replace("runtime_type =", "sandboxer = \"shim\"\nruntime_type ="),
            Leads::OtherRuntime("io.containerd.runc.v2".to_owned()),
        ),
    ];
    for (text, expected) in cases {
        let found = of(&text).unwrap();
        assert!(
            found.iter().any(|(_, leads)| *leads == expected),
            "{text}: {found:?}"
        );
    }
}

/// The built-in handler `runc` stays when others are named, and the old names of handlers still count.
#[test]
fn handlers_that_nobody_names_count_too() {
    let only_other = wrapped().replace("runtimes.runc", "runtimes.mine");
    let found = of(&only_other).unwrap();
    assert!(
        found.contains(&("runc".to_owned(), Leads::BuiltIn)),
        "{found:?}"
    );
    let old = wrapped()
        + "[plugins.\"io.containerd.grpc.v1.cri\".containerd.untrusted_workload_runtime]\nruntime_type = \"io.containerd.runc.v2\"\n";
    let found = of(&old).unwrap();
    assert!(found.contains(&("untrusted_workload_runtime".to_owned(), Leads::BuiltIn)));
    // The section of the other version may be migrated.
    let both = wrapped()
        + "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.x]\nruntime_type = \"io.containerd.runc.v2\"\n";
    assert!(
        of(&both)
            .unwrap()
            .contains(&("x".to_owned(), Leads::BuiltIn))
    );
    // Under `version = 3` the section of version 2 wraps nothing.
    let later = wrapped().replace("version = 2", "version = 3");
    assert!(!of(&later).unwrap().is_empty());
}

#[test]
fn what_containerd_may_read_otherwise_is_an_error() {
    for text in [
        "".to_owned(),
        "version = 1\n".to_owned(),
        "version = 4\n".to_owned(),
        "version = \"2\"\n".to_owned(),
        "version = 2\nversion = 2\n".to_owned(),
        "version = 2\nVersion = 3\n".to_owned(),
        "version = 2\nplugins = 1\n".to_owned(),
        wrapped() + "binaryname = \"/usr/bin/runc\"\n",
        wrapped().replace("runtime_type", "Runtime_Type = \"x\"\nruntime_type"),
        runc("options = 1"),
        runc("options = { BinaryName = 1 }"),
    ] {
        assert!(of(&text).is_err(), "{text}");
    }
}

#[test]
fn a_link_under_the_gates_name_is_the_gate_and_another_name_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("bailiwick"), "program").unwrap();
    for link in ["bailiwick-runc", "bailiwick-oci-runtime", "runc"] {
        std::os::unix::fs::symlink(at("bailiwick"), at(link)).unwrap();
    }
    fs::create_dir(at("other")).unwrap();
    fs::write(at("other/bailiwick-runc"), "another program").unwrap();
    let programs = [at("bailiwick")];
    let gate = |name: &str| is_gate(&at(name), &programs);
    assert!(gate("bailiwick-runc") && gate("bailiwick-oci-runtime") && gate("bailiwick"));
    assert!(!gate("runc") && !gate("other/bailiwick-runc") && !gate("nowhere/bailiwick-runc"));
}

#[test]
fn each_imported_file_has_to_be_right_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let programs = [PathBuf::from(GATE)];
    let main = at("config.toml");
    fs::create_dir(at("conf.d")).unwrap();
    fs::write(
        &main,
        format!("imports = [\"conf.d/*.toml\"]\n{}", wrapped()),
    )
    .unwrap();
    assert!(is_everywhere(&read(&main, &programs).unwrap()));

    fs::write(
        at("conf.d/a.toml"),
        "version = 2\n[metrics]\naddress = \"x\"\n",
    )
    .unwrap();
    fs::write(at("conf.d/no.txt"), "not read").unwrap();
    assert!(is_everywhere(&read(&main, &programs).unwrap()));

    fs::write(at("conf.d/b.toml"), runc("")).unwrap();
    let found = read(&main, &programs).unwrap();
    assert!(!is_everywhere(&found));
    assert!(
        found
            .iter()
            .any(|handler| handler.file == at("conf.d/b.toml") && handler.leads == Leads::BuiltIn)
    );

    fs::write(at("conf.d/b.toml"), wrapped()).unwrap();
    assert!(is_everywhere(&read(&main, &programs).unwrap()));
    // In a circle, and to one that is not there.
    fs::write(
        at("conf.d/c.toml"),
        "version = 2\nimports = [\"../config.toml\", \"gone.toml\"]\n",
    )
    .unwrap();
    assert!(matches!(
        read(&main, &programs),
        Err(HandlersError::Unreadable { .. })
    ));
    for pattern in ["conf.[d]/*.toml", "*/a.toml"] {
        fs::write(&main, format!("version = 2\nimports = [\"{pattern}\"]\n")).unwrap();
        assert!(matches!(
            read(&main, &programs),
            Err(HandlersError::Import { .. })
        ));
    }
}

#[test]
fn nothing_at_all_is_not_everywhere() {
    assert!(!is_everywhere(&[]));
}

#[test]
fn a_fix_wraps_and_keeps_what_stands_around() {
    let text = "# ours\nversion = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n  # the usual one\n  runtime_type = \"io.containerd.runc.v2\"\n  [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n    SystemdCgroup = true # as the kubelet\n";
    let fixed = fix(text, Path::new(GATE)).unwrap();
    assert_eq!(fixed.left, []);
    assert_eq!(of(&fixed.text).unwrap(), [("runc".to_owned(), Leads::Gate)]);
    for kept in [
        "# ours",
        "# the usual one",
        "SystemdCgroup = true # as the kubelet",
    ] {
        assert!(fixed.text.contains(kept), "{}", fixed.text);
    }
    assert_eq!(fix(&fixed.text, Path::new(GATE)).unwrap().text, fixed.text);
}

#[test]
fn a_fix_of_an_empty_configuration_names_the_built_in_handler() {
    for text in ["version = 2\n", "version = 3\n"] {
        let fixed = fix(text, Path::new(GATE)).unwrap();
        assert_eq!(fixed.left, []);
        assert_eq!(of(&fixed.text).unwrap(), [("runc".to_owned(), Leads::Gate)]);
    }
}

#[test]
fn a_fix_says_what_it_can_not_wrap() {
    let text = wrapped()
        + "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.kata]\nruntime_type = \"io.containerd.kata.v2\"\n"
        + "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.crun]\nruntime_type = \"io.containerd.runc.v2\"\noptions = { BinaryName = \"/usr/bin/crun\" }\n";
    let fixed = fix(&text, Path::new(GATE)).unwrap();
    let mut left = fixed.left;
    left.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        left,
        [
            (
                "crun".to_owned(),
                Leads::Program("/usr/bin/crun".to_owned())
            ),
            (
                "kata".to_owned(),
                Leads::OtherRuntime("io.containerd.kata.v2".to_owned())
            ),
        ]
    );
}

proptest! {
    /// Nothing that is not there makes a handler lead to the gate.
    #[test]
    fn hostile_text_never_leads_to_the_gate(text in "(version = [23]\n)?[\\[\\]a-z.\"={}\n ]{0,120}") {
        if let Ok(found) = of(&text) {
            prop_assert!(found.iter().all(|(_, leads)| *leads != Leads::Gate));
        }
        let _ = fix(&text, Path::new(GATE));
    }
}
