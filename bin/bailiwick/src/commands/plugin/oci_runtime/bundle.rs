//! What a bundle's `config.json` says of the files that will show in the container, and of the containers whose processes it
//! will see. Read strictly: runc's reader does not mind the case of names and takes the last of two, so such a document is
//! refused.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use estate::Digest;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// A container that is to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bundle {
    /// Digest of `config.json`.
    pub(super) spec: Digest,
    /// The root's folder.
    pub(super) root: PathBuf,
    /// Sources of mounts: folders and files of this machine.
    pub(super) sources: Vec<PathBuf>,
    /// The specification itself mounts layers, in a way that is not understood.
    pub(super) is_unclear: bool,
    /// Process and mount spaces of others, and their kind under `/proc/PID/ns`.
    pub(super) joined: Vec<(PathBuf, &'static str)>,
    /// Its own process, but for the command and the terminal.
    pub(super) surroundings: Map<String, Value>,
}

/// The process of an exec, from the file that containerd writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// The command.
    pub(super) argv: Vec<String>,
    /// It has a terminal.
    pub(super) terminal: bool,
    /// User, environment, rights, folder: everything else.
    pub(super) surroundings: Map<String, Value>,
}

impl Bundle {
    /// Reads a bundle.
    pub(super) fn read(bundle: &Path) -> Result<Self, Refusal> {
        let file = bundle.join("config.json");
        let bytes = read(&file)?;
        Self::parse(bundle, &bytes).map_err(|why| refused(&file, why))
    }

    fn parse(bundle: &Path, bytes: &[u8]) -> Result<Self, String> {
        let spec: Map<String, Value> = parse(bytes)?;
        let root = member(&spec, "root")?
            .map(object)
            .transpose()?
            .map(|root| text(root, "path"))
            .transpose()?
            .flatten()
            .filter(|path| !path.is_empty())
            .ok_or("it names no root")?;
        let mut found = Self {
            spec: Digest::of(bytes),
            root: bundle.join(root),
            sources: Vec::new(),
            is_unclear: false,
            joined: Vec::new(),
            surroundings: match member(&spec, "process")? {
                Some(process) => surroundings(object(process)?),
                None => Map::new(),
            },
        };
        for mount in list(&spec, "mounts")? {
            found.mount(bundle, object(mount)?)?;
        }
        if let Some(linux) = member(&spec, "linux")? {
            for namespace in list(object(linux)?, "namespaces")? {
                found.namespace(object(namespace)?)?;
            }
        }
        Ok(found)
    }

    fn mount(&mut self, bundle: &Path, mount: &Map<String, Value>) -> Result<(), String> {
        let kind = text(mount, "type")?.unwrap_or_default();
        let source = text(mount, "source")?.unwrap_or_default();
        let mut options = Vec::new();
        for option in list(mount, "options")? {
            options.push(option.as_str().ok_or("an option of a mount is no text")?);
        }
        let is_bind = kind == "bind"
            || options
                .iter()
                .any(|&option| option == "bind" || option == "rbind");
        // A relative source is one of the bundle's, unless it is only a word, as in `tmpfs`.
        if (is_bind || source.starts_with('/')) && !source.is_empty() {
            self.sources.push(bundle.join(source));
        }
        if kind.contains("overlay") {
            for option in options.iter().flat_map(|option| option.split(',')) {
                self.layer(option);
            }
        }
        Ok(())
    }

    /// An option of an overlay that the specification itself mounts.
    fn layer(&mut self, option: &str) {
        let Some((name, value)) = option.split_once('=') else {
            return;
        };
        if !matches!(name, "lowerdir" | "lowerdir+" | "datadir+" | "upperdir") {
            return;
        }
        for layer in value.split(':').filter(|layer| !layer.is_empty()) {
            self.is_unclear |= layer.contains('\\') || !layer.starts_with('/');
            self.sources.push(PathBuf::from(layer));
        }
    }

    fn namespace(&mut self, namespace: &Map<String, Value>) -> Result<(), String> {
        let kind = match text(namespace, "type")?.unwrap_or_default() {
            "pid" => "pid",
            "mount" => "mnt",
            _ => return Ok(()),
        };
        let path = text(namespace, "path")?.unwrap_or_default();
        if !path.is_empty() {
            self.joined.push((PathBuf::from(path), kind));
        }
        Ok(())
    }
}

impl Process {
    /// Reads a process.
    pub(super) fn read(file: &Path) -> Result<Self, Refusal> {
        Self::parse(&read(file)?).map_err(|why| refused(file, why))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let process: Map<String, Value> = parse(bytes)?;
        let mut argv = Vec::new();
        for word in list(&process, "args")? {
            argv.push(
                word.as_str()
                    .ok_or("a word of the command is no text")?
                    .to_owned(),
            );
        }
        if argv.is_empty() {
            return Err("it has no command".to_owned());
        }
        let terminal = match member(&process, "terminal")? {
            None => false,
            Some(value) => value.as_bool().ok_or("`terminal` is neither yes nor no")?,
        };
        Ok(Self {
            argv,
            terminal,
            surroundings: surroundings(&process),
        })
    }
}

/// A process without its command and its terminal.
fn surroundings(process: &Map<String, Value>) -> Map<String, Value> {
    let own = |key: &str| !matches!(key, "args" | "terminal" | "consoleSize");
    process
        .iter()
        .filter(|(key, _)| own(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The bundle of a container that runc has already: as runc wrote it down.
pub(super) fn bundle_of(runc_root: &Path, id: &str) -> Option<PathBuf> {
    let bytes = read(&runc_root.join(id).join("state.json")).ok()?;
    let state: Map<String, Value> = parse(&bytes).ok()?;
    let config = object(state.get("config")?).ok()?;
    let labels = config.get("labels")?.as_array()?;
    let mut bundles = labels
        .iter()
        .filter_map(|label| label.as_str()?.strip_prefix("bundle="))
        .map(PathBuf::from);
    bundles
        .next()
        .filter(|bundle| bundle.is_absolute() && bundles.next().is_none())
}

fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = read().map_err(|error| refused(path, error.to_string()))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST) {
        Ok(bytes)
    } else {
        Err(refused(path, "it is too large".to_owned()))
    }
}

fn refused(path: &Path, why: String) -> Refusal {
    Refusal::Document {
        what: path.display().to_string(),
        why,
    }
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    jose::strict_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| "something in it is no object".to_owned())
}

/// A member; Go's reader takes one in another case for it, and `ſ` for `s`.
fn member<'a>(of: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Value>, String> {
    for key in of.keys() {
        if key != name && folded(key).eq(folded(name)) {
            return Err(format!("`{}` may be read as `{name}`", key.escape_debug()));
        }
    }
    Ok(of.get(name).filter(|value| !value.is_null()))
}

fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
}

fn text<'a>(of: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    member(of, name)?
        .map(|value| value.as_str().ok_or_else(|| format!("`{name}` is no text")))
        .transpose()
}

fn list<'a>(of: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], String> {
    match member(of, name)? {
        None => Ok(&[]),
        Some(value) => value
            .as_array()
            .map(Vec::as_slice)
            .ok_or_else(|| format!("`{name}` is no list")),
    }
}

/// 16 MiB; runc itself has no limit.
const LARGEST: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bundle(config: &str) -> Result<Bundle, String> {
        Bundle::parse(Path::new("/b"), config.as_bytes())
    }

    #[test]
    fn root_sources_and_joined_spaces_are_found() {
        let config = r#"{"root":{"path":"rootfs"},"mounts":[
            {"destination":"/proc","type":"proc","source":"proc"},
            {"destination":"/data","type":"bind","source":"/srv/data","options":["rbind","ro"]},
            {"destination":"/own","source":"own","options":["bind"]},
            {"destination":"/dev/x","type":"ext4","source":"/dev/x"},
            {"destination":"/up","type":"overlay","source":"overlay","options":["lowerdir=/s/2/fs:/s/1/fs,upperdir=/u","workdir=/w"]}],
            "linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/proc/7/ns/net"},{"type":"pid","path":"/proc/7/ns/pid"},{"type":"mount","path":"/proc/7/ns/mnt"}]}}"#;
        let found = bundle(config).unwrap();
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(found.root, Path::new("/b/rootfs"));
        assert_eq!(
            found.sources,
            paths(&["/srv/data", "/b/own", "/dev/x", "/s/2/fs", "/s/1/fs", "/u"])
        );
        let joined = [("/proc/7/ns/pid", "pid"), ("/proc/7/ns/mnt", "mnt")];
        assert_eq!(found.joined, joined.map(|(path, kind)| (path.into(), kind)));
        assert_eq!(found.spec, Digest::of(config));
        assert!(!found.is_unclear);
        let absolute = bundle(r#"{"root":{"path":"/elsewhere"},"mounts":null}"#).unwrap();
        assert_eq!(absolute.root, Path::new("/elsewhere"));
    }

    #[test]
    fn layers_that_can_not_be_told_make_a_bundle_unclear() {
        for lower in ["fs", "/a\\\\:b", "../x"] {
            let config = format!(
                r#"{{"root":{{"path":"r"}},"mounts":[{{"type":"overlay","source":"o","options":["lowerdir={lower}"]}}]}}"#
            );
            assert!(bundle(&config).unwrap().is_unclear, "{config}");
        }
    }

    #[test]
    fn what_runc_may_read_otherwise_is_refused() {
        for config in [
            "",
            "{}",
            r#"{"root":{}}"#,
            r#"{"root":{"path":""}}"#,
            r#"{"root":{"path":"a"},"root":{"path":"b"}}"#,
            r#"{"root":{"path":"a"},"Root":{"path":"b"}}"#,
            r#"{"root":{"path":"a","PATH":"b"}}"#,
            r#"{"root":{"path":"a"},"mountſ":[]}"#,
            r#"{"root":{"path":"a"},"mounts":{}}"#,
            r#"{"root":{"path":"a"},"mounts":[{"source":1}]}"#,
            r#"{"root":{"path":"a"},"mounts":[{"type":"bind","Source":"/x"}]}"#,
            r#"{"root":{"path":"a"},"linux":{"Namespaces":[]}}"#,
        ] {
            assert!(bundle(config).is_err(), "{config}");
        }
    }

    #[test]
    fn a_process_has_a_command() {
        let parse = |text: &str| Process::parse(text.as_bytes());
        let process = parse(r#"{"terminal":true,"args":["sh","-c","id"],"cwd":"/"}"#).unwrap();
        assert_eq!(process.argv, ["sh", "-c", "id"]);
        assert!(process.terminal);
        let own = r#"{"root":{"path":"r"},"process":{"cwd":"/","args":["app"]}}"#;
        assert_eq!(bundle(own).unwrap().surroundings, process.surroundings);
        for bad in [
            "{}",
            r#"{"args":[]}"#,
            r#"{"args":[1]}"#,
            r#"{"args":["a"],"Args":["b"]}"#,
            r#"{"args":["a"],"terminal":1}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_bundle_of_a_running_container_is_taken_from_runcs_state() {
        let folder = tempfile::tempdir().unwrap();
        let state = |text: &str| {
            std::fs::create_dir_all(folder.path().join("app")).unwrap();
            std::fs::write(folder.path().join("app/state.json"), text).unwrap();
            bundle_of(folder.path(), "app")
        };
        assert_eq!(bundle_of(folder.path(), "app"), None);
        assert_eq!(
            state(r#"{"id":"app","config":{"labels":["x=y","bundle=/run/b"]}}"#),
            Some("/run/b".into())
        );
        assert_eq!(state(r#"{"config":{"labels":["bundle=b"]}}"#), None);
        assert_eq!(
            state(r#"{"config":{"labels":["bundle=/a","bundle=/b"]}}"#),
            None
        );
        assert_eq!(state("?"), None);
    }

    proptest! {
        #[test]
        fn hostile_documents_never_panic(bytes: Vec<u8>, text in "[\\[\\]{}:,\"a-z]{0,120}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let _ = Bundle::parse(Path::new("/b"), bytes);
                let _ = Process::parse(bytes);
            }
        }
    }
}
