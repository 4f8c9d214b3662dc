//! Mount tables as kernels show them.

use proptest::prelude::*;

use super::*;

const SNAPSHOTS: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";

fn place(number: u32) -> PathBuf {
    PathBuf::from(format!("{SNAPSHOTS}/{number}/fs"))
}

/// A machine with one disk, the root of a container of layers 12 and 11, and what is added.
fn table(more: &str) -> MountTable {
    let text = format!(
        "1 0 254:1 / / rw - ext4 /dev/vda1 rw\n\
         2 1 0:40 / /nowhere/app/rootfs rw - overlay overlay rw,lowerdir={SNAPSHOTS}/12/fs:{SNAPSHOTS}/11/fs,upperdir={SNAPSHOTS}/20/fs,workdir={SNAPSHOTS}/20/work\n{more}"
    );
    MountTable::parse(&text).unwrap()
}

fn root() -> &'static Path {
    Path::new("/nowhere/app/rootfs")
}

#[test]
fn the_layers_of_the_root_lie_beneath_and_others_do_not() {
    let table = table("");
    let beneath = table.beneath(root(), []);
    assert!(beneath.holds(&place(12)) && beneath.holds(&place(11)) && beneath.holds(&place(20)));
    assert!(!beneath.holds(&place(1)) && !beneath.holds(&place(13)));
    assert!(!beneath.is_unclear() && !beneath.mounts_layers());
}

#[test]
fn a_root_that_is_no_overlay_may_be_a_copy() {
    let table = table("");
    assert!(table.beneath(Path::new("/nowhere/plain"), []).is_unclear());
    let table = MountTable::parse("").unwrap();
    assert!(table.beneath(root(), []).is_unclear());
}

/// An image volume of one layer is a bind mount of its folder, of more an overlay without an upper one.
#[test]
fn what_is_mounted_into_the_container_counts_like_its_root() {
    let more = format!(
        "3 1 254:1 {SNAPSHOTS}/30/fs /nowhere/volumes/one ro - ext4 /dev/vda1 rw\n\
         4 1 0:41 / /nowhere/volumes/two ro - overlay overlay ro,lowerdir={SNAPSHOTS}/41/fs:{SNAPSHOTS}/40/fs\n"
    );
    let table = table(&more);
    for (source, number) in [
        ("/nowhere/volumes/one", 30),
        ("/nowhere/volumes/one/sub/folder", 30),
        ("/nowhere/volumes/two", 41),
        ("/nowhere/volumes/two/sub/folder", 40),
    ] {
        let beneath = table.beneath(root(), [Path::new(source)]);
        assert!(beneath.holds(&place(number)), "{source}");
        assert!(beneath.mounts_layers() && !beneath.is_unclear(), "{source}");
        assert!(!beneath.holds(&place(50)), "{source}");
    }
    let direct = place(30).join("sub");
    assert!(table.beneath(root(), [direct.as_path()]).holds(&place(30)));
    let data = table.beneath(root(), [Path::new("/srv/data")]);
    assert!(!data.mounts_layers() && !data.is_unclear() && !data.holds(&place(30)));
}

#[test]
fn the_layers_of_another_containers_root_show_through_it() {
    let more = "3 1 0:41 / /nowhere/second rw - overlay overlay rw,lowerdir=/nowhere/app/rootfs/sub:/other,upperdir=/u,workdir=/w\n";
    let table = table(more);
    assert!(
        table
            .beneath(Path::new("/nowhere/second"), [])
            .holds(&place(11))
    );
}

/// containerd mounts many layers from within their folder, so that their names fit into one page.
#[test]
fn relative_layers_are_those_of_any_place_with_that_end() {
    let more = "3 1 0:41 / /nowhere/many rw - overlay overlay rw,lowerdir=12/fs:11/fs,upperdir=/u/20/fs,workdir=/u/20/work\n";
    let table = table(more);
    let beneath = table.beneath(Path::new("/nowhere/many"), []);
    assert!(beneath.holds(&place(12)) && !beneath.holds(&place(2)) && !beneath.is_unclear());
}

#[test]
fn options_that_can_not_be_told_apart_are_unclear() {
    for options in [
        "rw",
        "rw,lowerdir=../12/fs,upperdir=/u",
        "rw,lowerdir=/a\\134:b:/c,upperdir=/u",
        "rw,lowerdir=/a\\054upperdir=/b",
    ] {
        let more = format!("3 1 0:41 / /nowhere/odd rw - overlay overlay {options}\n");
        let table = table(&more);
        assert!(
            table.beneath(Path::new("/nowhere/odd"), []).is_unclear(),
            "{options}"
        );
    }
    let newer = format!(
        "3 1 0:41 / /nowhere/new rw - overlay overlay rw,lowerdir+={SNAPSHOTS}/7/fs,datadir+={SNAPSHOTS}/8/fs,upperdir=/u\n"
    );
    let table = table(&newer);
    let beneath = table.beneath(Path::new("/nowhere/new"), []);
    assert!(beneath.holds(&place(7)) && beneath.holds(&place(8)) && !beneath.is_unclear());
}

#[test]
fn copies_of_other_snapshotters_are_unclear() {
    let copies = "/var/lib/containerd/io.containerd.snapshotter.v1.native/snapshots/3";
    let more = format!("3 1 254:1 {copies} /nowhere/volume ro - ext4 /dev/vda1 rw\n");
    let table = table(&more);
    for source in [copies, "/nowhere/volume"] {
        assert!(
            table.beneath(root(), [Path::new(source)]).is_unclear(),
            "{source}"
        );
    }
}

/// The folder above a layer, and that of all layers, show it like the layer's own; what holds the whole machine does not count.
#[test]
fn a_folder_of_layers_shows_each_of_them() {
    let parent = Path::new(SNAPSHOTS).parent().unwrap();
    let bound = format!("3 1 254:1 {SNAPSHOTS} /nowhere/bound ro - ext4 /dev/vda1 rw\n");
    let table = table(&bound);
    let above = place(30).parent().unwrap().to_owned();
    for source in [
        &above,
        Path::new(SNAPSHOTS),
        parent,
        Path::new("/nowhere/bound"),
    ] {
        let beneath = table.beneath(root(), [source]);
        assert!(beneath.holds(&place(30)), "{source:?}");
        assert!(
            beneath.mounts_layers() && !beneath.is_unclear(),
            "{source:?}"
        );
    }
    assert!(!table.beneath(root(), [above.as_path()]).holds(&place(31)));
    for source in ["/", "/var/lib/containerd", "/nowhere"] {
        assert!(
            !table.beneath(root(), [Path::new(source)]).holds(&place(30)),
            "{source}"
        );
    }
}

/// A mount takes along what is mounted below: the root of another container under the folder of its bundle.
#[test]
fn the_roots_below_a_folder_of_the_runtime_show_in_it() {
    let tasks = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
    let more = format!(
        "3 1 0:41 / {tasks}/victim/rootfs rw - overlay overlay rw,lowerdir={SNAPSHOTS}/41/fs,upperdir={SNAPSHOTS}/42/fs\n"
    );
    let table = table(&more);
    for source in [tasks.to_owned(), format!("{tasks}/victim")] {
        let beneath = table.beneath(root(), [Path::new(&source)]);
        assert!(
            beneath.holds(&place(41)) && beneath.mounts_layers(),
            "{source}"
        );
    }
    for source in [
        format!("{tasks}/other"),
        format!("{tasks}/victi"),
        "/run/containerd".to_owned(),
    ] {
        assert!(
            !table
                .beneath(root(), [Path::new(&source)])
                .holds(&place(41)),
            "{source}"
        );
    }
}

/// `/proc/7/root` reads as `/`, and is the root of process 7 to whoever mounts it.
#[test]
fn a_source_that_is_another_folder_to_the_kernel_is_unclear() {
    use std::os::fd::AsRawFd;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    fs::create_dir(&path).unwrap();
    let opened = File::open(&path).unwrap();
    let magic = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    let table = table("");
    assert!(!table.beneath(root(), [magic.as_path()]).is_unclear());
    fs::remove_dir(&path).unwrap();
    assert!(table.beneath(root(), [magic.as_path()]).is_unclear());
    let text = format!("{} (deleted)", path.display());
    fs::create_dir(text).unwrap();
    assert!(table.beneath(root(), [magic.as_path()]).is_unclear());
}

#[test]
fn links_on_either_side_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let real = folder.join("disk/snapshots");
    fs::create_dir_all(real.join("12/fs")).unwrap();
    std::os::unix::fs::symlink(folder.join("disk"), folder.join("link")).unwrap();
    let linked = folder.join("link/snapshots/12/fs");
    let line = |lower: &Path| {
        format!(
            "1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 0:40 / /nowhere/app/rootfs rw - overlay overlay rw,lowerdir={},upperdir=/u\n",
            lower.display()
        )
    };
    let real = real.join("12/fs");
    for (mounted, listed) in [(&linked, &real), (&real, &linked), (&linked, &linked)] {
        let table = MountTable::parse(&line(mounted)).unwrap();
        assert!(
            table.beneath(root(), []).holds(listed),
            "{mounted:?} {listed:?}"
        );
    }
}

#[test]
fn this_process_has_a_mount_table_and_shares_its_own_space_with_no_container() {
    assert!(!MountTable::own().unwrap().mounts.is_empty());
    let own = containers_in_namespace(Path::new("/proc/self/ns/pid"), "pid").unwrap();
    assert!(own.is_empty());
    assert!(containers_in_namespace(Path::new("/nowhere"), "pid").is_err());
}

proptest! {
    #[test]
    fn hostile_tables_never_panic(options in "[a-z=,:./\\\\+0-9]{0,80}", source in "/[a-z/.]{0,30}") {
        let more = format!("3 1 0:41 / /nowhere/odd rw - overlay overlay {options}\n");
        if let Some(table) = MountTable::parse(&more) {
            let beneath = table.beneath(Path::new("/nowhere/odd"), [Path::new(&source)]);
            let _ = beneath.holds(Path::new(&source));
        }
    }
}
