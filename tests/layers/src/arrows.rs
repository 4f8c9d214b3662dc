//! Which crate may use which: a crate's place is its folder, and an arrow points to a lower place.

use std::path::{Component, Path};

use crate::metadata::{Kind, Package};

/// One sentence per arrow that does not point down, and per crate that stands nowhere.
pub(crate) fn complaints(packages: &[Package]) -> Vec<String> {
    packages.iter().flat_map(complaints_about).collect()
}

/// Layers from the ground up; `tests` stands above all, and only tests may point at it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Layer {
    Formats,
    Domain,
    Services,
    Adapters,
    Binary,
    Tests,
}

/// A layer and the height inside it: an arrow between places of one layer must lead to a lower height.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    layer: Layer,
    height: usize,
}

/// What the other formats stand on.
const FLOOR_OF_FORMATS: [&str; 3] = ["hpke-xwing", "jose", "twin-sha256"];
/// What the other adapters stand on.
const FLOOR_OF_ADAPTERS: [&str; 2] = ["peer", "proto"];
/// The one declared chain, lowest first; the crates of one step do not know each other.
const DOMAIN_CHAIN: [&[&str]; 5] = [
    &["estate"],
    &["evidence"],
    &["policy"],
    &["ledger"],
    &["custody", "issuer"],
];

impl Place {
    fn of(folder: &Path) -> Option<Self> {
        let parts: Vec<&str> = folder
            .components()
            .map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let (layer, height) = match parts.as_slice() {
            ["crates", "formats", name] => (Layer::Formats, above_floor(name, &FLOOR_OF_FORMATS)),
            ["crates", "domain", name] => (
                Layer::Domain,
                DOMAIN_CHAIN.iter().position(|step| step.contains(name))?,
            ),
            ["crates", "services", _] => (Layer::Services, 0),
            ["crates", "adapters", name] => {
                (Layer::Adapters, above_floor(name, &FLOOR_OF_ADAPTERS))
            }
            ["bin", _] => (Layer::Binary, 0),
            // The fixture is what the other tests stand on.
            // Measurements stand where tests do: on everything.
            ["benches"] => (Layer::Tests, 1),
            ["tests", name] => (Layer::Tests, above_floor(name, &["fixture"])),
            _ => return None,
        };
        Some(Self { layer, height })
    }
}

fn above_floor(name: &str, floor: &[&str]) -> usize {
    usize::from(!floor.contains(&name))
}

fn complaints_about(package: &Package) -> Vec<String> {
    let Some(from) = Place::of(&package.folder) else {
        return vec![format!(
            "crate `{}` stands in `{}`, which is no layer",
            package.name,
            package.folder.display()
        )];
    };
    let wrong = package
        .uses
        .iter()
        .filter(|edge| match Place::of(&edge.folder) {
            // Tests of any layer may stand on what is made for tests.
            Some(to) => !(to < from || (edge.kind == Kind::Test && to.layer == Layer::Tests)),
            None => true,
        });
    wrong
        .map(|edge| {
            format!(
                "`{}` may not use `{}`: arrows point down only",
                package.folder.display(),
                edge.folder.display()
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Use;

    fn allowed(from: &str, to: &str, kind: Kind) -> bool {
        let edge = Use {
            folder: to.into(),
            kind,
        };
        complaints(&[Package {
            name: "made-up".into(),
            folder: from.into(),
            uses: vec![edge],
        }])
        .is_empty()
    }

    #[test]
    fn arrows_down_are_allowed() {
        for (from, to) in [
            ("bin/bailiwick", "crates/adapters/store"),
            ("crates/adapters/store", "crates/services/server"),
            ("crates/adapters/rpc", "crates/adapters/proto"),
            ("crates/services/server", "crates/domain/custody"),
            ("crates/domain/estate", "crates/formats/spiffe-id"),
            ("crates/domain/issuer", "crates/domain/ledger"),
            ("crates/domain/ledger", "crates/domain/estate"),
            ("crates/formats/oci-crypt", "crates/formats/jose"),
            ("tests/demo", "tests/fixture"),
        ] {
            assert!(allowed(from, to, Kind::Shipped), "{from} -> {to}");
        }
    }

    #[test]
    fn arrows_up_or_across_are_refused() {
        for (from, to) in [
            ("crates/adapters/store", "bin/bailiwick"),
            ("crates/services/server", "crates/adapters/store"),
            ("crates/services/server", "crates/services/agent"),
            ("crates/adapters/store", "crates/adapters/web"),
            ("crates/adapters/proto", "crates/adapters/rpc"),
            ("crates/domain/estate", "crates/domain/policy"),
            ("crates/domain/custody", "crates/domain/issuer"),
            ("crates/domain/policy", "crates/services/server"),
            ("crates/formats/jose", "crates/formats/hpke-xwing"),
            ("crates/formats/jose", "crates/formats/tlog"),
            ("crates/formats/tlog", "crates/formats/spiffe-id"),
            ("crates/formats/tlog", "crates/domain/estate"),
            ("crates/adapters/accounts", "tests/fixture"),
            ("tests/fixture", "tests/demo"),
        ] {
            assert!(!allowed(from, to, Kind::Shipped), "{from} -> {to}");
        }
    }

    #[test]
    fn tests_may_stand_on_the_fixture_but_not_on_a_higher_layer() {
        assert!(allowed(
            "crates/adapters/accounts",
            "tests/fixture",
            Kind::Test
        ));
        assert!(!allowed(
            "crates/domain/policy",
            "crates/services/server",
            Kind::Test
        ));
    }

    #[test]
    fn a_crate_outside_the_declared_rooms_is_refused() {
        assert!(!allowed(
            "crates/domain/shortcut",
            "crates/domain/estate",
            Kind::Shipped
        ));
        assert!(!allowed(
            "crates/utils",
            "crates/domain/estate",
            Kind::Shipped
        ));
        assert!(!allowed(
            "crates/domain/policy",
            "/elsewhere/estate",
            Kind::Shipped
        ));
    }
}
