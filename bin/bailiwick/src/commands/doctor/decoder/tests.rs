//! Configurations of containerd that hand keys to the decoder, and some that do not.

use super::*;
use crate::commands::doctor::State;

/// The test's own program has a name under which it takes the arguments.
fn good() -> String {
    let own = std::env::current_exe().unwrap();
    PROCESSORS
        .iter()
        .map(|(id, media_type)| processor_toml(id, media_type, &own))
        .collect()
}

fn checks_of(texts: &[&str], version: Option<&str>) -> Vec<Check> {
    let files: Vec<(PathBuf, Table)> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| {
            (
                PathBuf::from(format!("{number}.toml")),
                text.parse().unwrap(),
            )
        })
        .collect();
    checks(&files, version.map(|text| Version::of(text).unwrap()))
}

fn check<'a>(checks: &'a [Check], what: &str) -> &'a Check {
    let found = checks.iter().find(|check| check.what == what);
    found.unwrap_or_else(|| panic!("no check `{what}`: {checks:?}"))
}

#[test]
fn what_is_proposed_is_right() {
    let checks = checks_of(&[&good()], Some("containerd v1.7.24"));
    assert!(
        checks.iter().all(|check| check.state == State::Ok),
        "{checks:?}"
    );
}

#[test]
fn a_stream_processor_has_its_id_its_types_our_program_and_arguments_that_it_takes() {
    let what = format!("stream processor {}", GZIP.0);
    let good = good();
    for (from, to, says) in [
        ("tar+gzip+encrypted", "tar+gzip", "does not turn"),
        ("returns", "gives", "does not turn"),
        ("\"containerd-decoder\"", "\"containerd\"", "does not call"),
        ("path = \"/", "path = \"/nowhere/", "is no program"),
        (
            "-decoder\"]",
            "-decoder\", \"--keys\"]",
            "arguments are refused",
        ),
        (
            "-decoder\"]",
            "-decoder\", \"--socket\"]",
            "arguments are refused",
        ),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        let checks = checks_of(&[&bad], None);
        let check = check(&checks, &what);
        assert!(check.is_wrong() && check.found.contains(says), "{check:?}");
        let toml: Table = check.write.as_ref().unwrap().parse().unwrap();
        assert!(toml.contains_key("stream_processors"));
    }
    // A program that is not ours, as the peers' decoder is not.
    let own = std::env::current_exe().unwrap();
    let theirs = good.replace(own.to_str().unwrap(), "/bin/sh");
    let checks = checks_of(&[&theirs], None);
    assert!(check(&checks, &what).found.contains("not this program"));
}

#[test]
fn the_last_file_that_names_a_processor_counts() {
    let broken = format!("[stream_processors.{:?}]\npath = \"/bin/false\"\n", GZIP.0);
    let what = format!("stream processor {}", GZIP.0);
    assert!(check(&checks_of(&[&good(), &broken], None), &what).is_wrong());
    assert!(!check(&checks_of(&[&broken, &good()], None), &what).is_wrong());
}

#[test]
fn zstd_goes_to_the_id_that_gets_keys_and_is_decompressed() {
    let good = good();
    let without = good.replace(&format!(", {ZSTD:?}"), "");
    assert_ne!(without, good);
    let state = |text: &str| check(&checks_of(&[text], None), "layers of zstd").state;
    assert_eq!(state(&good), State::Ok);
    assert_eq!(state(&without), State::Note);
    let plain = format!("{:?}]\n  returns", format!("{}+encrypted", PLAIN.1));
    let to_plain = without.replace(&plain, &plain.replacen(']', &format!(", {ZSTD:?}]"), 1));
    assert_ne!(to_plain, without);
    assert_eq!(state(&to_plain), State::Wrong);
    let id = "io.containerd.ocicrypt.decoder.v1.tar.zstd";
    let own = format!("{without}[stream_processors.{id:?}]\naccepts = [{ZSTD:?}]\n");
    let checks = checks_of(&[&own], None);
    let check = check(&checks, &format!("stream processor {id}"));
    assert!(
        check.is_wrong() && check.found.contains("gets no keys"),
        "{check:?}"
    );
}

#[test]
fn the_key_model_is_looked_for_in_every_version() {
    for section in [
        "cri",
        "io.containerd.grpc.v1.cri",
        "io.containerd.cri.v1.images",
    ] {
        for (model, state) in [
            ("\"node\"", State::Ok),
            ("\"\"", State::Wrong),
            ("1", State::Wrong),
        ] {
            let text = format!("[plugins.\"{section}\".image_decryption]\nkey_model = {model}\n");
            let checks = checks_of(&[&text], None);
            assert_eq!(check(&checks, "key model").state, state, "{text}");
        }
    }
    assert_eq!(check(&checks_of(&[""], None), "key model").state, State::Ok);
}

#[test]
fn from_2_1_on_cri_has_to_pull_by_itself() {
    let pull = |texts: &[&str], version: Option<&str>| {
        check(&checks_of(texts, version), "who pulls images").state
    };
    let own = "[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n";
    let old = "[plugins.'io.containerd.grpc.v1.cri']\nuse_local_image_pull = true\n";
    let other = "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'overlayfs'\n";
    for version in ["1.6.20~ds1", "v1.7.24", "2.0.5"] {
        assert_eq!(pull(&[""], Some(version)), State::Ok);
    }
    for version in ["2.1.0", "v2.1.4", "v2.3.1-rc.0", "3.0.0"] {
        assert_eq!(pull(&[""], Some(version)), State::Wrong);
        // That member is not taken over from the section of version 2.
        assert_eq!(pull(&[old], Some(version)), State::Wrong);
        assert_eq!(pull(&[own], Some(version)), State::Ok);
        assert_eq!(pull(&[own, other], Some(version)), State::Wrong);
    }
    assert_eq!(pull(&[""], None), State::Note);
    assert_eq!(pull(&[own], None), State::Ok);
}

#[test]
fn folders_of_keys_and_providers_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("README"), "no key").unwrap();
    let args = format!(
        "-decoder\", \"--decryption-keys-path\", {:?}]",
        folder.path().to_str().unwrap()
    );
    let env = "\n  env = [\"OCICRYPT_KEYPROVIDER_CONFIG=/does/not/exist\"]\n";
    let text = good().replace("-decoder\"]", &format!("{args}{env}"));
    let checks = checks_of(&[&text], None);
    let wrong: Vec<&str> = checks
        .iter()
        .filter(|check| check.is_wrong())
        .map(|check| check.what.as_str())
        .collect();
    let shown = folder.path().display();
    let expected = [
        format!("folder of keys {shown}"),
        format!("key {shown}/README"),
        "key providers in /does/not/exist".to_owned(),
    ];
    assert_eq!(wrong, expected, "{checks:?}");
}
