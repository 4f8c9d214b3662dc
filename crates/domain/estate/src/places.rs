//! Countries, regions, data centres and racks: one hierarchy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::LocationName;
use crate::read::{Table, Value};
use crate::source::{Conflict, EstateError, Problem};

/// What kind of place a location is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LocationKind {
    /// A country.
    Country,
    /// A region, larger or smaller than a country.
    Region,
    /// A data centre.
    Datacenter,
    /// A rack.
    Rack,
}

impl LocationKind {
    /// The kind as it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::Region => "region",
            Self::Datacenter => "datacenter",
            Self::Rack => "rack",
        }
    }

    /// Whether a place of this kind can lie in one of `outer`.
    const fn fits_in(self, outer: Self) -> bool {
        match outer {
            Self::Country | Self::Region => true,
            Self::Datacenter => matches!(self, Self::Rack),
            Self::Rack => false,
        }
    }
}

impl FromStr for LocationKind {
    type Err = LocationKindError;

    fn from_str(text: &str) -> Result<Self, LocationKindError> {
        [Self::Country, Self::Region, Self::Datacenter, Self::Rack]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(LocationKindError)
    }
}

impl fmt::Display for LocationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text names no kind of place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`country`, `region`, `datacenter` or `rack` is wanted")]
pub struct LocationKindError;

/// A place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// Its name.
    pub name: LocationName,
    /// What kind of place it is.
    pub kind: LocationKind,
    /// The place that it lies in.
    pub within: Option<LocationName>,
    /// Addresses that its nodes connect from; any when none are listed.
    pub prefixes: BTreeSet<IpPrefix>,
}

/// A text is not an address prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address prefix such as `10.20.0.0/16` is wanted, without bits beyond its length")]
pub struct IpPrefixError;

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    address: IpAddr,
    length: u8,
}

impl IpPrefix {
    /// Whether `address` lies in the range; an IPv4 address in IPv6 clothes counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, width) = bits(self.address);
        let (other, other_width) = bits(address.to_canonical());
        width == other_width && masked(other, width, self.length) == own
    }
}

impl FromStr for IpPrefix {
    type Err = IpPrefixError;

    fn from_str(text: &str) -> Result<Self, IpPrefixError> {
        let (address, length) = text.split_once('/').ok_or(IpPrefixError)?;
        let plain = length.len() <= 3 && length.bytes().all(|byte| byte.is_ascii_digit());
        let address: IpAddr = address.parse().map_err(|_| IpPrefixError)?;
        let length: u8 = length.parse().map_err(|_| IpPrefixError)?;
        let (all, width) = bits(address);
        if !plain
            || u32::from(length) > width
            || masked(all, width, length) != all
            || address.to_canonical() != address
        {
            return Err(IpPrefixError);
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Serialize for IpPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The location and all that it lies in, from the inside out.
pub(crate) fn ancestors<'l>(
    locations: &'l BTreeMap<LocationName, Location>,
    name: &LocationName,
) -> impl Iterator<Item = &'l Location> {
    // INVARIANT: `parse` refuses cycles; the bound keeps a mistake there from hanging a server.
    std::iter::successors(locations.get(name), |place| {
        locations.get(place.within.as_ref()?)
    })
    .take(locations.len())
}

pub(crate) fn parse(top: &Table<'_>) -> Result<BTreeMap<LocationName, Location>, EstateError> {
    let listed = top.named_under::<LocationName>("location")?;
    let names: Vec<LocationName> = listed.iter().map(|(name, _)| name.clone()).collect();
    let mut locations = BTreeMap::new();
    for (name, value) in &listed {
        locations.insert(name.clone(), location(name, value, &names)?);
    }
    for (name, value) in &listed {
        check_place(name, &locations)
            .map_err(|conflict| value.error(Problem::Conflict(conflict)))?;
    }
    Ok(locations)
}

fn location(
    name: &LocationName,
    value: &Value<'_>,
    names: &[LocationName],
) -> Result<Location, EstateError> {
    let table = value.table_of(&["kind", "in", "prefixes"])?;
    Ok(Location {
        name: name.clone(),
        kind: table.need("kind")?.parse()?,
        within: table
            .find("in")
            .map(|value| value.name_of("location", names))
            .transpose()?,
        prefixes: table
            .find("prefixes")
            .map(|value| value.set_of())
            .transpose()?
            .unwrap_or_default(),
    })
}

fn check_place(
    name: &LocationName,
    locations: &BTreeMap<LocationName, Location>,
) -> Result<(), Conflict> {
    let Some(inner) = locations.get(name) else {
        return Ok(());
    };
    let Some(outer) = inner.within.as_ref().and_then(|name| locations.get(name)) else {
        return Ok(());
    };
    if !inner.kind.fits_in(outer.kind) {
        return Err(Conflict::Rank {
            inner: name.to_string(),
            inner_kind: inner.kind.to_string(),
            outer: outer.name.to_string(),
            outer_kind: outer.kind.to_string(),
        });
    }
    let mut place = outer;
    for _ in 0..=locations.len() {
        if place.name == *name {
            return Err(Conflict::Cycle(name.to_string()));
        }
        match place.within.as_ref().and_then(|name| locations.get(name)) {
            Some(next) => place = next,
            None => return Ok(()),
        }
    }
    // The walk ran into a circle that this location hangs on without being part of it.
    Err(Conflict::Cycle(place.name.to_string()))
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn masked(bits: u128, width: u32, length: u8) -> u128 {
    let shift = width.saturating_sub(u32::from(length));
    bits.checked_shr(shift)
        .and_then(|kept| kept.checked_shl(shift))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_its_addresses_and_no_others() {
        let prefix: IpPrefix = "10.20.0.0/16".parse().unwrap();
        assert!(prefix.contains("10.20.3.4".parse().unwrap()));
        assert!(prefix.contains("::ffff:10.20.3.4".parse().unwrap()));
        assert!(!prefix.contains("10.21.0.1".parse().unwrap()));
        assert!(!prefix.contains("::10.20.3.4".parse().unwrap()));
        assert!(
            "0.0.0.0/0"
                .parse::<IpPrefix>()
                .unwrap()
                .contains("1.2.3.4".parse().unwrap())
        );
        assert!(
            "::/0"
                .parse::<IpPrefix>()
                .unwrap()
                .contains("fe80::1".parse().unwrap())
        );
        assert!(
            !"::/0"
                .parse::<IpPrefix>()
                .unwrap()
                .contains("1.2.3.4".parse().unwrap())
        );
        assert!(
            "fd00::/8"
                .parse::<IpPrefix>()
                .unwrap()
                .contains("fd12::1".parse().unwrap())
        );
    }

    #[test]
    fn a_prefix_with_host_bits_or_another_spelling_is_refused() {
        for text in [
            "10.20.0.1/16",
            "10.20.0.0",
            "10.20.0.0/33",
            "10.20.0.0/+8",
            "::ffff:10.0.0.0/104",
            "10.0/8",
            "/8",
            "",
        ] {
            assert!(text.parse::<IpPrefix>().is_err(), "{text}");
        }
    }
}
