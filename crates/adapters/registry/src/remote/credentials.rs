//! Names and passwords for registries, from the files that docker, podman and skopeo write.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use crate::error::RegistryError;
use crate::reference::RemoteReference;

/// Where the tools keep their credentials, in the order they are asked.
#[must_use]
pub fn auth_file_candidates(runtime_directory: Option<&Path>, home: Option<&Path>) -> Vec<PathBuf> {
    let run = runtime_directory.map(|directory| directory.join("containers/auth.json"));
    let own = home.map(|home| home.join(".config/containers/auth.json"));
    let docker = home.map(|home| home.join(".docker/config.json"));
    [run, own, docker].into_iter().flatten().collect()
}

/// A name and a password.
pub(super) struct Login {
    name: String,
    password: Zeroizing<String>,
}

impl Login {
    /// The first entry in `files` for this repository, its parents or its registry. A file that is not there is passed over.
    pub(super) fn find(
        files: &[PathBuf],
        reference: &RemoteReference,
    ) -> Result<Option<Self>, RegistryError> {
        for path in files {
            let text = match fs::read(path) {
                Ok(bytes) => Zeroizing::new(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(RegistryError::disk(path, "read")(source)),
            };
            let found = find_in(&text, reference).ok_or_else(|| RegistryError::Credentials {
                path: path.clone(),
                host: reference.host().to_string(),
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn expose_password(&self) -> &str {
        &self.password
    }
}

/// `None` when the file or the entry can't be read; `Some(None)` when it has no entry for us.
fn find_in(text: &[u8], reference: &RemoteReference) -> Option<Option<Login>> {
    let file: AuthFile = serde_json::from_slice(text).ok()?;
    for name in names(reference) {
        match file.auths.get(&name) {
            Some(Entry { auth: Some(auth) }) if !auth.is_empty() => return decode(auth).map(Some),
            Some(_) | None => {}
        }
    }
    Some(None)
}

/// From the most to the least specific: `host/a/b`, `host/a`, `host`, and the ways docker writes a host.
fn names(reference: &RemoteReference) -> Vec<String> {
    let host = reference.host().to_string();
    let mut name = format!("{host}/{}", reference.repository().as_str());
    let mut names = Vec::new();
    while name.len() > host.len() {
        names.push(name.clone());
        name.truncate(name.rfind('/').unwrap_or(0));
    }
    names.extend([
        host.clone(),
        format!("https://{host}"),
        format!("https://{host}/v1/"),
        format!("https://{host}/v2/"),
    ]);
    if host == "docker.io" {
        names.extend([
            "index.docker.io".to_owned(),
            "https://index.docker.io/v1/".to_owned(),
        ]);
    }
    names
}

fn decode(auth: &str) -> Option<Login> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(auth).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    Some(Login {
        name: name.to_owned(),
        password: Zeroizing::new(password.trim_end_matches('\0').to_owned()),
    })
}

#[derive(Deserialize)]
struct AuthFile {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.auth.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    fn remote(text: &str) -> RemoteReference {
        match text.parse() {
            Ok(Reference::Remote(remote)) => remote,
            other => panic!("{other:?}"),
        }
    }

    fn find(file: &str, reference: &str) -> Option<Option<(String, String)>> {
        let found = find_in(file.as_bytes(), &remote(reference))?;
        Some(found.map(|login| (login.name().to_owned(), login.expose_password().to_owned())))
    }

    fn pair(name: &str, password: &str) -> (String, String) {
        (name.to_owned(), password.to_owned())
    }

    #[test]
    fn the_nearest_entry_wins() {
        let file = r#"{"auths":{"h.example":{"auth":"YTox"},"h.example/x/y":{"auth":"YjoyOjM="},"h.example/x":{}}}"#;
        assert_eq!(
            find(file, "docker://h.example/x/y/z"),
            Some(Some(pair("b", "2:3")))
        );
        assert_eq!(
            find(file, "docker://h.example/x/q"),
            Some(Some(pair("a", "1")))
        );
        assert_eq!(
            find(file, "docker://h.example/x/yy"),
            Some(Some(pair("a", "1")))
        );
        assert_eq!(find(file, "docker://h.example.org/x"), Some(None));
        assert_eq!(find(file, "docker://h.example:444/x"), Some(None));
    }

    #[test]
    fn dockers_own_name_is_known() {
        let file = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTox"}},"credsStore":"x"}"#;
        assert_eq!(
            find(file, "docker://docker.io/busybox"),
            Some(Some(pair("a", "1")))
        );
    }

    #[test]
    fn unreadable_files_are_no_anonymity() {
        for bad in [
            "",
            "7",
            r#"{"auths":{"h.example":{"auth":"?"}}}"#,
            r#"{"auths":{"h.example":{"auth":"YQ=="}}}"#,
        ] {
            assert_eq!(find(bad, "docker://h.example/a"), None, "{bad}");
        }
        assert_eq!(find("{}", "docker://h.example/a"), Some(None));
    }
}
