//! The list on a disk, and what it is compared with.

use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;
use crate::gate::MountTable;

fn layer(name: &str, places: Option<&[&str]>) -> GatedLayer {
    GatedLayer {
        chain: Digest::of(name),
        config: Digest::of("config"),
        image: "medrec".parse().unwrap(),
        places: places.map(|places| places.iter().map(PathBuf::from).collect()),
    }
}

fn gated(layers: impl IntoIterator<Item = GatedLayer>) -> Gated {
    let mut gated = Gated::default();
    for layer in layers {
        assert!(gated.add(layer));
    }
    gated
}

fn under(gated: &Gated, mount: &str) -> Gatedness {
    let text =
        format!("1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 0:40 / /nowhere/rootfs rw - {mount}\n");
    let table = MountTable::parse(&text).unwrap();
    gated.chains_under(&table.beneath(Path::new("/nowhere/rootfs"), []))
}

const OVERLAY: &str = "overlay overlay rw,lowerdir=/s/12/fs:/s/11/fs,upperdir=/s/20/fs";

#[test]
fn what_is_written_is_read_and_replaced_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gated.json");
    assert_eq!(Gated::read(&path).unwrap(), Gated::default());
    let first = gated([layer("a", None), layer("b", Some(&["/s/12/fs"]))]);
    first.write(&path).unwrap();
    assert_eq!(Gated::read(&path).unwrap(), first);
    Gated::default().write(&path).unwrap();
    assert_eq!(Gated::read(&path).unwrap(), Gated::default());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_list_that_is_not_root_s_own_file_is_no_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gated.json");
    let other = folder.path().join("other.json");
    gated([layer("a", None)]).write(&other).unwrap();
    symlink(&other, &path).unwrap();
    assert!(matches!(
        Gated::read(&path),
        Err(GatedError::Unreadable { .. })
    ));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(Gated::read(&path).is_err());
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(Gated::read(&other).is_err());
}

#[test]
fn a_malformed_list_is_never_an_empty_one() {
    let text = serde_json::to_string(&layer("a", Some(&["/s/1/fs"]))).unwrap();
    let good = format!(r#"{{"version":1,"layers":[{text}]}}"#);
    assert!(Gated::parse(good.as_bytes()).is_ok());
    for bad in [
        String::new(),
        "{}".to_owned(),
        good.replace("\"version\":1", "\"version\":2"),
        good.replace("\"version\":1,", ""),
        good.replace("/s/1/fs", "s/1/fs"),
        good.replace("/s/1/fs", "/s/../fs"),
        good.replace("\"chain\"", "\"chains\""),
        good.replace("sha256:", "sha512:"),
        format!(r#"{{"version":1,"layers":[{text},{text}]}}"#),
        format!("{good}{good}"),
        good.replace("[{", "[{\"more\":1,"),
    ] {
        assert!(Gated::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn opened_layers_beneath_a_root_are_found() {
    let list = gated([
        layer("a", Some(&["/s/11/fs"])),
        layer("b", Some(&["/s/12/fs"])),
        layer("c", Some(&["/s/13/fs"])),
    ]);
    let Gatedness::Gated(mut chains) = under(&list, OVERLAY) else {
        panic!()
    };
    chains.sort();
    let mut expected = vec![Digest::of("a"), Digest::of("b")];
    expected.sort();
    assert_eq!(chains, expected);
    let elsewhere = gated([layer("c", Some(&["/s/13/fs"]))]);
    assert_eq!(under(&elsewhere, OVERLAY), Gatedness::NotGated);
}

#[test]
fn with_a_place_unknown_or_a_root_unclear_no_can_not_be_told() {
    let unknown = gated([layer("a", None), layer("b", Some(&["/s/12/fs"]))]);
    assert_eq!(
        under(&unknown, OVERLAY),
        Gatedness::Gated(vec![Digest::of("b")])
    );
    let unknown = gated([layer("a", None), layer("b", Some(&["/s/13/fs"]))]);
    assert_eq!(under(&unknown, OVERLAY), Gatedness::CannotTell);
    let known = gated([layer("b", Some(&["/s/13/fs"]))]);
    assert_eq!(under(&known, "tmpfs tmpfs rw"), Gatedness::CannotTell);
    // Where nothing was opened nothing can be gated.
    assert_eq!(
        under(&Gated::default(), "tmpfs tmpfs rw"),
        Gatedness::NotGated
    );
    let nowhere = gated([layer("a", Some(&[]))]);
    assert_eq!(under(&nowhere, OVERLAY), Gatedness::NotGated);
}

/// A pull that failed after its key came.
#[test]
fn what_lies_nowhere_keeps_nobody_waiting() {
    let gated = gated([layer("a", Some(&[]))]);
    assert_eq!(under(&gated, OVERLAY), Gatedness::NotGated);
}

#[test]
fn what_is_known_already_is_not_new() {
    let mut list = gated([layer("a", None)]);
    assert!(!list.add(layer("a", None)));
    assert!(list.add(layer("a", Some(&["/s/1/fs"]))));
    assert!(
        !list.add(layer("a", None)),
        "what is known is not forgotten"
    );
    assert_eq!(list.layers(), [layer("a", Some(&["/s/1/fs"]))]);
    assert!(!list.set_places(Digest::of("a"), &["/s/1/fs".into()]));
    assert!(list.set_places(Digest::of("a"), &["/s/2/fs".into()]));
    list.retain(|_| false);
    assert_eq!(list, Gated::default());
}

proptest! {
    #[test]
    fn hostile_lists_are_errors(bytes: Vec<u8>, text in "[\\[\\]{}:,\"a-z0-9]{0,120}") {
        prop_assert!(Gated::parse(&bytes).is_err());
        prop_assert!(Gated::parse(text.as_bytes()).is_err());
    }
}
