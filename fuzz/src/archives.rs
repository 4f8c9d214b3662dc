//! Layouts in a directory, and archives of both kinds.
//!
//! A first byte chooses. For a layout, the parts of the input are `index.json` and blobs; for an archive, each is an entry:
//! a kind, a name and its content, or a raw header. `%N` and `#N` stand for digest and size of part N.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

use images::{BlobId, ImageSource};
use registry::{ArchiveSource, DockerArchiveSource, LayoutSource, Reference};
use tempfile::TempDir;

use crate::go::Object;
use crate::{chosen, parts};

static PLACE: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a place for files"));

/// Tries one layout or archive; says whether an image lies in it.
pub fn check(input: &[u8]) -> bool {
    let Some((choice, rest)) = chosen(input) else {
        return false;
    };
    let parts: Vec<Vec<u8>> = filled(&parts(rest));
    match choice % 3 {
        0 => layout(&parts),
        1 => oci_archive(&tar(&parts)),
        _ => docker_archive(&tar(&parts)),
    }
}

fn layout(parts: &[Vec<u8>]) -> bool {
    let mut opened = false;
    let directory = PLACE.path().join("layout");
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    fs::write(directory.join("oci-layout"), MARKER).expect("a file");
    let index = parts.first().cloned().unwrap_or_default();
    fs::write(directory.join("index.json"), &index).expect("a file");
    let names: Vec<_> = parts
        .iter()
        .skip(1)
        .map(|blob| blobs.join(hex_of(blob)))
        .collect();
    names
        .iter()
        .zip(&parts[1..])
        .for_each(|(name, blob)| fs::write(name, blob).expect("a file"));
    for tag in [None, Some("a")] {
        let Some(Reference::Layout(reference)) = reference("oci", &directory, tag) else {
            unreachable!()
        };
        if let Ok(source) = LayoutSource::open(&reference) {
            means_the_same_in_go(&index, tag, &source);
            opened |= reads_what_it_names(&source, parts);
        }
    }
    names.iter().for_each(|name| drop(fs::remove_file(name)));
    opened
}

fn oci_archive(bytes: &[u8]) -> bool {
    let mut opened = false;
    let path = written(bytes);
    for tag in [None, Some("a")] {
        let Some(Reference::Archive(reference)) = reference("oci-archive", &path, tag) else {
            unreachable!()
        };
        if let Ok(source) = ArchiveSource::open(&reference) {
            opened |= reads_what_it_names(&source, &[bytes.to_vec()]);
        }
    }
    opened
}

fn docker_archive(bytes: &[u8]) -> bool {
    let mut opened = false;
    let path = written(bytes);
    for tag in [None, Some("a")] {
        let Some(Reference::DockerArchive(reference)) = reference("docker-archive", &path, tag)
        else {
            unreachable!()
        };
        let Ok(source) = DockerArchiveSource::open(&reference) else {
            continue;
        };
        // The manifest is made here: it is whole, and each blob that it names lies in the archive.
        let root = source.root().expect("it was opened");
        let manifest = Object::of(std::str::from_utf8(&root.bytes).expect("it was made here"));
        let layers = manifest.objects("layers");
        for named in layers.iter().chain([&manifest.object("config")]) {
            let id = BlobId {
                digest: named.text("digest").parse().expect("a digest"),
                size: named.value("size").as_u64().expect("a size"),
            };
            is_in(&source, &id, &[bytes.to_vec()]);
        }
        opened = true;
    }
    opened
}

/// Go finds the image under the same name.
fn means_the_same_in_go(index: &[u8], tag: Option<&str>, source: &dyn ImageSource) {
    let index = Object::of(std::str::from_utf8(index).expect("JSON is UTF-8"));
    let entries = index.objects("manifests");
    let named = |entry: &&Object| {
        let names = entry.object("annotations").texts();
        tag.is_none()
            || names
                .iter()
                .any(|(name, value)| name == REF_NAME && Some(value.as_str()) == tag)
    };
    let found: Vec<_> = entries.iter().filter(named).collect();
    assert_eq!(found.len(), 1, "one name, one image");
    let root = source.root().expect("it was opened");
    assert_eq!(found[0].text("digest"), root.id().digest.to_string());
    assert_eq!(found[0].text("mediaType"), root.media_type);
}

/// Nothing comes out that did not lie inside.
fn reads_what_it_names(source: &dyn ImageSource, inside: &[Vec<u8>]) -> bool {
    let root = source.root().expect("it was opened");
    assert!(lies_in(&root.bytes, inside), "a manifest from elsewhere");
    let report = images::inspect(source, &[]);
    for image in report.iter().flat_map(|report| &report.images) {
        for layer in &image.layers {
            is_in(
                source,
                &BlobId {
                    digest: layer.digest,
                    size: layer.size,
                },
                inside,
            );
        }
    }
    report.is_ok()
}

fn is_in(source: &dyn ImageSource, id: &BlobId, inside: &[Vec<u8>]) {
    let Ok(mut reader) = source.blob(id) else {
        return;
    };
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 4096]);
    while let Ok(count) = reader.read(&mut buffer) {
        if count == 0 {
            assert_eq!(bytes.len() as u64, id.size, "a blob of another size");
            break;
        }
        bytes.extend_from_slice(&buffer[..count]);
        assert!(bytes.len() as u64 <= id.size, "a blob of another size");
    }
    assert!(lies_in(&bytes, inside), "a blob from elsewhere");
}

fn lies_in(bytes: &[u8], inside: &[Vec<u8>]) -> bool {
    bytes.is_empty()
        || inside
            .iter()
            .any(|part| part.windows(bytes.len()).any(|window| window == bytes))
}

/// An archive of the parts. The first line of each is its name behind a letter for its kind; `!` says that what follows is a
/// header as it stands, whose checksum is put right.
fn tar(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = Vec::new();
    for part in parts {
        let split = part
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(part.len());
        let (line, content) = (&part[..split], part.get(split + 1..).unwrap_or_default());
        let (kind, name) = line
            .split_first()
            .map_or((b'0', line), |(kind, name)| (*kind, name));
        let mut header = [0; 512];
        let content = if kind == b'!' {
            let length = content.len().min(512);
            header[..length].copy_from_slice(&content[..length]);
            &content[length..]
        } else {
            // A link's target stands behind its name.
            let mut names = name.splitn(2, |byte| *byte == b'>');
            put(&mut header, 0, 100, names.next().unwrap_or_default());
            put(&mut header, 100, 8, b"0000644\0");
            put(
                &mut header,
                124,
                12,
                format!("{:011o}\0", content.len()).as_bytes(),
            );
            header[156] = kind;
            put(&mut header, 157, 100, names.next().unwrap_or_default());
            put(&mut header, 257, 8, b"ustar\x0000");
            content
        };
        put(&mut header, 148, 8, b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148, 8, format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn put(header: &mut [u8; 512], at: usize, room: usize, bytes: &[u8]) {
    let length = bytes.len().min(room);
    header[at..at + length].copy_from_slice(&bytes[..length]);
}

/// The parts with digests and sizes of later ones in place. An entry's own bytes begin behind its name.
fn filled(parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut filled: Vec<Vec<u8>> = parts.iter().take(8).map(|part| part.to_vec()).collect();
    for place in (1..filled.len()).rev() {
        let of_blob = content(&filled[place]).to_vec();
        let (digest, size) = (hex_of(&of_blob), of_blob.len().to_string());
        for earlier in filled.iter_mut().take(place) {
            *earlier = crate::manifests::replaced(earlier, &format!("%{}", place + 1), &digest);
            *earlier = crate::manifests::replaced(earlier, &format!("#{}", place + 1), &size);
        }
        let own = crate::manifests::replaced(&filled[place], "%0", &digest);
        filled[place] = own;
    }
    filled
}

/// What a part holds besides its name, if it begins as an entry of an archive does.
fn content(part: &[u8]) -> &[u8] {
    let is_entry = part.first().is_some_and(u8::is_ascii_digit);
    match part.iter().position(|byte| *byte == b'\n') {
        Some(end) if is_entry => &part[end + 1..],
        _ => part,
    }
}

fn written(bytes: &[u8]) -> std::path::PathBuf {
    let path = PLACE.path().join("archive.tar");
    let mut file = fs::File::create(&path).expect("a file");
    file.write_all(bytes).expect("a file");
    path
}

fn reference(transport: &str, path: &Path, tag: Option<&str>) -> Option<Reference> {
    let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("{transport}:{}{tag}", path.display()).parse().ok()
}

fn hex_of(bytes: &[u8]) -> String {
    estate::Digest::of(bytes).to_hex()
}

const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
