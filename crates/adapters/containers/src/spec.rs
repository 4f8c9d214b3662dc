//! The two documents that are compared: the runtime's specification of a container, and the image's configuration.

use std::collections::BTreeMap;

use estate::Digest;
use serde::Deserialize;
use serde_json::{Map, Value};

/// OCI runtime specification, as far as it decides what runs; everything else is kept by name.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    #[serde(default)]
    pub(crate) process: Process,
    #[serde(default)]
    pub(crate) root: Root,
    #[serde(default)]
    pub(crate) mounts: Vec<Mount>,
    #[serde(default)]
    pub(crate) hooks: BTreeMap<String, Option<Vec<Hook>>>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) linux: Linux,
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    #[serde(default)]
    pub(crate) terminal: bool,
    #[serde(default)]
    pub(crate) user: User,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) env: Vec<String>,
    #[serde(default)]
    pub(crate) cwd: String,
    /// By set: bounding, effective, and so on.
    #[serde(default)]
    pub(crate) capabilities: BTreeMap<String, Option<Vec<String>>>,
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    #[serde(default)]
    pub(crate) uid: u32,
    #[serde(default)]
    pub(crate) gid: u32,
    #[serde(default)]
    pub(crate) additional_gids: Vec<u32>,
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Root {
    #[serde(default)]
    pub(crate) path: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Mount {
    #[serde(default)]
    pub(crate) destination: String,
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) options: Vec<String>,
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Hook {
    #[serde(default)]
    pub(crate) path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Linux {
    #[serde(default)]
    pub(crate) namespaces: Vec<Namespace>,
    #[serde(default)]
    pub(crate) resources: Resources,
    #[serde(default)]
    pub(crate) devices: Vec<Value>,
    #[serde(default)]
    pub(crate) sysctl: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) masked_paths: Vec<String>,
    #[serde(default)]
    pub(crate) readonly_paths: Vec<String>,
    #[serde(default)]
    pub(crate) seccomp: Option<Value>,
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Namespace {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) path: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Resources {
    #[serde(default)]
    pub(crate) devices: Vec<DeviceRule>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    #[serde(default)]
    pub(crate) allow: bool,
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) major: Option<i64>,
    #[serde(default)]
    pub(crate) minor: Option<i64>,
}

/// OCI image configuration.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ImageConfig {
    #[serde(default)]
    pub(crate) config: Option<Run>,
    pub(crate) rootfs: RootFs,
}

/// What an image wants to be run as.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Run {
    #[serde(default)]
    pub(crate) user: String,
    #[serde(default)]
    pub(crate) env: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) working_dir: String,
    /// Docker's; whatever it is, the image runs without it.
    #[serde(default)]
    healthcheck: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RootFs {
    pub(crate) diff_ids: Vec<Digest>,
}

impl ImageConfig {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// OCI image specification, "Layer ChainID"; `None` for an image without layers.
    pub(crate) fn chain_id(&self) -> Option<Digest> {
        self.rootfs
            .diff_ids
            .iter()
            .copied()
            .reduce(|chain, diff| Digest::of(format!("{chain} {diff}")))
    }

    pub(crate) fn run(&self) -> Run {
        self.config.clone().unwrap_or_default()
    }

    /// The command that asks whether the image is healthy, as a runtime starts it; `None` also for a form that is not known.
    pub(crate) fn healthcheck(&self) -> Option<Vec<String>> {
        let test = self.config.as_ref()?.healthcheck.as_ref()?.get("Test")?;
        let words: Vec<String> = serde_json::from_value(test.clone()).ok()?;
        match words.split_first() {
            Some((kind, command)) if kind == "CMD" && !command.is_empty() => Some(command.to_vec()),
            Some((kind, [line])) if kind == "CMD-SHELL" => {
                Some(["/bin/sh", "-c", line].map(str::to_owned).to_vec())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    //= OCI image specification, config.md#layer-chainid
    #[test]
    fn the_chain_of_one_layer_is_its_diff_id_and_of_two_a_hash() {
        let [a, b] = [Digest::of("a"), Digest::of("b")];
        let parse = |ids: &[Digest]| {
            let ids: Vec<_> = ids.iter().map(|id| format!("\"{id}\"")).collect();
            let text = format!(
                r#"{{"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
                ids.join(",")
            );
            ImageConfig::parse(text.as_bytes()).unwrap().chain_id()
        };
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[a]), Some(a));
        assert_eq!(parse(&[a, b]), Some(Digest::of(format!("{a} {b}"))));
    }

    #[test]
    fn a_doubled_member_is_no_configuration() {
        let digest = Digest::of("a");
        let text = format!(
            r#"{{"rootfs":{{"diff_ids":["{digest}"]}},"config":{{"Cmd":["a"],"Cmd":["b"]}}}}"#
        );
        assert!(ImageConfig::parse(text.as_bytes()).is_none());
    }

    #[test]
    fn a_health_check_is_a_command_or_a_line_for_the_shell() {
        let check = |test: &str| {
            let text =
                format!(r#"{{"rootfs":{{"diff_ids":[]}},"config":{{"Healthcheck":{test}}}}}"#);
            ImageConfig::parse(text.as_bytes()).unwrap().healthcheck()
        };
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        assert_eq!(
            check(r#"{"Test":["CMD","/ok","-q"]}"#),
            words(&["/ok", "-q"])
        );
        assert_eq!(
            check(r#"{"Test":["CMD-SHELL","ok || exit 1"]}"#),
            words(&["/bin/sh", "-c", "ok || exit 1"])
        );
        for none in [
            r#"{"Test":["NONE"]}"#,
            r#"{"Test":["CMD"]}"#,
            r#"{"Test":[]}"#,
            r#"{"Test":"CMD /ok"}"#,
            r#"{"Test":["CMD",1]}"#,
            r#"{"Test":["CMD-SHELL","a","b"]}"#,
            "7",
            "null",
        ] {
            assert_eq!(check(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn hostile_health_checks_never_panic(words: Vec<String>, member in "Test|test|Cmd") {
            let text = serde_json::json!({
                "rootfs": { "diff_ids": [] }, "config": { "Healthcheck": { member: words } },
            });
            let config = ImageConfig::parse(text.to_string().as_bytes()).unwrap();
            prop_assert!(config.healthcheck().is_none_or(|argv| !argv.is_empty()));
        }

        #[test]
        fn hostile_documents_never_panic(bytes: Vec<u8>, text in "[\\[\\]{}:,\"a-zA-Z0-9]{0,200}") {
            let _ = ImageConfig::parse(&bytes);
            let _ = ImageConfig::parse(text.as_bytes());
            let _ = serde_json::from_str::<Spec>(&text);
        }
    }
}
