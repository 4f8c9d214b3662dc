//! Hostile and foreign tar files.

use std::io::{Cursor, Write};

use proptest::prelude::*;

use super::*;

/// One entry of any kind, its checksum right.
fn entry(name: &str, kind: u8, bytes: &[u8]) -> Vec<u8> {
    linked(name, kind, "", bytes)
}

fn linked(name: &str, kind: u8, link: &str, bytes: &[u8]) -> Vec<u8> {
    let mut block = file_header(name, bytes.len() as u64);
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    sum(&mut block);
    let mut all = block.to_vec();
    all.extend_from_slice(bytes);
    all.resize(all.len() + padding(bytes.len() as u64) as usize, 0);
    all
}

fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    block[148..156].copy_from_slice(text.as_bytes());
}

fn read(entries: &[Vec<u8>]) -> Result<TarIndex, TarError> {
    let mut bytes = entries.concat();
    bytes.write_all(&end_of_archive()).unwrap();
    TarIndex::read(&mut Cursor::new(bytes))
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in records {
        let body = format!(" {name}={value}\n");
        let mut length = body.len() + 1;
        while length != length.to_string().len() + body.len() {
            length += 1;
        }
        text += &format!("{length}{body}");
    }
    text.into_bytes()
}

#[test]
fn files_are_found_where_they_lie() {
    let index = read(&[
        entry("./", b'5', b""),
        entry("./a/", b'5', b""),
        entry("./a/b", b'0', b"12345"),
        entry("empty", 0, b""),
        entry("old/", 0, b""),
        linked("a/link", b'2', "../a/b", b""),
    ])
    .unwrap();
    let found = Extent {
        offset: 3 * BLOCK,
        size: 5,
    };
    assert_eq!(index.file("a/b"), Some(found));
    assert_eq!(index.file("empty").unwrap().size, 0);
    assert_eq!(index.entry("old"), Some(&Entry::Directory));
    assert_eq!(index.entry("a/link"), Some(&Entry::Link("a/b".to_owned())));
    assert_eq!(index.file("a/link"), None);
}

#[test]
fn long_names_and_sizes_are_read() {
    let long = "n/".repeat(200) + "x";
    let extended = pax(&[("mtime", "1.5"), ("path", &long), ("size", "3")]);
    let index = read(&[
        entry("", b'g', &pax(&[("comment", "x")])),
        entry("", b'x', &extended),
        entry("short", b'0', b"123"),
        entry("", b'L', format!("{long}y\0").as_bytes()),
        entry("short", b'0', b"12"),
    ])
    .unwrap();
    assert_eq!(index.file(&long).unwrap().size, 3);
    assert_eq!(index.file(&format!("{long}y")).unwrap().size, 2);

    let mut split = entry("name", b'0', b"");
    split[345..351].copy_from_slice(b"prefix");
    sum(&mut split);
    assert!(read(&[split]).unwrap().file("prefix/name").is_some());
}

#[test]
fn large_sizes_are_written_so_that_they_are_read() {
    for size in [0, 1, 0o777_7777_7777, 0o1_0000_0000_0000, u64::MAX / 4] {
        let header = Header::parse(&file_header("x", size)).unwrap().unwrap();
        assert_eq!(header.size, size);
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [
        "/etc/passwd",
        "../x",
        "a/../x",
        "a//b",
        "a/./b",
        "",
        ".",
        "..",
        "a/",
    ] {
        assert!(read(&[entry(name, b'0', b"")]).is_err(), "{name}");
    }
    for target in ["/etc/passwd", "../../x", "", "../a//b"] {
        let link = linked("a/l", b'2', target, b"");
        assert!(read(&[link]).is_err(), "{target}");
    }
}

#[test]
fn what_readers_disagree_about_is_refused() {
    let file = |bytes: &[u8]| entry("a", b'0', bytes);
    let twice = pax(&[("path", "b"), ("path", "c")]);
    let holes = pax(&[("GNU.sparse.major", "1")]);
    for (what, entries) in [
        ("a doubled name", vec![file(b"1"), file(b"1")]),
        (
            "one name, two spellings",
            vec![file(b"1"), entry("./a", b'0', b"2")],
        ),
        (
            "file and directory",
            vec![file(b"1"), entry("a", b'5', b"")],
        ),
        ("a hard link", vec![file(b"1"), linked("b", b'1', "a", b"")]),
        ("a device", vec![entry("a", b'3', b"")]),
        ("a pipe", vec![entry("a", b'6', b"")]),
        ("holes", vec![entry("a", b'S', b"")]),
        (
            "holes in a header",
            vec![entry("", b'x', &holes), file(b"")],
        ),
        ("a directory with bytes", vec![entry("d", b'5', b"x")]),
        ("a link with bytes", vec![linked("d", b'2', "a", b"x")]),
        ("two names", vec![entry("", b'x', &twice), file(b"")]),
        (
            "two headers",
            vec![
                entry("", b'x', &pax(&[("path", "b")])),
                entry("", b'L', b"c"),
                file(b""),
            ],
        ),
        (
            "a name for all",
            vec![entry("", b'g', &pax(&[("path", "b")])), file(b"")],
        ),
        ("a header for nothing", vec![entry("", b'L', b"c")]),
        (
            "a size that is none",
            vec![entry("", b'x', &pax(&[("size", "-1")])), file(b"")],
        ),
        (
            "a broken header",
            vec![entry("", b'x', b"99 path=b\n"), file(b"")],
        ),
        (
            "a name that is no text",
            vec![entry("", b'L', b"\xff"), file(b"")],
        ),
    ] {
        assert!(read(&entries).is_err(), "{what}");
    }
}

#[test]
fn sizes_beyond_the_file_are_refused() {
    for size in ["2000", "18446744073709551615", "18446744073709551616"] {
        let extended = entry("", b'x', &pax(&[("size", size)]));
        assert!(read(&[extended, entry("a", b'0', b"x")]).is_err(), "{size}");
    }
    for size in [2_000, u64::MAX, u64::MAX - 1023] {
        let header = file_header("a", size).to_vec();
        assert!(read(&[header]).is_err(), "{size}");
    }
    let mut negative = file_header("a", 0);
    negative[124..136].fill(0xff);
    sum(&mut negative);
    assert!(read(&[negative.to_vec()]).is_err());
}

#[test]
fn cut_and_damaged_archives_are_refused() {
    let whole = [entry("a", b'0', &[7; 700]), end_of_archive().to_vec()].concat();
    assert!(TarIndex::read(&mut Cursor::new(&whole)).is_ok());
    for length in [0, 1, 511, 512, 1000, 1536] {
        assert!(
            TarIndex::read(&mut Cursor::new(&whole[..length])).is_err(),
            "{length}"
        );
    }
    for at in [0, 100, 124, 148, 156, 257, 511] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x11;
        assert!(TarIndex::read(&mut Cursor::new(damaged)).is_err(), "{at}");
    }
    assert!(TarIndex::read(&mut Cursor::new(b"\x1f\x8b not a tar".repeat(100))).is_err());
}

#[test]
fn too_many_entries_are_refused() {
    let entries: Vec<_> = (0..=ENTRY_LIMIT)
        .map(|number| entry(&number.to_string(), b'0', b""))
        .collect();
    assert!(read(&entries).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = TarIndex::read(&mut Cursor::new(bytes));
    }

    #[test]
    fn nothing_found_lies_outside(
        entries in proptest::collection::vec(
            ("[a./\0é]{0,8}", prop_oneof![Just(b'0'), any::<u8>()], "[a./]{0,8}", 0_usize..600, any::<u64>(), any::<bool>()),
            0..8,
        ),
        cut in 0_usize..4096,
    ) {
        let mut bytes = Vec::new();
        for (name, kind, link, length, size, lies) in entries {
            let mut one = linked(&name, kind, &link, &vec![b'x'; length]);
            if lies {
                one[..512].copy_from_slice(&file_header(&name, size));
            }
            bytes.extend(one);
        }
        bytes.extend(end_of_archive());
        bytes.truncate(bytes.len().saturating_sub(cut / 8));
        if let Ok(index) = TarIndex::read(&mut Cursor::new(&bytes)) {
            for (name, entry) in index.entries() {
                prop_assert!(!name.starts_with('/') && !name.split('/').any(|part| matches!(part, "" | "." | "..")));
                match entry {
                    Entry::File(extent) => prop_assert!(extent.offset + extent.size <= bytes.len() as u64),
                    Entry::Link(target) => prop_assert!(!target.starts_with('/') && !target.contains("..")),
                    Entry::Directory => {}
                }
            }
        }
    }

    #[test]
    fn no_extended_header_panics(text in "([0-9]{1,4} (path|size|linkpath|GNU.sparse.x)=[ -~é]{0,9}\n?){0,3}") {
        let _ = pax::apply(text.as_bytes(), &mut Extension::default());
    }
}
