//! Layouts: written whole or not at all, and read without trust.

use std::fs;
use std::path::Path;

use images::{BlobId, Kind, RawManifest, media};
use registry::{LayoutTarget, Options, Reference, RegistryError, open_source, open_target};

fn reference(directory: &Path, tag: &str) -> Reference {
    format!("oci:{}{tag}", directory.display()).parse().unwrap()
}

fn manifest(text: &str) -> RawManifest {
    RawManifest {
        media_type: media::OCI_MANIFEST.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn write(directory: &Path, tag: &str, blob: &[u8], text: &str) {
    let target = open_target(&reference(directory, tag), &Options::default()).unwrap();
    let mut writer = target.write_blob().unwrap();
    writer.write(blob).unwrap();
    writer.finish(&BlobId::of(blob).digest).unwrap();
    target.publish(&manifest(text)).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_written_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("a/b");
    write(&directory, ":one", b"blob", "1");
    write(&directory, ":two", b"blob", "2");
    assert_eq!(names(&directory), ["blobs", "index.json", "oci-layout"]);
    for (tag, text) in [(":one", "1"), (":two", "2")] {
        let source = open_source(&reference(&directory, tag), &Options::default()).unwrap();
        assert_eq!(source.root().unwrap(), manifest(text));
        let mut buffer = [0; 16];
        let mut reader = source.blob(&BlobId::of(b"blob")).unwrap();
        assert_eq!(reader.read(&mut buffer).unwrap(), 4);
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    }
    assert!(matches!(
        open_source(&reference(&directory, ""), &Options::default()),
        Err(RegistryError::NotOneImage)
    ));
}

#[test]
fn what_is_not_published_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("new");
    let target = open_target(&reference(&directory, ":x"), &Options::default()).unwrap();
    let mut writer = target.write_blob().unwrap();
    writer.write(b"half").unwrap();
    drop(writer);
    let mut writer = target.write_blob().unwrap();
    writer.write(b"whole").unwrap();
    writer.finish(&BlobId::of(b"whole").digest).unwrap();
    target.write_manifest(&manifest("1")).unwrap();
    drop(target);
    assert!(!directory.exists());

    write(&directory, ":x", b"kept", "1");
    let before = fs::read(directory.join("index.json")).unwrap();
    let target = open_target(&reference(&directory, ":x"), &Options::default()).unwrap();
    let mut writer = target.write_blob().unwrap();
    writer.write(b"whole").unwrap();
    writer.finish(&BlobId::of(b"whole").digest).unwrap();
    drop(target);
    assert_eq!(names(&directory), ["blobs", "index.json", "oci-layout"]);
    assert_eq!(fs::read(directory.join("index.json")).unwrap(), before);
    assert_eq!(names(&directory.join("blobs/sha256")).len(), 2);
}

#[test]
fn what_a_killed_process_left_is_swept() {
    let root = tempfile::tempdir().unwrap();
    let left = root.path().join(".bailiwick-staging-1-0");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("0"), "plain").unwrap();
    write(root.path(), ":x", b"blob", "1");
    assert_eq!(names(root.path()), ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn two_writers_do_not_sweep_each_other() {
    let root = tempfile::tempdir().unwrap();
    let first = open_target(&reference(root.path(), ":one"), &Options::default()).unwrap();
    let mut writer = first.write_blob().unwrap();
    writer.write(b"first").unwrap();
    write(root.path(), ":two", b"second", "2");
    writer.finish(&BlobId::of(b"first").digest).unwrap();
    first.publish(&manifest("1")).unwrap();
    for tag in [":one", ":two"] {
        open_source(&reference(root.path(), tag), &Options::default()).unwrap();
    }
}

#[test]
fn other_directories_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("letter.txt"), "dear").unwrap();
    let Reference::Layout(layout) = reference(root.path(), "") else {
        panic!()
    };
    assert!(matches!(
        LayoutTarget::open(&layout),
        Err(RegistryError::NotALayout(_))
    ));
    assert!(matches!(
        open_source(&Reference::Layout(layout), &Options::default()),
        Err(RegistryError::NotALayout(_))
    ));
    assert_eq!(names(root.path()), ["letter.txt"]);
    let missing = reference(&root.path().join("missing"), "");
    assert_eq!(
        open_source(&missing, &Options::default())
            .err()
            .unwrap()
            .kind(),
        Kind::Usage
    );
}

#[test]
fn hostile_layouts_are_refused() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), ":x", b"blob", "1");
    let blobs = root.path().join("blobs/sha256");
    let blob = blobs.join(BlobId::of(b"blob").digest.to_hex());
    let root_manifest = blobs.join(manifest("1").id().digest.to_hex());
    let open = || open_source(&reference(root.path(), ":x"), &Options::default());
    let read = || open().unwrap().blob(&BlobId::of(b"blob")).map(drop);

    fs::write(&blob, b"longer").unwrap();
    assert_eq!(read().unwrap_err().kind(), Kind::VerificationFailed);

    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &blob).unwrap();
    assert!(read().is_err());

    fs::remove_file(&blob).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &blob,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert!(read().is_err(), "a pipe would never answer");

    fs::write(&root_manifest, "2").unwrap();
    assert_eq!(open().err().unwrap().kind(), Kind::VerificationFailed);

    fs::write(root.path().join("index.json"), vec![b' '; 5_000_000]).unwrap();
    assert!(matches!(open(), Err(RegistryError::OddFile(_))));
    fs::write(
        root.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"2.0.0"}"#,
    )
    .unwrap();
    assert!(matches!(open(), Err(RegistryError::NotALayout(_))));
}

#[test]
fn a_blob_that_changes_while_it_is_read_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), ":x", &[7; 1000], "1");
    let source = open_source(&reference(root.path(), ":x"), &Options::default()).unwrap();
    let id = BlobId::of(&[7; 1000]);
    let mut reader = source.blob(&id).unwrap();
    let mut buffer = [0; 100];
    reader.read(&mut buffer).unwrap();
    let path = root.path().join("blobs/sha256").join(id.digest.to_hex());
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    assert!(reader.read(&mut buffer).is_err());
}
