//! The key packets of one layer as text: those that nobody here understands stay byte for byte.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_crypt::{
    AnnotationError, KEYS_PREFIX, KeyPacket, LayerAnnotations, PgpHolder, PgpKeyId, Scheme,
    pgp_recipients, pgp_without,
};

use crate::error::ImageError;
use crate::jwe_recipients::{self, Remaining};
use crate::manifest::Descriptor;

/// Which key packets are meant: `jwe`, `pkcs7`, `provider:NAME`, `bailiwick` (all of a scheme), `bailiwick:IMAGE`,
/// `jwe:KEY-ID` or `pgp:KEY-ID` (one recipient inside a packet), or `SCHEME#N` (one packet of a scheme, counted from 0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    scheme: String,
    part: Part,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    All,
    Position(usize),
    Image(String),
    KeyId(String),
    PgpKey(PgpKeyId),
}

/// A text selects no key packet. Fault: the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` selects no recipient", .0.escape_debug())]
pub struct SelectorError(String);

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let refused = || SelectorError(text.chars().take(80).collect());
        let (name, position) = match text.rsplit_once('#') {
            Some((name, position)) => (name, Some(position.parse().map_err(|_| refused())?)),
            None => (text, None),
        };
        let (scheme, part) = match name.split_once(':') {
            Some(("provider", name)) if !name.is_empty() => (format!("provider.{name}"), Part::All),
            Some(("bailiwick", image)) => (OURS.to_owned(), Part::Image(image.to_owned())),
            Some(("jwe", id)) => (Scheme::JWE.to_owned(), Part::KeyId(id.to_owned())),
            Some(("pgp", id)) => {
                let id = id.parse().map_err(|_| refused())?;
                (Scheme::PGP.to_owned(), Part::PgpKey(id))
            }
            Some(_) => return Err(refused()),
            None if name.ends_with('.') => return Err(refused()),
            None if name == "bailiwick" => (OURS.to_owned(), Part::All),
            None => (name.to_owned(), Part::All),
        };
        let known = scheme.parse::<Scheme>().is_ok();
        match (position, part) {
            _ if !known => Err(refused()),
            (None, Part::Image(name) | Part::KeyId(name)) if name.is_empty() => Err(refused()),
            (None, part) => Ok(Self { scheme, part }),
            (Some(position), Part::All) => Ok(Self {
                scheme,
                part: Part::Position(position),
            }),
            (Some(_), _) => Err(refused()),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme.strip_prefix("provider.") {
            _ if self.scheme == OURS => "bailiwick".to_owned(),
            Some(name) => format!("provider:{name}"),
            None => self.scheme.clone(),
        };
        match &self.part {
            Part::All => f.write_str(&scheme),
            Part::Position(position) => write!(f, "{scheme}#{position}"),
            Part::Image(name) | Part::KeyId(name) => write!(f, "{scheme}:{name}"),
            Part::PgpKey(id) => write!(f, "{scheme}:{id}"),
        }
    }
}

/// Takes the selected packets of a layer away, and adds to `counts` how many recipients or packets each selector met.
pub(crate) fn remove(
    layer: &mut Descriptor,
    selectors: &[Selector],
    counts: &mut [usize],
) -> Result<(), ImageError> {
    for (name, list) in layer.annotations()? {
        let Some(scheme) = name.strip_prefix(KEYS_PREFIX) else {
            continue;
        };
        let ours = |(_, selector): &(usize, &Selector)| selector.scheme == scheme;
        let selectors: Vec<_> = selectors.iter().enumerate().filter(ours).collect();
        let before: usize = counts.iter().sum();
        let elements = list.split(',').enumerate();
        let kept: Vec<String> = elements
            .filter_map(|(position, element)| {
                without(position, element.to_owned(), &selectors, counts)
            })
            .collect();
        if counts.iter().sum::<usize>() == before {
            continue;
        }
        if kept.is_empty() {
            layer.remove_annotation(&name)?;
        } else {
            layer.annotate(&name, &kept.join(","))?;
        }
    }
    Ok(())
}

fn without(
    position: usize,
    mut element: String,
    selectors: &[(usize, &Selector)],
    counts: &mut [usize],
) -> Option<String> {
    for (number, selector) in selectors {
        let left = match selector.of_element(position, &element) {
            Remaining::Everything => continue,
            Remaining::Nothing => None,
            Remaining::Rest(bytes) => Some(STANDARD.encode(bytes)),
        };
        if let Some(count) = counts.get_mut(*number) {
            *count += 1;
        }
        element = left?;
    }
    Some(element)
}

/// How many recipients of JWE packets are not told by any id.
pub(crate) fn unnamed(layer: &Descriptor) -> Result<usize, ImageError> {
    let list = layer.annotation(&format!("{KEYS_PREFIX}{}", Scheme::JWE))?;
    let packets = list.iter().flat_map(|list| list.split(','));
    let recipients = packets.flat_map(|packet| {
        let bytes = STANDARD.decode(packet).unwrap_or_default();
        jwe_recipients::recipients(&bytes)
    });
    Ok(recipients.filter(|named| named.key_id.is_none()).count())
}

/// Adds packets behind those that are there.
pub(crate) fn add(layer: &mut Descriptor, packets: &[KeyPacket]) -> Result<(), ImageError> {
    for packet in packets {
        let name = format!("{KEYS_PREFIX}{}", packet.scheme());
        let element = STANDARD.encode(packet.to_bytes());
        let list = match layer.annotation(&name)? {
            Some(list) => format!("{list},{element}"),
            None => element,
        };
        layer.annotate(&name, &list)?;
    }
    Ok(())
}

/// Whether the layer can still be read: within all limits, and with somebody who can open it.
pub(crate) fn check(index: usize, layer: &Descriptor) -> Result<(), ImageError> {
    let annotations: BTreeMap<String, String> = layer.annotations()?.into_iter().collect();
    match LayerAnnotations::parse(&annotations) {
        Ok(_) => Ok(()),
        Err(AnnotationError::NoPackets) => Err(ImageError::LastRecipient { index }),
        Err(source) => Err(ImageError::Annotations { index, source }),
    }
}

impl Selector {
    /// Whether one recipient inside a packet is meant.
    pub(crate) fn is_key_id(&self) -> bool {
        matches!(self.part, Part::KeyId(_))
    }

    fn of_element(&self, position: usize, element: &str) -> Remaining {
        let bytes = || STANDARD.decode(element).unwrap_or_default();
        let all_or_nothing = |selected| match selected {
            true => Remaining::Nothing,
            false => Remaining::Everything,
        };
        match &self.part {
            Part::All => Remaining::Nothing,
            Part::Position(wanted) => all_or_nothing(*wanted == position),
            Part::Image(image) => all_or_nothing(image_of(bytes()).as_deref() == Some(image)),
            Part::KeyId(id) => jwe_recipients::without(&bytes(), id),
            Part::PgpKey(id) => without_pgp(&bytes(), PgpHolder::Key(*id)),
        }
    }
}

/// An OpenPGP packet without one holder; one that can't be read is nobody's.
fn without_pgp(packet: &[u8], holder: PgpHolder) -> Remaining {
    let holders = pgp_recipients(packet).unwrap_or_default();
    let meant = holders.iter().filter(|other| **other == holder).count();
    match pgp_without(packet, holder) {
        Ok(rest) if meant > 0 && meant < holders.len() => Remaining::Rest(rest),
        Ok(_) if meant > 0 => Remaining::Nothing,
        _ => Remaining::Everything,
    }
}

fn image_of(bytes: Vec<u8>) -> Option<String> {
    let scheme: Scheme = OURS.parse().ok()?;
    match KeyPacket::parse(&scheme, bytes) {
        Ok(KeyPacket::Bailiwick(packet)) => Some(packet.resource().to_owned()),
        _ => None,
    }
}

const OURS: &str = Scheme::BAILIWICK;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_come_back_as_they_are_written() {
        for text in [
            "jwe",
            "jwe#1",
            "jwe:key-7",
            "pgp",
            "pgp:0123456789ABCDEF",
            "pkcs7",
            "provider:kms",
            "provider:kms#0",
            "bailiwick",
            "bailiwick:medrec",
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "#0",
            "jwe#",
            "jwe#x",
            "jwe:",
            "bailiwick:",
            "pkcs7:file",
            "pgp:ann@example.org",
            "jwe:id#0",
            "a b",
            "provider:",
        ] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_back(text in "(jwe|pgp|provider|bailiwick|)[.:#]{0,2}[ -~]{0,40}") {
            if let Ok(selector) = text.parse::<Selector>() {
                proptest::prop_assert_eq!(selector.to_string().parse(), Ok(selector));
            }
        }
    }
}
