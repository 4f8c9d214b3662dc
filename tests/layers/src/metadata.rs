//! What `cargo metadata` tells about the workspace: its crates, where they live and whom they use.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// The crates of the workspace and its root folder.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One crate: its name, its folder relative to the root, and the workspace crates it uses.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) uses: Vec<Use>,
}

/// One arrow to another crate of this workspace.
pub(crate) struct Use {
    pub(crate) folder: PathBuf,
    pub(crate) kind: Kind,
}

/// Whether the arrow is in what ships or in tests alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Shipped,
    Test,
}

/// Why the workspace could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Fault: the machine's; cargo cannot be started.
    #[error("`cargo metadata` did not start: {0}")]
    Start(std::io::Error),
    /// Fault: the workspace's; cargo says what.
    #[error("`cargo metadata` failed: {0}")]
    Cargo(String),
    /// Fault: this check's; cargo's answer has another shape.
    #[error("`cargo metadata` answered in an unknown form: {0}")]
    Form(serde_json::Error),
}

impl Workspace {
    /// Asks cargo, without the network.
    pub(crate) fn read() -> Result<Self, ReadError> {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--no-deps",
                "--offline",
                "--locked",
            ])
            .output()
            .map_err(ReadError::Start)?;
        if !output.status.success() {
            return Err(ReadError::Cargo(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        Self::parse(&output.stdout)
    }

    pub(crate) fn parse(json: &[u8]) -> Result<Self, ReadError> {
        let raw: RawWorkspace = serde_json::from_slice(json).map_err(ReadError::Form)?;
        let root = raw.workspace_root;
        let packages = raw
            .packages
            .into_iter()
            .map(|package| package.under(&root))
            .collect();
        Ok(Self { root, packages })
    }
}

#[derive(Deserialize)]
struct RawWorkspace {
    workspace_root: PathBuf,
    packages: Vec<RawPackage>,
}

#[derive(Deserialize)]
struct RawPackage {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<RawDependency>,
}

#[derive(Deserialize)]
struct RawDependency {
    kind: Option<String>,
    path: Option<PathBuf>,
}

impl RawPackage {
    fn under(self, root: &Path) -> Package {
        let folder = self.manifest_path.parent().unwrap_or(root);
        let uses = self.dependencies.iter().filter_map(|dependency| {
            let kind = if dependency.kind.as_deref() == Some("dev") {
                Kind::Test
            } else {
                Kind::Shipped
            };
            Some(Use {
                folder: relative(dependency.path.as_deref()?, root),
                kind,
            })
        });
        Package {
            uses: uses.collect(),
            folder: relative(folder, root),
            name: self.name,
        }
    }
}

/// A folder outside the root stays absolute, and so belongs to no layer.
fn relative(folder: &Path, root: &Path) -> PathBuf {
    folder.strip_prefix(root).unwrap_or(folder).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_relative_and_registry_crates_are_left_out() {
        let json = br#"{"workspace_root":"/w","packages":[{"name":"a","manifest_path":"/w/crates/domain/a/Cargo.toml",
            "dependencies":[{"kind":null,"path":"/w/crates/formats/b"},{"kind":"dev","path":"/w/tests/c"},{"kind":null}]}]}"#;
        let workspace = Workspace::parse(json).unwrap();
        let package = &workspace.packages[0];
        assert_eq!(package.folder, Path::new("crates/domain/a"));
        let uses: Vec<_> = package
            .uses
            .iter()
            .map(|edge| (edge.folder.to_str().unwrap(), edge.kind))
            .collect();
        assert_eq!(
            uses,
            [("crates/formats/b", Kind::Shipped), ("tests/c", Kind::Test)]
        );
    }
}
