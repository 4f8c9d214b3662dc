//! Which modules may be loaded: the file that ocicrypt's users have for it.
//!
//! ```yaml
//! pkcs11:
//!   module-directories:
//!     - /usr/lib/softhsm/
//!   allowed-module-paths:
//!     - /usr/lib/softhsm/
//!   allowed-environment:
//!     - SOFTHSM2_CONF
//! ```
//!
//! The last list is ours, and others pass over it: variables decide what many modules load in their turn (`PKCS11SPY`,
//! `OPENSC_CONF`, `HOME`), so that a key file may set only those that stand there; without it, `SOFTHSM2_CONF` alone.
//!
//! An allowed path is a file, or with `/` at its end all files directly in a folder. Without such a file nothing is loaded.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{KeyFileError, PolicyError};
use crate::key_file::MAX_LEN;
use crate::uri::ModuleName;
use crate::yaml::{self, Value};

/// Where to look for modules, and which may be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModulePolicy {
    directories: Vec<PathBuf>,
    allowed: Vec<String>,
    environment: Vec<String>,
}

/// A module that the policy allows. Only [`ModulePolicy`] makes one, and nothing else is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermittedModule(PathBuf);

impl PermittedModule {
    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Allows no module.
impl Default for ModulePolicy {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            allowed: Vec::new(),
            environment: USUAL_ENVIRONMENT.map(str::to_owned).to_vec(),
        }
    }
}

impl ModulePolicy {
    /// ocicrypt's `internal` policy: the folders where distributions put modules.
    #[must_use]
    pub fn internal() -> Self {
        let mut directories: Vec<String> = [
            "/usr/lib64/pkcs11/",
            "/usr/lib/pkcs11/",
            "/usr/local/lib/pkcs11/",
            "/usr/lib/softhsm/",
        ]
        .map(str::to_owned)
        .to_vec();
        directories.push(format!("/usr/lib/{}-linux-gnu/", std::env::consts::ARCH));
        Self {
            directories: directories.iter().map(PathBuf::from).collect(),
            allowed: directories,
            ..Self::default()
        }
    }

    /// The policy of the first of these files that is there; [`Self::internal`] and a file that must be there are the
    /// caller's to choose.
    ///
    /// # Errors
    /// When none is there, or the first one is not understood: it is not passed over for another.
    pub fn first_of(files: &[PathBuf]) -> Result<Self, PolicyError> {
        // One that can't be looked at, or is a link to nowhere, is there: what it says might forbid what the next one allows.
        let is_absent = |error: io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            )
        };
        let is_there = |file: &&PathBuf| match fs::symlink_metadata(file) {
            Ok(_) => true,
            Err(error) => !is_absent(error),
        };
        let found = files.iter().find(is_there);
        found.map_or(Err(PolicyError::NoFile), |file| Self::read(file))
    }

    /// The policy in a file.
    ///
    /// # Errors
    /// When it is not there or not understood.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let file = fs::read(path).map_err(|source| PolicyError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&file).map_err(|source| PolicyError::Malformed {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// When it is no YAML, or a list is none. Members that are not known are passed over, as ocicrypt does.
    pub fn parse(file: &[u8]) -> Result<Self, KeyFileError> {
        let malformed = |member| KeyFileError::Member { member };
        if file.len() > MAX_LEN {
            return Err(KeyFileError::TooLong { limit: MAX_LEN });
        }
        let text = std::str::from_utf8(file).map_err(|_| malformed("pkcs11"))?;
        let document = yaml::parse(text)?;
        let Some(policy) = document.member("pkcs11").filter(|policy| !policy.is_null()) else {
            return Ok(Self::default());
        };
        let list = |name: &'static str, is_good: fn(&str) -> bool| match policy.member(name) {
            None => Ok(None),
            Some(list) if list.is_null() => Ok(None),
            Some(Value::List(texts)) => texts
                .iter()
                .map(|text| {
                    let text = text.text().filter(|text| is_good(text));
                    text.map(str::to_owned).ok_or(malformed(name))
                })
                .collect::<Result<Vec<_>, _>>()
                .map(Some),
            Some(_) => Err(malformed(name)),
        };
        let paths = |name| Ok(list(name, |path| path.starts_with('/'))?.unwrap_or_default());
        let none = Self::default();
        Ok(Self {
            directories: paths("module-directories")?
                .into_iter()
                .map(PathBuf::from)
                .collect(),
            allowed: paths("allowed-module-paths")?,
            environment: list("allowed-environment", |name| !name.is_empty())?
                .unwrap_or(none.environment),
        })
    }

    /// Whether a key file may set these variables.
    ///
    /// # Errors
    /// When one of them is not allowed.
    pub(crate) fn permit_environment(
        &self,
        variables: &[(String, String)],
    ) -> Result<(), PolicyError> {
        let mut names = variables.iter().map(|(name, _)| name);
        match names.find(|name| !self.environment.contains(name)) {
            None => Ok(()),
            Some(name) => Err(PolicyError::Environment {
                name: name.chars().take(64).collect(),
            }),
        }
    }

    /// The module that a key file names, if it is there and allowed.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub(crate) fn permit(&self, module: &ModuleName) -> Result<PermittedModule, PolicyError> {
        let ModuleName { path, name } = module;
        match (path, name) {
            (Some(path), _) if path.is_file() => self.allow(path.clone()),
            (Some(folder), Some(name)) if folder.is_dir() => {
                self.search(std::slice::from_ref(folder), name)
            }
            (Some(path), _) => Err(PolicyError::NotFound {
                name: path.display().to_string(),
            }),
            (None, Some(name)) => self.search(&self.directories, name),
            (None, None) => Err(PolicyError::NoModule),
        }
    }

    /// `softhsm2` finds `libsofthsm2.so`: the name stands in the file's, at its end or before a full stop.
    fn search(&self, folders: &[PathBuf], name: &str) -> Result<PermittedModule, PolicyError> {
        let wanted = name.to_lowercase();
        let is_meant = |file: &Path| {
            let file = file.file_name().and_then(|name| name.to_str());
            let file = file.map(str::to_lowercase).unwrap_or_default();
            let behind = file
                .split_once(&wanted)
                .map(|(_, behind)| behind.to_owned());
            behind.is_some_and(|behind| behind.is_empty() || behind.starts_with('.'))
        };
        for folder in folders {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            files.sort();
            if let Some(file) = files.into_iter().find(|file| is_meant(file)) {
                return self.allow(file);
            }
        }
        Err(PolicyError::NotFound {
            name: name.chars().take(80).collect(),
        })
    }

    fn allow(&self, path: PathBuf) -> Result<PermittedModule, PolicyError> {
        // Written out, `/allowed/../elsewhere/module.so` would not be directly in the allowed folder; as text it must not be, either.
        let text = path.to_str().unwrap_or_default();
        let is_plain = !text
            .split('/')
            .skip(1)
            .any(|part| matches!(part, "" | "." | ".."));
        let is_allowed = |allowed: &String| match allowed.strip_suffix('/') {
            Some(folder) => {
                path.parent() == Some(Path::new(if folder.is_empty() { "/" } else { folder }))
            }
            None => text == allowed,
        };
        match is_plain && self.allowed.iter().any(is_allowed) {
            true => Ok(PermittedModule(path)),
            false => Err(PolicyError::Forbidden { path }),
        }
    }
}

/// It names a file that names a folder of objects, and nothing that is run.
const USUAL_ENVIRONMENT: [&str; 1] = ["SOFTHSM2_CONF"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_that_are_named_are_permitted() {
        let set = |names: &[&str]| -> Vec<_> {
            let each = names
                .iter()
                .map(|name| ((*name).to_owned(), "/x".to_owned()));
            each.collect()
        };
        let usual = ModulePolicy::parse(b"pkcs11:\n  allowed-module-paths: [/usr/lib/]\n").unwrap();
        for policy in [&usual, &ModulePolicy::internal(), &ModulePolicy::default()] {
            assert!(policy.permit_environment(&set(&["SOFTHSM2_CONF"])).is_ok());
            let refused = policy.permit_environment(&set(&["SOFTHSM2_CONF", "PKCS11SPY"]));
            assert!(
                matches!(refused, Err(PolicyError::Environment { name }) if name == "PKCS11SPY")
            );
        }
        let other = ModulePolicy::parse(b"pkcs11:\n  allowed-environment: [A]\n").unwrap();
        assert!(other.permit_environment(&set(&["A"])).is_ok());
        assert!(other.permit_environment(&set(&["SOFTHSM2_CONF"])).is_err());
        let nothing = ModulePolicy::parse(b"pkcs11:\n  allowed-environment: []\n").unwrap();
        assert!(
            nothing
                .permit_environment(&set(&["SOFTHSM2_CONF"]))
                .is_err()
        );
        assert!(ModulePolicy::parse(b"pkcs11:\n  allowed-environment: A\n").is_err());
    }

    fn named(name: &str) -> ModuleName {
        ModuleName {
            path: None,
            name: Some(name.to_owned()),
        }
    }

    fn at(path: &Path) -> ModuleName {
        ModuleName {
            path: Some(path.to_owned()),
            name: None,
        }
    }

    fn policy(directory: &Path, allowed: &str) -> ModulePolicy {
        let text = format!(
            "pkcs11:\n  module-directories:\n    - {}\n  allowed-module-paths:\n    - {allowed}\n",
            directory.display()
        );
        ModulePolicy::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_what_is_allowed_is_permitted() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, deep) = (folder.path().join("libhsm2.so"), folder.path().join("sub"));
        fs::create_dir(&deep).unwrap();
        for file in [&inside, &deep.join("libhsm2.so")] {
            fs::write(file, "").unwrap();
        }
        let whole = policy(folder.path(), &format!("{}/", folder.path().display()));
        assert_eq!(whole.permit(&at(&inside)).unwrap().path(), inside);
        assert_eq!(whole.permit(&named("HSM2")).unwrap().path(), inside);
        let file = policy(folder.path(), &inside.display().to_string());
        assert_eq!(file.permit(&named("hsm2")).unwrap().path(), inside);

        let elsewhere = policy(folder.path(), "/usr/lib/none/");
        let without_slash = policy(folder.path(), &folder.path().display().to_string());
        let around = folder.path().join("sub/../libhsm2.so");
        for (policy, module) in [
            (&whole, at(&deep.join("libhsm2.so"))),
            (&whole, at(&around)),
            (&elsewhere, at(&inside)),
            (&elsewhere, named("hsm2")),
            (&without_slash, at(&inside)),
            (&ModulePolicy::default(), at(&inside)),
        ] {
            let refused = policy.permit(&module).unwrap_err();
            assert!(
                matches!(refused, PolicyError::Forbidden { .. }),
                "{module:?}"
            );
        }
    }

    #[test]
    fn a_name_means_a_whole_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libsofthsm2.so"), "").unwrap();
        let policy = policy(folder.path(), &format!("{}/", folder.path().display()));
        assert!(policy.permit(&named("softhsm2")).is_ok());
        for name in ["softhsm", "soft", "other"] {
            let refused = policy.permit(&named(name)).unwrap_err();
            assert!(matches!(refused, PolicyError::NotFound { .. }), "{name}");
        }
        let nothing = ModuleName::default();
        assert!(matches!(
            policy.permit(&nothing),
            Err(PolicyError::NoModule)
        ));
        let gone = at(&folder.path().join("gone.so"));
        assert!(matches!(
            policy.permit(&gone),
            Err(PolicyError::NotFound { .. })
        ));
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (bad, good) = (folder.path().join("bad"), folder.path().join("good"));
        fs::write(&bad, "pkcs11:\n  allowed-module-paths: /usr/lib/\n").unwrap();
        fs::write(&good, "pkcs11:\n  allowed-module-paths: [/usr/lib/]\n").unwrap();
        let gone = folder.path().join("gone");
        let refused = ModulePolicy::first_of(&[gone.clone(), bad, good.clone()]).unwrap_err();
        assert!(matches!(refused, PolicyError::Malformed { .. }));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&gone, &link).unwrap();
        let refused = ModulePolicy::first_of(&[link, good.clone()]).unwrap_err();
        assert!(matches!(refused, PolicyError::Read { .. }));
        // As a service without a home has it.
        let homeless = PathBuf::from("/dev/null/.config/ocicrypt.conf");
        assert!(ModulePolicy::first_of(&[gone.clone(), homeless, good]).is_ok());
        assert!(matches!(
            ModulePolicy::first_of(&[gone]),
            Err(PolicyError::NoFile)
        ));
        assert!(ModulePolicy::parse(b"pkcs11:\n  allowed-module-paths: [lib/]\n").is_err());
        assert_eq!(
            ModulePolicy::parse(b"other: 1\n").unwrap(),
            ModulePolicy::default()
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_policies_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = ModulePolicy::parse(&bytes);
        }
    }
}
