//! `server init` as an operator meets it who writes the files in the wrong order.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::runner::run;

#[test]
fn an_init_that_failed_can_be_run_again_and_one_that_succeeded_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = format!(
        "trust_domain = \"hospital.example\"\ntenant = \"hospital\"\ndata = \"{}\"\nlisten = \"127.0.0.1:0\"\n\
         names = [\"localhost\"]\nsocket = \"{}\"\n[kek]\nprovider = \"passphrase-file\"\npath = \"{}\"\n",
        at("data"),
        at("server.sock"),
        at("passphrase"),
    );
    fs::write(at("server.toml"), config).unwrap();
    let config = at("server.toml");
    let key = |person: &str| test_server::key_of(person).public_key().to_string();
    let (chen, eva) = ("chen@hospital.example", "eva@hospital.example");
    let two = format!("# at work\n{}\n\n{}\n", key(chen), key("chen at home"));
    fs::write(at("chen.pub"), two).unwrap();
    fs::write(at("eva.pub"), key(eva)).unwrap();
    let founders = [
        format!("{chen}={}", at("chen.pub")),
        format!("{eva}={}", at("eva.pub")),
    ];
    let [first, second] = &founders;
    let words = [
        "server",
        "init",
        "--founder",
        first,
        "--founder",
        second,
        "--config",
        &config,
    ];
    let init = || run(&words, "");
    assert_eq!(init().status, 1, "there is no passphrase");
    fs::write(at("passphrase"), "correct horse battery staple").unwrap();
    fs::set_permissions(at("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
    let made = init();
    assert_eq!(made.status, 0, "{}", made.stderr);
    let fingerprint = |person: &str| test_server::key_of(person).public_key().fingerprint();
    for line in [
        format!("founder       {chen} {}", fingerprint(chen)),
        format!("founder       {chen} {}", fingerprint("chen at home")),
        format!("founder       {eva} {}", fingerprint(eva)),
        "quorum        2 of 2".to_owned(),
    ] {
        let said = made.stdout.lines().any(|said| said == line);
        assert!(said, "{line}: {}", made.stdout);
    }
    let root = fs::read(at("data/root.pem")).unwrap();
    let again = init();
    assert_eq!(again.status, 1);
    assert!(
        again.stderr.contains("was made already"),
        "{}",
        again.stderr
    );
    assert_eq!(fs::read(at("data/root.pem")).unwrap(), root);
}

#[test]
fn the_folder_of_the_head_file_is_made_once_and_then_has_to_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = format!(
        "trust_domain = \"hospital.example\"\ntenant = \"hospital\"\ndata = \"{}\"\nhead_file = \"{}\"\n\
         listen = \"127.0.0.1:0\"\nnames = [\"localhost\"]\nsocket = \"{}\"\n\
         [kek]\nprovider = \"passphrase-file\"\npath = \"{}\"\n",
        at("data"),
        at("other-disk/head"),
        at("server.sock"),
        at("passphrase"),
    );
    fs::write(at("server.toml"), config).unwrap();
    fs::write(at("passphrase"), "correct horse battery staple").unwrap();
    fs::set_permissions(at("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
    let chen = test_server::key_of("chen@hospital.example");
    fs::write(at("chen.pub"), chen.public_key().to_string()).unwrap();
    let founder = format!("chen@hospital.example={}", at("chen.pub"));
    let config = at("server.toml");
    let made = run(
        &[
            "server",
            "init",
            "--founder",
            &founder,
            "--config",
            &config,
            "--output",
            "json",
        ],
        "",
    );
    assert_eq!(made.status, 0, "{}", made.stderr);
    assert!(made.stderr.contains("one founder alone"), "{}", made.stderr);
    let said: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    assert_eq!(said["trustDomain"], "hospital.example");
    assert_eq!(
        said["founders"][0]["key"],
        chen.public_key().fingerprint().as_str()
    );
    assert_eq!((&said["quorum"], &said["of"]), (&1.into(), &1.into()));
    assert!(fs::metadata(at("other-disk/head")).unwrap().len() > 0);
    fs::rename(at("other-disk"), at("not-mounted")).unwrap();
    let refused = run(&["server", "run", "--config", &config], "");
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("head file"), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: mount"), "{}", refused.stderr);
}

#[test]
fn an_unknown_key_is_named_and_the_page_about_keys_too() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml").display().to_string();
    fs::write(&config, "trust_domian = \"hospital.example\"\n").unwrap();
    let refused = run(&["server", "run", "--config", &config], "");
    assert_eq!(refused.status, 2);
    assert!(
        refused.stderr.contains("`trust_domian`"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("docs/how/server-and-agent.md"));
}
