//! Archives: written whole or not at all, read where they lie, and never unpacked.

use std::fs;
use std::path::Path;
use std::process::Command;

use images::{BlobId, ImageSource, Kind, RawManifest, media};
use registry::{Options, Reference, RegistryError, open_source, open_target};

pub(crate) fn open(text: &str) -> Result<Box<dyn ImageSource>, RegistryError> {
    open_source(&text.parse().unwrap(), &Options::default())
}

fn manifest(text: &str) -> RawManifest {
    RawManifest {
        media_type: media::OCI_MANIFEST.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn write(file: &Path, tag: &str, blob: &[u8], text: &str) {
    let reference: Reference = format!("oci-archive:{}{tag}", file.display())
        .parse()
        .unwrap();
    let target = open_target(&reference, &Options::default()).unwrap();
    assert!(!target.holds(&BlobId::of(blob)).unwrap());
    let mut writer = target.write_blob().unwrap();
    writer.write(blob).unwrap();
    writer.finish(&BlobId::of(blob).digest).unwrap();
    assert!(target.holds(&BlobId::of(blob)).unwrap());
    target.publish(&manifest(text)).unwrap();
}

pub(crate) fn blob(source: &dyn ImageSource, id: &BlobId) -> Vec<u8> {
    let mut reader = source.blob(id).unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 7]);
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => return all,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn tar(directory: &Path, file: &Path, names: &[&str]) {
    let mut command = Command::new("tar");
    command.args([
        "-C".as_ref(),
        directory.as_os_str(),
        "-cf".as_ref(),
        file.as_os_str(),
    ]);
    assert!(command.args(names).status().unwrap().success());
}

#[test]
fn what_is_written_comes_back_and_other_images_stay() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a.tar");
    write(&file, ":one", b"blob one", "1");
    write(&file, ":two", &[2; 1024], "2");
    write(&file, ":two", &[3; 1025], "3");
    assert_eq!(names(root.path()), ["a.tar"]);
    for (tag, text, bytes) in [
        ("one", "1", b"blob one".to_vec()),
        ("two", "3", vec![3; 1025]),
    ] {
        let source = open(&format!("oci-archive:{}:{tag}", file.display())).unwrap();
        assert_eq!(source.root().unwrap(), manifest(text));
        assert_eq!(
            source.manifest(&manifest(text).id()).unwrap().bytes,
            text.as_bytes()
        );
        assert_eq!(blob(&*source, &BlobId::of(&bytes)), bytes);
    }
    let unnamed = open(&format!("oci-archive:{}", file.display()));
    assert!(matches!(unnamed, Err(RegistryError::NotOneImage)));
}

/// What was replaced may be the plain form of what is encrypted now, and the other images are no reason to keep it.
#[test]
fn what_only_a_replaced_image_led_to_goes_though_other_images_stay() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a.tar");
    let with = |blob: &[u8], subject: &str| {
        let BlobId { digest, size } = BlobId::of(blob);
        let layers = format!(r#"[{{"digest":"{digest}","size":{size}}}]"#);
        format!(r#"{{"layers":{layers}{subject}}}"#)
    };
    let plain = with(b"plain bytes of one", "");
    write(&file, ":one", b"plain bytes of one", &plain);
    let speaks_of_it = format!(
        r#","subject":{{"digest":"{}"}}"#,
        manifest(&plain).id().digest
    );
    write(
        &file,
        ":two",
        b"bytes of two",
        &with(b"bytes of two", &speaks_of_it),
    );
    let holds = |wanted: &[u8]| {
        let bytes = fs::read(&file).unwrap();
        bytes.windows(wanted.len()).any(|part| part == wanted)
    };
    assert!(holds(b"plain bytes of one"));
    write(&file, ":one", b"sealed", &with(b"sealed", ""));
    assert!(!holds(b"plain bytes of one"));
    assert!(holds(b"bytes of two") && holds(b"sealed"));
    open(&format!("oci-archive:{}:two", file.display())).unwrap();
}

#[test]
fn the_only_image_of_an_archive_is_replaced_with_all_it_had() {
    let root = tempfile::tempdir().unwrap();
    let (file, again) = (root.path().join("a.tar"), root.path().join("b.tar"));
    write(&file, "", &[1; 100_000], "1");
    write(&file, "", b"small", "2");
    write(&again, "", b"small", "2");
    // The same image makes the same bytes.
    assert_eq!(fs::read(&file).unwrap(), fs::read(&again).unwrap());
}

#[test]
fn what_is_not_published_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a.tar");
    let reference: Reference = format!("oci-archive:{}", file.display()).parse().unwrap();
    let target = open_target(&reference, &Options::default()).unwrap();
    let mut writer = target.write_blob().unwrap();
    writer.write(b"half").unwrap();
    drop(writer);
    target.write_manifest(&manifest("1")).unwrap();
    drop(target);
    assert!(names(root.path()).is_empty());
}

#[test]
fn other_files_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("letter.txt");
    fs::write(&file, "dear".repeat(1000)).unwrap();
    let reference: Reference = format!("oci-archive:{}", file.display()).parse().unwrap();
    assert!(open_target(&reference, &Options::default()).is_err());
    assert!(open_source(&reference, &Options::default()).is_err());
    let docker: Reference = format!("docker-archive:{}", file.display())
        .parse()
        .unwrap();
    let error = open_target(&docker, &Options::default()).err().unwrap();
    assert_eq!(error.kind(), Kind::Usage);
    let missing = format!("oci-archive:{}", root.path().join("missing").display());
    assert_eq!(open(&missing).err().unwrap().kind(), Kind::Usage);
    assert_eq!(names(root.path()), ["letter.txt"]);
}

#[test]
fn tars_of_other_tools_are_read_and_ours_by_them() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a.tar");
    write(&file, ":x", b"blob", "1");
    let there = root.path().join("unpacked");
    fs::create_dir(&there).unwrap();
    let done = Command::new("tar")
        .arg("-C")
        .arg(&there)
        .arg("-xf")
        .arg(&file)
        .status();
    assert!(done.unwrap().success());
    let layout = format!("oci:{}:x", there.display());
    assert_eq!(open(&layout).unwrap().root().unwrap(), manifest("1"));
    for format in ["--format=gnu", "--format=pax", "--format=ustar"] {
        let again = root.path().join("again.tar");
        tar(&there, &again, &[format, "."]);
        let source = open(&format!("oci-archive:{}:x", again.display())).unwrap();
        assert_eq!(blob(&*source, &BlobId::of(b"blob")), b"blob", "{format}");
    }
}

/// What `docker save` writes: one layer plain, one packed, one as a link to the first.
fn docker_save(directory: &Path, list: &str) -> String {
    let plain = BlobId::of(b"plain layer");
    let config = format!(
        r#"{{"os":"linux","rootfs":{{"type":"layers","diff_ids":["{}","{}","{}"]}}}}"#,
        plain.digest,
        BlobId::of(b"whatever").digest,
        plain.digest
    );
    fs::create_dir_all(directory.join("a")).unwrap();
    fs::create_dir_all(directory.join("b")).unwrap();
    fs::write(directory.join("config.json"), config).unwrap();
    fs::write(directory.join("a/layer.tar"), b"plain layer").unwrap();
    fs::write(directory.join("packed.tar"), PACKED).unwrap();
    std::os::unix::fs::symlink("../a/layer.tar", directory.join("b/layer.tar")).unwrap();
    fs::write(directory.join("manifest.json"), list).unwrap();
    let file = directory.join("saved");
    tar(
        directory,
        &file,
        &["config.json", "a", "b", "packed.tar", "manifest.json"],
    );
    format!("docker-archive:{}", file.display())
}

const PACKED: &[u8] = b"\x1f\x8b packed layer";
const LIST: &str = r#"[{"Config":"config.json","RepoTags":["app:1"],"Layers":["a/layer.tar","packed.tar","b/layer.tar"]}]"#;

#[test]
fn what_docker_saved_reads_as_an_oci_image() {
    let root = tempfile::tempdir().unwrap();
    let name = docker_save(root.path(), LIST);
    let source = open(&name).unwrap();
    let RawManifest { media_type, bytes } = source.root().unwrap();
    assert_eq!(media_type, media::OCI_MANIFEST);
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    for (layer, (kind, content)) in layers.iter().zip([
        ("tar", b"plain layer".as_slice()),
        ("tar+gzip", PACKED),
        ("tar", b"plain layer"),
    ]) {
        let id = BlobId::of(content);
        assert_eq!(
            layer["mediaType"],
            format!("application/vnd.oci.image.layer.v1.{kind}")
        );
        assert_eq!(layer["digest"], id.digest.to_string());
        assert_eq!(layer["size"], id.size);
        assert_eq!(blob(&*source, &id), content);
    }
    let config = fs::read(root.path().join("config.json")).unwrap();
    assert_eq!(
        manifest["config"]["digest"],
        BlobId::of(&config).digest.to_string()
    );
    assert_eq!(blob(&*source, &BlobId::of(&config)), config);
    assert!(open(&format!("{name}:app:1")).is_ok());
    assert!(matches!(
        open(&format!("{name}:app:2")),
        Err(RegistryError::NoSuchImage(_))
    ));
}

#[test]
fn lists_that_name_what_is_not_there_are_refused() {
    for list in [
        "[]",
        "{}",
        r#"[{"Config":"config.json"}]"#,
        r#"[{"Config":"/etc/passwd","Layers":[]}]"#,
        r#"[{"Config":"config.json","Layers":["../a","packed.tar","a/layer.tar"]}]"#,
        r#"[{"Config":"config.json","Layers":["a","packed.tar","a/layer.tar"]}]"#,
        r#"[{"Config":"config.json","Layers":["a/layer.tar"]}]"#,
        r#"[{"Config":"manifest.json","Layers":[]}]"#,
        r#"[{"Config":"config.json","Config":"x","Layers":[]}]"#,
        r#"[{"Config":"config.json","config":"x","Layers":[]}]"#,
        &format!("[{0},{0}]", &LIST[1..LIST.len() - 1]),
    ] {
        let root = tempfile::tempdir().unwrap();
        assert!(open(&docker_save(root.path(), list)).is_err(), "{list}");
    }
}
