//! containerd's way to the decoder: stream processors, the key model, who pulls, and the keys that they lead to.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Check, keys, version::Version};
use crate::commands::plugin::containerd_decoder::ContainerdDecoderArgs;

/// All checks of a configuration's files, in the order in which they count.
pub(super) fn checks(files: &[(PathBuf, Table)], version: Option<Version>) -> Vec<Check> {
    let found = Processor::all(files);
    let find = |id: &str| found.iter().find(|processor| processor.id == id);
    let mut checks: Vec<Check> = PROCESSORS
        .iter()
        .map(|(id, media_type)| processor_check(id, media_type, find(id)))
        .collect();
    checks.push(zstd(&found));
    checks.extend(found.iter().filter_map(Processor::gets_no_keys));
    checks.push(key_model(files));
    checks.push(pull(files, version));
    let of_ours = found.iter().filter_map(Processor::arguments);
    let folders: BTreeSet<PathBuf> = of_ours
        .filter_map(|args| args.decryption_keys_path)
        .collect();
    checks.extend(folders.iter().flat_map(|folder| keys::folder(folder)));
    let named: BTreeSet<&str> = found.iter().filter_map(Processor::providers).collect();
    checks.extend(
        named
            .into_iter()
            .flat_map(|file| keys::providers(Path::new(file))),
    );
    checks
}

/// What is to be written where the built-in processors find no decoder of ours.
pub(super) fn missing(files: &[(PathBuf, Table)], program: &Path) -> String {
    let found = Processor::all(files);
    let is_missing = |id: &str| found.iter().all(|processor| processor.id != id);
    let built_in = in_path("ctd-decoder").is_some_and(|path| is_ours(&path));
    let missing = PROCESSORS
        .iter()
        .filter(|(id, _)| is_missing(id) && !built_in);
    let written: Vec<String> = missing
        .map(|(id, media_type)| processor_toml(id, media_type, program))
        .collect();
    written.join("\n")
}

/// What is to be written so that containerd 2.1 and newer hand keys over; the section is the same in files of version 2.
pub(super) fn local_pull(
    files: &[(PathBuf, Table)],
    version: Option<Version>,
) -> Option<&'static str> {
    (pull(files, version).is_wrong()).then_some(LOCAL_PULL)
}

/// A stream processor of the configuration.
struct Processor<'a> {
    id: &'a str,
    table: &'a Table,
}

impl<'a> Processor<'a> {
    /// The last file that names one counts.
    fn all(files: &'a [(PathBuf, Table)]) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        let tables = files.iter().rev();
        let tables = tables.filter_map(|(_, table)| table.get("stream_processors")?.as_table());
        for (id, table) in tables.flatten() {
            if let Some(table) = table.as_table()
                && found.iter().all(|known| known.id != id)
            {
                found.push(Self { id, table });
            }
        }
        found
    }

    fn text(&self, key: &str) -> &'a str {
        let text = self.table.get(key).and_then(Value::as_str);
        text.unwrap_or_default()
    }

    fn words(&self, key: &str) -> Vec<&'a str> {
        let list = self.table.get(key).and_then(Value::as_array);
        let words = list.into_iter().flatten();
        words.filter_map(Value::as_str).collect()
    }

    /// A bare name is looked for where containerd looks for it, which may be elsewhere than here.
    fn program(&self) -> PathBuf {
        let named = self.text("path");
        match named.contains('/') {
            true => PathBuf::from(named),
            false => in_path(named).unwrap_or_else(|| PathBuf::from(named)),
        }
    }

    /// The decoder's arguments, when it is ours and understands them.
    fn arguments(&self) -> Option<ContainerdDecoderArgs> {
        self.parsed()?.ok()
    }

    fn parsed(&self) -> Option<Result<ContainerdDecoderArgs, String>> {
        let (program, args) = (self.program(), self.words("args"));
        let words = match args.as_slice() {
            ["plugin", "containerd-decoder", words @ ..] => words,
            words
                if program
                    .file_name()
                    .is_some_and(|name| name == "ctd-decoder") =>
            {
                words
            }
            _ => return None,
        };
        Some(ContainerdDecoderArgs::of(words))
    }

    fn providers(&self) -> Option<&'a str> {
        let mut set = self.words("env").into_iter();
        set.find_map(|word| word.strip_prefix("OCICRYPT_KEYPROVIDER_CONFIG="))
    }

    /// A processor of another name has no packets, so nothing would open.
    fn gets_no_keys(&self) -> Option<Check> {
        let is_known = PROCESSORS.iter().any(|(id, _)| *id == self.id);
        let accepts = self.words("accepts");
        let is_for_layers = accepts.iter().any(|kind| kind.ends_with("+encrypted"));
        (!is_known && is_for_layers).then(|| {
            Check::wrong(
                format!("stream processor {}", self.id),
                "gets no keys: containerd hands them to processors of two ids only",
                format!(
                    "remove it, and let one of `{}` and `{}` accept what it accepts",
                    PLAIN.0, GZIP.0
                ),
            )
        })
    }
}

fn processor_check(id: &str, media_type: &str, processor: Option<&Processor<'_>>) -> Check {
    let what = format!("stream processor {id}");
    let wrong = |found: String| {
        let toml = processor_toml(id, media_type, Path::new("/usr/bin/bailiwick"));
        Check::wrong(&what, found, "write it so, under this very id").advising(toml)
    };
    let Some(processor) = processor else {
        return match in_path("ctd-decoder").filter(|path| is_ours(path)) {
            Some(path) => Check::ok(&what, format!("built in, calls `{}`", path.display())),
            None => wrong(
                "is not there, and the built-in one finds no `ctd-decoder` of ours".to_owned(),
            ),
        };
    };
    let encrypted = format!("{media_type}+encrypted");
    if !processor.words("accepts").contains(&encrypted.as_str())
        || processor.text("returns") != media_type
    {
        return wrong(format!("does not turn `{encrypted}` into `{media_type}`"));
    }
    let path = processor.program();
    let shown = path.display();
    if !is_program(&path) {
        return wrong(format!("calls `{shown}`, which is no program"));
    }
    if !is_ours(&path) {
        return wrong(format!("calls `{shown}`, which is not this program"));
    }
    match processor.parsed() {
        None => wrong("does not call `plugin containerd-decoder`".to_owned()),
        Some(Err(why)) => wrong(format!("its arguments are refused: {why}")),
        Some(Ok(_)) => Check::ok(&what, format!("calls `{shown}`")),
    }
}

/// containerd looks itself how what comes out is compressed, as long as it is told that it is.
fn zstd(found: &[Processor<'_>]) -> Check {
    let what = "layers of zstd";
    let accepts = |processor: &&Processor<'_>| processor.words("accepts").contains(&ZSTD);
    match found.iter().find(accepts) {
        Some(processor) if processor.id == GZIP.0 => Check::ok(what, format!("go to {}", GZIP.0)),
        Some(processor) if processor.id == PLAIN.0 => Check::wrong(
            what,
            format!("go to {}, which says that they are not compressed", PLAIN.0),
            format!("let {} accept `{ZSTD}`", GZIP.0),
        ),
        // Told of by its id.
        Some(_) | None => Check::note(
            what,
            "are not opened here when they are encrypted",
            format!("let {} accept `{ZSTD}`, too", GZIP.0),
        ),
    }
}

/// The default since containerd 1.5. An empty one hands no keys over.
fn key_model(files: &[(PathBuf, Table)]) -> Check {
    let what = "key model";
    let mut found = Vec::new();
    for (file, table) in files {
        for section in IMAGE_SECTIONS {
            let plugin = table
                .get("plugins")
                .and_then(|plugins| plugins.get(section));
            let model = plugin.and_then(|plugin| plugin.get("image_decryption")?.get("key_model"));
            found.extend(model.map(|model| (file, section, model)));
        }
    }
    let is_node = |model: &Value| model.as_str() == Some("node");
    match found.iter().find(|(.., model)| !is_node(model)) {
        Some((file, section, model)) => Check::wrong(
            what,
            format!(
                "is {model} in `{}`: no keys are handed over",
                file.display()
            ),
            "write `node`",
        )
        .advising(format!(
            "[plugins.\"{section}\".image_decryption]\n  key_model = \"node\"\n"
        )),
        None if found.is_empty() => Check::ok(what, "`node`, as it is by default"),
        None => Check::ok(what, "`node`"),
    }
}

/// From 2.1 on images are pulled by the transfer service, unless it is told otherwise; that one hands no keys over.
fn pull(files: &[(PathBuf, Table)], version: Option<Version>) -> Check {
    let what = "who pulls images";
    // A later file may replace the whole section.
    let section = |(_, table): &'_ (PathBuf, Table)| {
        let images = table.get("plugins")?.get(IMAGES)?;
        Some(images.get("use_local_image_pull").and_then(Value::as_bool))
    };
    let set = files.iter().rev().find_map(section).flatten();
    match (set, version) {
        (Some(true), _) => Check::ok(what, "CRI itself, which hands keys to the decoder"),
        (_, Some(version)) if version < Version::TRANSFER => {
            Check::ok(what, format!("CRI itself in containerd {version}"))
        }
        (_, Some(version)) => Check::wrong(
            what,
            format!(
                "the transfer service of containerd {version}, which hands no keys to decoders"
            ),
            "let CRI do it",
        )
        .advising(LOCAL_PULL),
        (_, None) => Check::note(
            what,
            "containerd's version is not known",
            "if it is 2.1 or newer, let CRI pull",
        )
        .advising(LOCAL_PULL),
    }
}

fn processor_toml(id: &str, media_type: &str, program: &Path) -> String {
    let more = if id == GZIP.0 {
        format!(", {ZSTD:?}")
    } else {
        String::new()
    };
    format!(
        "[stream_processors.{id:?}]\n  accepts = [\"{media_type}+encrypted\"{more}]\n  returns = {media_type:?}\n  \
         path = {:?}\n  args = [\"plugin\", \"containerd-decoder\"]\n",
        program.display().to_string()
    )
}

pub(super) fn is_program(path: &Path) -> bool {
    let found = fs::metadata(path);
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

pub(super) fn is_ours(program: &Path) -> bool {
    let own = std::env::current_exe().and_then(fs::canonicalize);
    matches!((fs::canonicalize(program), own), (Ok(found), Ok(own)) if found == own)
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// containerd hands keys to these ids only.
const PROCESSORS: [(&str, &str); 2] = [PLAIN, GZIP];
const PLAIN: (&str, &str) = (
    "io.containerd.ocicrypt.decoder.v1.tar",
    "application/vnd.oci.image.layer.v1.tar",
);
const GZIP: (&str, &str) = (
    "io.containerd.ocicrypt.decoder.v1.tar.gzip",
    "application/vnd.oci.image.layer.v1.tar+gzip",
);
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd+encrypted";
const IMAGES: &str = "io.containerd.cri.v1.images";
/// Of configurations of version 1, 2 and 3.
const IMAGE_SECTIONS: [&str; 3] = ["cri", "io.containerd.grpc.v1.cri", IMAGES];
const LOCAL_PULL: &str =
    "[plugins.\"io.containerd.cri.v1.images\"]\n  use_local_image_pull = true\n";

#[cfg(test)]
mod tests;
