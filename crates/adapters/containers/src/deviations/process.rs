//! Command, environment, user, working directory and powers.

use std::collections::{BTreeMap, BTreeSet};

use evidence::Deviation;

use super::{Platform, default_capability, other, unknown};
use crate::spec::{Process, Run};
use crate::users::Users;

pub(super) fn compare(
    process: &Process,
    image: &Run,
    users: &Users,
    platform: &Platform<'_>,
    found: &mut BTreeSet<Deviation>,
) {
    let shipped: Vec<&String> = image
        .entrypoint
        .iter()
        .chain(&image.cmd)
        .flatten()
        .collect();
    if !process.args.iter().eq(shipped) {
        found.insert(Deviation::Args {
            value: bounded(&process.args),
        });
    }
    environment(process, image, platform, found);
    if !users.agree(&image.user, &process.user) {
        found.insert(Deviation::User {
            value: format!("{}:{}", process.user.uid, process.user.gid),
        });
    }
    let shipped = if image.working_dir.is_empty() {
        "/"
    } else {
        &image.working_dir
    };
    if process.cwd != shipped {
        found.insert(Deviation::Cwd {
            value: process.cwd.clone(),
        });
    }
    if process.terminal {
        found.insert(other("process.terminal"));
    }
    let granted = process.capabilities.values().flatten().flatten();
    found.extend(
        granted
            .filter(|name| !default_capability(name))
            .map(|name| Deviation::Capability { name: name.clone() }),
    );
    found.extend(unknown("process.", process.others.keys(), HARMLESS));
}

/// Limits and confinement: they take away and add nothing.
const HARMLESS: &[&str] = &[
    "apparmorProfile",
    "consoleSize",
    "noNewPrivileges",
    "oomScoreAdj",
    "rlimits",
    "selinuxLabel",
];

/// Each variable must be the image's, and each of the image's must be there once.
fn environment(
    process: &Process,
    image: &Run,
    platform: &Platform<'_>,
    found: &mut BTreeSet<Deviation>,
) {
    let mut shipped: BTreeMap<&str, &str> = image
        .env
        .iter()
        .flatten()
        .map(|entry| split(entry))
        .collect();
    let mut seen = BTreeSet::new();
    for entry in &process.env {
        let (name, value) = split(entry);
        let first = seen.insert(name);
        let as_shipped = match shipped.remove(name) {
            Some(wanted) => value == wanted && entry.contains('='),
            None => added_by_platform(name, value, process, platform),
        };
        if !first || !as_shipped {
            found.insert(Deviation::Env {
                name: name.to_owned(),
            });
        }
    }
    found.extend(shipped.into_keys().map(|name| Deviation::Env {
        name: name.to_owned(),
    }));
}

fn added_by_platform(name: &str, value: &str, process: &Process, platform: &Platform<'_>) -> bool {
    match name {
        "PATH" => value == DEFAULT_PATH,
        "TERM" => process.terminal && value == "xterm",
        "HOSTNAME" => platform.cri && is_host_name(value) || value == platform.hostname,
        _ => false,
    }
}

fn is_host_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (1..=253).contains(&text.len()) && text.chars().all(plain)
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn split(entry: &str) -> (&str, &str) {
    entry.split_once('=').unwrap_or((entry, ""))
}

/// A command may be megabytes long; a statement may not.
fn bounded(args: &[String]) -> Vec<String> {
    let mut room = LONGEST_COMMAND;
    let mut kept = Vec::new();
    for arg in args {
        match room.checked_sub(arg.len() + 1) {
            Some(left) => room = left,
            None => {
                kept.push("…".to_owned());
                break;
            }
        }
        kept.push(arg.clone());
    }
    kept
}

const LONGEST_COMMAND: usize = 4096;
