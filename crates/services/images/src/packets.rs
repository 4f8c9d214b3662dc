//! The key packets of one layer as text: those that nobody here understands stay byte for byte.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_crypt::{AnnotationError, KEYS_PREFIX, KeyPacket, LayerAnnotations, Scheme};

use crate::error::ImageError;
use crate::jwe_recipients::{self, Remaining};
use crate::manifest::Descriptor;

/// Which key packets are meant: `jwe`, `pkcs7`, `provider:NAME`, `bailiwick` (all of a scheme), `bailiwick:IMAGE`,
/// `jwe:KEY-ID` (one recipient inside a packet), or `SCHEME#N` (one packet of a scheme, counted from 0).
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
            Some(_) => return Err(refused()),
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
        }
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
            "jwe:id#0",
            "a b",
            "provider:",
        ] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[ -~]{0,40}") {
            let _ = text.parse::<Selector>();
        }
    }
}
