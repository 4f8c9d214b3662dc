//! Names and passwords for registries, from the files that docker, podman and skopeo write.

mod helper;

pub use helper::Helpers;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::Options;
use crate::error::RegistryError;
use crate::reference::RemoteReference;

/// Where the tools keep their credentials, in the order they are asked: `named` is what `$REGISTRY_AUTH_FILE` says.
#[must_use]
pub fn auth_file_candidates(
    named: Option<&Path>,
    runtime_directory: Option<&Path>,
    home: Option<&Path>,
) -> Vec<PathBuf> {
    let named = named.map(Path::to_owned);
    let run = runtime_directory.map(|directory| directory.join("containers/auth.json"));
    let own = home.map(|home| home.join(".config/containers/auth.json"));
    let docker = home.map(|home| home.join(".docker/config.json"));
    [named, run, own, docker].into_iter().flatten().collect()
}

/// What a registry is told.
pub(super) enum Login {
    /// A name and a password.
    Password {
        name: String,
        password: Zeroizing<String>,
    },
    /// A token that buys others; registries themselves do not take it.
    IdentityToken(Zeroizing<String>),
}

impl Login {
    /// The first entry in the files for this repository, its parents or its registry. A file that is not there is passed
    /// over.
    pub(super) fn find(
        options: &Options,
        reference: &RemoteReference,
    ) -> Result<Option<Self>, RegistryError> {
        for path in &options.auth_files {
            let unreadable = || RegistryError::Credentials {
                path: path.clone(),
                host: reference.host().to_string(),
            };
            let Some(text) = read(path)? else {
                continue;
            };
            let found = match find_in(&text, reference).ok_or_else(unreadable)? {
                Found::Login(login) => Some(login),
                Found::Helper(name) => options.helpers.ask(&name, &server(reference))?,
                Found::Nothing => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, RegistryError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RegistryError::disk(path, "read")(source)),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(RegistryError::disk(path, "read"))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(RegistryError::OddFile(path.to_owned()));
    }
    Ok(Some(bytes))
}

/// What a file says about a repository.
enum Found {
    Nothing,
    Login(Login),
    /// Ask the helper of this name.
    Helper(String),
}

/// `None` when the file or the entry can't be read. A helper for the registry goes before what the file itself holds,
/// and that before the helper for all registries.
fn find_in(text: &[u8], reference: &RemoteReference) -> Option<Found> {
    let mut file: AuthFile = serde_json::from_slice(text).ok()?;
    for name in host_names(reference) {
        if let Some(helper) = file
            .cred_helpers
            .remove(&name)
            .filter(|name| !name.is_empty())
        {
            return Some(Found::Helper(helper));
        }
    }
    for name in names(reference) {
        let Some(mut entry) = file.auths.remove(&name) else {
            continue;
        };
        if let Some(token) = entry.identitytoken.take().filter(|token| !token.is_empty()) {
            return Some(Found::Login(Login::IdentityToken(Zeroizing::new(token))));
        }
        if let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.is_empty()) {
            return decode(auth).map(Found::Login);
        }
    }
    Some(match file.creds_store {
        Some(helper) if !helper.is_empty() => Found::Helper(helper),
        Some(_) | None => Found::Nothing,
    })
}

/// What helpers call the registry.
fn server(reference: &RemoteReference) -> String {
    if reference.host().is_docker_hub() {
        DOCKER_HUB.to_owned()
    } else {
        reference.host().to_string()
    }
}

/// From the most to the least specific: `host/a/b`, `host/a`, and the names of the host.
fn names(reference: &RemoteReference) -> Vec<String> {
    let host = reference.host().to_string();
    let mut name = format!("{host}/{}", reference.repository().as_str());
    let mut names = Vec::new();
    while name.len() > host.len() {
        names.push(name.clone());
        name.truncate(name.rfind('/').unwrap_or(0));
    }
    names.extend(host_names(reference));
    names
}

/// The ways docker writes a host.
fn host_names(reference: &RemoteReference) -> Vec<String> {
    let host = reference.host().to_string();
    let mut names = vec![
        host.clone(),
        format!("https://{host}"),
        format!("https://{host}/v1/"),
        format!("https://{host}/v2/"),
    ];
    if reference.host().is_docker_hub() {
        names.extend(["index.docker.io".to_owned(), DOCKER_HUB.to_owned()]);
    }
    names
}

fn decode(auth: &str) -> Option<Login> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(auth).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    Some(Login::Password {
        name: name.to_owned(),
        password: Zeroizing::new(password.trim_end_matches('\0').to_owned()),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct AuthFile {
    auths: HashMap<String, Entry>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    identitytoken: Option<String>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.auth.zeroize();
        self.identitytoken.zeroize();
    }
}

const DOCKER_HUB: &str = "https://index.docker.io/v1/";
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

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
        Some(match find_in(file.as_bytes(), &remote(reference))? {
            Found::Nothing => None,
            Found::Helper(name) => Some(pair("(helper)", &name)),
            Found::Login(Login::Password { name, password }) => Some(pair(&name, &password)),
            Found::Login(Login::IdentityToken(token)) => Some(pair("(token)", &token)),
        })
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

    #[test]
    fn helpers_have_their_rank() {
        let file = r#"{"auths":{"h.example":{"auth":"YTox"},"i.example":{}},"credHelpers":{"h.example":"one","j.example":""},"credsStore":"all"}"#;
        assert_eq!(
            find(file, "docker://h.example/x"),
            Some(Some(pair("(helper)", "one")))
        );
        for other in ["docker://i.example/x", "docker://j.example/x"] {
            assert_eq!(find(file, other), Some(Some(pair("(helper)", "all"))));
        }
        let file = r#"{"credHelpers":{"https://index.docker.io/v1/":"hub"},"auths":{"h.example":{"auth":"","identitytoken":"t"}}}"#;
        assert_eq!(
            find(file, "docker://docker.io/x"),
            Some(Some(pair("(helper)", "hub")))
        );
        assert_eq!(server(&remote("docker://docker.io/x")), DOCKER_HUB);
        assert_eq!(
            find(file, "docker://h.example/x"),
            Some(Some(pair("(token)", "t")))
        );
    }

    #[test]
    fn files_are_asked_in_order() {
        let (run, home) = (Path::new("/run/user/1"), Path::new("/home/a"));
        let all = auth_file_candidates(Some(Path::new("/named")), Some(run), Some(home));
        let wanted = [
            "/named",
            "/run/user/1/containers/auth.json",
            "/home/a/.config/containers/auth.json",
            "/home/a/.docker/config.json",
        ];
        assert_eq!(all, wanted.map(PathBuf::from));
        assert!(auth_file_candidates(None, None, None).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text in r#"\{("(auths|credHelpers|credsStore)":(\{"h.example(/x)?":(\{"(auth|identitytoken)":"[A-Za-z0-9+/=]{0,12}"\}|"[a-z./]{0,9}"|7|null)\}|"[a-z]{0,4}"|null|\[\]),?){0,3}\}"#) {
            let _ = find_in(text.as_bytes(), &remote("docker://h.example/x/y"));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..256)) {
            let _ = find_in(&bytes, &remote("docker://h.example/x/y"));
        }
    }
}
