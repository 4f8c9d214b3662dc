//! Every type of layer that somebody knows, between us and the same peers.

use real::Image;
use real::keys::{KeyPair, P256};
use real::peers::skopeo_copy;
use serde_json::{Map, json};

use super::crew::{Cell, Crew, cell, same_content};
use super::reasons::refused;
use super::schemes::{DecoderKeys, Holder};

pub(crate) const TYPES: [&str; 9] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.wasm.content.layer.v1+wasm",
];
pub(crate) const COLUMNS: [&str; 7] = [
    "us",
    "us → skopeo",
    "skopeo → us",
    "us → ocicrypt",
    "ocicrypt → us",
    "us → imgcrypt, containerd",
    "us → our decoder, containerd",
];

pub(crate) fn row(crew: &Crew, media_type: &str) -> Vec<String> {
    let key = crew.key("p256", P256);
    let name = |who: &str| {
        let slug = media_type.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        format!("{slug}-{who}").to_ascii_lowercase()
    };
    let holder = Holder {
        keys: vec![key.private().to_owned()],
        judge: object("keys", key.private()),
    };
    let plain = |who: &str| image(crew, &name(who), media_type);
    let (plain_us, plain_skopeo, plain_go) =
        (plain("plain-us"), plain("plain-skopeo"), plain("plain-go"));
    let us = crew
        .encrypt_for(&plain_us, &name("us"), &[key.recipient()], &[])
        .unwrap_or_else(|words| panic!("{media_type}: {words}"));
    let skopeo = by_skopeo(crew, &plain_skopeo, &name("skopeo"), &key);
    let public = object("recipients", key.public.to_str().unwrap());
    let go = crew.ocicrypt.encrypt(
        &plain_go,
        &crew.scratch.join("images").join(name("go")),
        &public,
    );
    // What can't be unpacked here is compared with the digest in its packet alone.
    let more: &[&str] = match media_type.contains("wasm") {
        true => &["--accept-unknown-packing"],
        false => &[],
    };
    let here = |image: &Result<Image, String>, plain: &Image| match image {
        Err(words) => refused(words),
        Ok(image) => cell(
            crew.opened(image, &holder, more)
                .and_then(|opened| same_content(&opened, plain)),
        ),
    };
    vec![
        here(&Ok(us.clone()), &plain_us),
        cell(for_skopeo(crew, &us, &plain_us, &key)),
        here(&skopeo, &plain_skopeo),
        cell(for_go(crew, &us, &plain_us, &holder)),
        here(&go, &plain_go),
        cell(crew.nodes.pull_with_imgcrypt(&us, DecoderKeys::Folder)),
        cell(crew.nodes.pull_with_ours(&us)),
    ]
}

fn object(member: &str, file: &str) -> Map<String, serde_json::Value> {
    Map::from_iter([(member.to_owned(), json!([file]))])
}

/// One layer of this type.
fn image(crew: &Crew, name: &str, media_type: &str) -> Image {
    let (bytes, diff_id) = crew.layer(name, media_type);
    let folder = crew.scratch.join("images").join(name);
    Image::build(folder, "1", &[(media_type, &bytes, diff_id)])
}

fn by_skopeo(crew: &Crew, plain: &Image, name: &str, key: &KeyPair) -> Result<Image, String> {
    let image = crew.place(name);
    let options = ["--encryption-key".to_owned(), key.recipient()];
    skopeo_copy(&options, &plain.transport(), &image.transport())
        .map(|_| image)
        .map_err(|error| error.to_string())
}

fn for_skopeo(crew: &Crew, image: &Image, plain: &Image, key: &KeyPair) -> Cell {
    let target = crew.target(image);
    let options = ["--decryption-key", key.private()];
    skopeo_copy(&options, &image.transport(), &target.transport())
        .map_err(|error| error.to_string())?;
    same_content(&target, plain)
}

fn for_go(crew: &Crew, image: &Image, plain: &Image, holder: &Holder) -> Cell {
    let layers = crew.ocicrypt.decrypt(image, &holder.judge)?;
    super::crew::same(&layers, plain)
}
