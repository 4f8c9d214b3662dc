//! Manifests that lie or are too much, packed layers that burst, and names that lead elsewhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use fixture::Image;
use serde_json::json;

use super::super::bench::{Attack, Bench, Source, Start, on_bound};

type Why = (&'static [&'static str], &'static str);

const SIZE: Why = (
    &[
        "has another size",
        "larger than is read",
        "bound to size",
        "the layer is longer",
        "the layer ends after",
    ],
    "the size in the descriptor",
);
const LINK: Why = (
    &[
        "is not a plain file",
        "is a link that leads out of the archive",
        "is neither a file nor a directory",
    ],
    "links are not followed",
);
const OUTSIDE: Why = (
    &["is no archive of images"],
    "members with names that lead elsewhere are refused",
);

pub(crate) fn attacks() -> Vec<Attack> {
    let mut attacks = manifests();
    attacks.extend(bombs());
    attacks.extend(links());
    attacks.extend(archives());
    attacks
}

fn manifests() -> Vec<Attack> {
    let size = |name, pointer: &'static str, decoder, change: fn(u64) -> u64| {
        on_bound(name, SIZE, decoder, move |_: &Bench, image: &Image| {
            image.edit_manifest(|manifest| {
                let size = manifest.pointer_mut(pointer).unwrap();
                *size = json!(change(size.as_u64().unwrap()));
            });
        })
    };
    let text = |name, edit: fn(String) -> String| {
        let why: Why = (
            &["malformed", "two things at once"],
            "documents say each thing once, as Go reads them",
        );
        on_bound(name, why, None, move |_: &Bench, image: &Image| {
            image.set_manifest_text(&edit(image.manifest().to_string()));
        })
    };
    vec![
        text("a member twice in the manifest", |text| {
            text.replacen('{', r#"{"layers":[],"#, 1)
        }),
        text("a member in two spellings", |text| {
            text.replacen('{', r#"{"Layers":[],"#, 1)
        }),
        on_bound(
            "a manifest with 100,000 layers",
            (
                &["too many layers", "larger than is read", "too large"],
                "limits of manifests",
            ),
            None,
            |_, image| {
                image.edit_manifest(|manifest| {
                    let layer = json!({"mediaType": manifest["layers"][0]["mediaType"], "digest": manifest["layers"][0]["digest"], "size": 1});
                    manifest["layers"] = json!(vec![layer; 100_000]);
                });
            },
        ),
        size(
            "a layer's size one too small",
            "/layers/0/size",
            Some(0),
            |size| size - 1,
        ),
        size(
            "a layer's size one too large",
            "/layers/0/size",
            Some(0),
            |size| size + 1,
        ),
        size("a layer's size of 8 EiB", "/layers/0/size", Some(0), |_| {
            1 << 63
        }),
        size(
            "the configuration's size one too small",
            "/config/size",
            None,
            |size| size - 1,
        ),
        size(
            "the configuration's size one too large",
            "/config/size",
            None,
            |size| size + 1,
        ),
    ]
}

/// A recipient's public key is all that is needed to send one.
fn bombs() -> Vec<Attack> {
    let why: Why = (
        &["unpacks to more than"],
        "`--max-unpacked-size`, 1 GiB or 200 times the packed size without it",
    );
    vec![archive(
        "a layer that unpacks to a thousand times its size",
        why,
        |bench, _| bench.bomb().transport(),
    )]
}

fn links() -> Vec<Attack> {
    vec![
        on_bound("a layer that is a link", LINK, None, |bench, image| {
            link(bench, &image.blob_path(&image.layers()[0]));
        }),
        on_bound(
            "a folder of blobs that is a link",
            LINK,
            None,
            |bench, image| {
                link(bench, &image.layout().folder.join("blobs/sha256"));
            },
        ),
        on_bound("an index that is a link", LINK, None, |bench, image| {
            link(bench, &image.layout().folder.join("index.json"));
        }),
    ]
}

/// Leads to exactly the right content, so that nothing but the link can be the reason.
fn link(bench: &Bench, path: &Path) {
    let outside = bench.folder().join("outside");
    let _ = fs::remove_dir_all(&outside);
    let _ = fs::remove_file(&outside);
    fs::rename(path, &outside).unwrap();
    symlink(&outside, path).unwrap();
}

fn archives() -> Vec<Attack> {
    let packed = |name, why: Why, transform: &'static str| {
        archive(name, why, move |bench, image| {
            let archive = bench.pack(&image.layout().folder, "forged.tar", &[transform]);
            format!("oci-archive:{}", archive.display())
        })
    };
    vec![
        packed(
            "an archive with a member `../index.json`",
            OUTSIDE,
            "--transform=s,^./index,../index,",
        ),
        packed(
            "an archive with a member `/tmp/index.json`",
            OUTSIDE,
            "--transform=s,^./index,/tmp/index,",
        ),
        packed(
            "an archive with `blobs/../blobs/…`",
            OUTSIDE,
            "--transform=s,^./blobs/sha256/,./blobs/../blobs/sha256/,",
        ),
        archive("an archive with a symbolic link", LINK, |bench, image| {
            link(bench, &image.blob_path(&image.layers()[0]));
            let archive = bench.pack(&image.layout().folder, "forged.tar", &[]);
            format!("oci-archive:{}", archive.display())
        }),
        archive("an archive with a hard link", LINK, |bench, image| {
            let layer = image.blob_path(&image.layers()[0]);
            fs::hard_link(&layer, layer.with_file_name("z".repeat(64))).unwrap();
            let archive = bench.pack(&image.layout().folder, "forged.tar", &[]);
            format!("oci-archive:{}", archive.display())
        }),
        archive(
            "a `docker save` archive whose manifest names `../…`",
            (
                &[
                    "names a file",
                    "no archive of images",
                    "is not what `docker save` writes",
                ],
                "only members of the archive are read",
            ),
            |bench, _| saved(bench, |_| {}),
        ),
        archive(
            "a `docker save` archive with a symbolic link",
            LINK,
            |bench, _| {
                saved(bench, |folder| {
                    symlink("/etc/hostname", folder.join("layer.tar")).unwrap();
                })
            },
        ),
    ]
}

fn archive(
    name: &'static str,
    (says, protects): Why,
    forge: impl Fn(&Bench, &Image) -> String + 'static,
) -> Attack {
    Attack {
        name,
        start: Start::Bound,
        forge: Box::new(move |bench, image| Source::Named(forge(bench, image))),
        layer: None,
        says,
        protects,
    }
}

/// What `docker save` would write, with a layer outside.
fn saved(bench: &Bench, more: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir_in(bench.folder()).unwrap();
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", "0".repeat(64))]}});
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    more(folder.path());
    let layer = match folder.path().join("layer.tar").is_symlink() {
        true => "layer.tar",
        false => "../../../../../../etc/hostname",
    };
    let manifest = json!([{"Config": "config.json", "RepoTags": ["forged:1"], "Layers": [layer]}]);
    fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
    let archive = bench.pack(folder.path(), "saved.tar", &[]);
    format!("docker-archive:{}", archive.display())
}
