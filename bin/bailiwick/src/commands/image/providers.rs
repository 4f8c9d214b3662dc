//! Key providers on the command line: `provider:NAME[:ARGUMENTS]`, found in the file that `OCICRYPT_KEYPROVIDER_CONFIG` names.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use images::{Configured, KeyService, ServiceKey, ServiceOpener};
use keyprovider::Providers;

use crate::advice::Advice;

/// Where ocicrypt's users look.
const CONFIG: &str = "OCICRYPT_KEYPROVIDER_CONFIG";
/// What others send for a provider that is named alone.
const NO_ARGUMENTS: &str = "Enabled";

/// All that are configured on this machine.
fn configured() -> anyhow::Result<Providers> {
    let Some(path) = std::env::var_os(CONFIG).filter(|path| !path.is_empty()) else {
        return Ok(Providers::none());
    };
    Providers::read(Path::new(&path)).with_context(|| {
        Advice::usage(
            format!("the key providers in `{}` can't be used", path.display()),
            format!("correct the file, or unset `{CONFIG}`"),
        )
    })
}

/// The provider in `NAME[:ARGUMENTS]`, and its arguments.
pub(super) fn recipient(named: &str) -> anyhow::Result<(Arc<dyn KeyService>, &str)> {
    let (name, arguments) = split(named);
    Ok((find(&configured()?, name)?, arguments))
}

/// Asks the configured providers, with the arguments that `--key provider:NAME:ARGUMENTS` gave; and the other keys, which are
/// files.
pub(super) fn openers<K: AsRef<OsStr> + Clone>(
    keys: &[K],
) -> anyhow::Result<(ServiceOpener, Vec<K>)> {
    let providers = configured()?;
    let mut services: Vec<ServiceKey> = providers
        .all()
        .into_iter()
        .map(|service| ServiceKey {
            service,
            arguments: Vec::new(),
        })
        .collect();
    let mut files = Vec::new();
    for key in keys {
        let text = key.as_ref().to_str();
        let Some(named) = text.and_then(|key| key.strip_prefix("provider:")) else {
            files.push(key.clone());
            continue;
        };
        let (name, arguments) = split(named);
        let found = find(&providers, name)?;
        let mut known = services.iter_mut();
        if let Some(known) = known.find(|known| known.service.name() == found.name()) {
            known.arguments.push(arguments.to_owned());
        }
    }
    Ok((ServiceOpener::new(services), files))
}

fn split(named: &str) -> (&str, &str) {
    named.split_once(':').unwrap_or((named, NO_ARGUMENTS))
}

fn find(providers: &Providers, name: &str) -> anyhow::Result<Arc<dyn KeyService>> {
    // This slot is ours: what another wrote there, nobody could read.
    if name == "bailiwick" {
        return Err(Advice::usage(
            "`provider:bailiwick` is not asked from here",
            "write `bailiwick:IMAGE-SET`",
        )
        .error());
    }
    let configured = providers.find(name).with_context(|| {
        let file = format!("correct its entry in the file that `{CONFIG}` names");
        Advice::usage(format!("`provider:{name}` is refused"), file)
    })?;
    match configured {
        Configured::Yes(service) => Ok(service),
        Configured::No => Err(Advice::usage(
            format!("key provider `{name}` is not configured"),
            format!("add it to `key-providers` in the file that `{CONFIG}` names; docs/how/key-providers.md shows how"),
        )
        .error()),
    }
}
