//! DER, as much of it as PKCS#7 packets and certificates need.
//!
//! Written by hand because the packets of peers are not DER that a library would read: their AES-GCM parameters are a
//! SEQUENCE that claims to be primitive, and their encrypted content is primitive or constructed. What is refused:
//! indefinite and non-minimal lengths, tags of several bytes, and whatever reaches beyond its frame. Nothing recurses, so
//! nesting is as deep as the caller's code and no deeper.

pub(in crate::packet) const INTEGER: u8 = 0x02;
pub(in crate::packet) const OCTET_STRING: u8 = 0x04;
pub(in crate::packet) const NULL: u8 = 0x05;
pub(in crate::packet) const OBJECT_IDENTIFIER: u8 = 0x06;
/// A SEQUENCE whose writer forgot that it is constructed.
pub(super) const PRIMITIVE_SEQUENCE: u8 = 0x10;
pub(in crate::packet) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The tag `[number]`, constructed.
pub(super) const fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// The tag `[number]`, primitive.
pub(super) const fn primitive(number: u8) -> u8 {
    0x80 | number
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag, length and content, as they were read.
    pub(super) whole: &'a [u8],
}

/// Reads elements, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next element, whatever it is.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let start = self.rest;
        let (&tag, after_tag) = start.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, after_length) = length(after_tag)?;
        let (content, rest) = after_length.split_at_checked(length)?;
        let whole = start.get(..start.len() - rest.len())?;
        self.rest = rest;
        Some(Element {
            tag,
            content,
            whole,
        })
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any()
            .filter(|element| element.tag == tag)
            .map(|element| element.content)
    }

    /// The next element if it has this tag; otherwise nothing is read.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        match self.rest.first() {
            Some(found) if *found == tag => self.expect(tag).map(Some),
            _ => Some(None),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Option<()> {
        self.is_empty().then_some(())
    }
}

/// The one element that `bytes` consist of.
pub(super) fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let content = reader.expect(tag)?;
    reader.end().map(|()| content)
}

/// Writes one element.
pub(in crate::packet) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    let bytes = length.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0);
    let significant = first.and_then(|first| bytes.get(first..)).unwrap_or(&[0]);
    match significant {
        [short] if *short < 0x80 => out.push(*short),
        long => {
            // At most eight bytes, so the count fits beside the flag.
            out.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            out.extend_from_slice(long);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A definite length in its shortest form, and what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    // 0 would be an indefinite length; packets are far shorter than four bytes can say.
    if !(1..=4).contains(&count) {
        return None;
    }
    let (digits, rest) = rest.split_at_checked(count)?;
    let length = digits
        .iter()
        .fold(0usize, |length, digit| (length << 8) | usize::from(*digit));
    let is_shortest = length >= 0x80 && digits.first() != Some(&0);
    is_shortest.then_some((length, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_definite_and_shortest() {
        for refused in [
            &[0x30u8, 0x80, 0, 0][..],
            &[0x30, 0x81, 0x05, 1, 2, 3, 4, 5],
            &[0x30, 0x82, 0x00, 0x80],
            &[0x30, 0x85, 1, 0, 0, 0, 0],
            &[0x30, 0xff],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 2, 0],
            &[0x3f, 1, 0],
            &[0x30],
            &[],
        ] {
            assert_eq!(Reader::new(refused).any(), None, "{refused:02x?}");
        }
    }

    #[test]
    fn lengths_around_the_borders_come_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let content = vec![7; length];
            let written = element(OCTET_STRING, &[&content]);
            assert_eq!(only(&written, OCTET_STRING), Some(content.as_slice()));
            assert_eq!(only(&written, SEQUENCE), None);
            assert_eq!(only(&[&written[..], &[0]].concat(), OCTET_STRING), None);
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_reach_beyond_their_frame(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            let mut seen = 0;
            while let Some(found) = reader.any() {
                prop_assert!(found.whole.len() >= found.content.len() + 2);
                prop_assert_eq!(element(found.tag, &[found.content]), found.whole);
                seen += found.whole.len();
            }
            prop_assert!(seen <= bytes.len());
        }
    }
}
