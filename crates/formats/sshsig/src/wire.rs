//! SSH's binary encoding (RFC 4251 section 5): read strictly, written in the one way.

/// Reads from the front; `None` means that the bytes are not what was asked for.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn uint32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.uint32()?;
        self.take(usize::try_from(length).ok()?)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.string()?).ok()
    }

    /// A number above zero in its shortest form, without the zero that keeps it positive.
    pub(crate) fn positive(&mut self) -> Option<&'a [u8]> {
        match self.string()? {
            [0, number @ ..] if number.first().is_some_and(|first| *first >= 0x80) => Some(number),
            number
                if number
                    .first()
                    .is_some_and(|first| (1..0x80).contains(first)) =>
            {
                Some(number)
            }
            _ => None,
        }
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may follow.
    pub(crate) fn end(self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    // Everything that is written here was bounded before, or is a digest.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Writes a number above zero, given as big-endian bytes with or without leading zeros.
pub(crate) fn put_positive(out: &mut Vec<u8>, number: &[u8]) {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    let sign = usize::from(digits.first().is_some_and(|first| *first >= 0x80));
    let length = u32::try_from(digits.len() + sign).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(std::iter::repeat_n(0, sign));
    out.extend_from_slice(digits);
}

/// The number with zeros in front, in exactly `length` bytes.
pub(crate) fn put_padded(out: &mut Vec<u8>, number: &[u8], length: usize) -> Option<()> {
    let zeros = length.checked_sub(number.len())?;
    out.extend(std::iter::repeat_n(0, zeros));
    out.extend_from_slice(number);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_has_one_encoding() {
        for wrong in [
            &b""[..],
            &[0],
            &[0, 0x7f],
            &[0, 0, 0x80],
            &[0x80],
            &[0xff, 1],
        ] {
            let mut bytes = Vec::new();
            put_string(&mut bytes, wrong);
            assert_eq!(Reader::new(&bytes).positive(), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        assert_eq!(Reader::new(&[0xff; 8]).string(), None);
        assert_eq!(Reader::new(&[0, 0, 0, 2, 1]).string(), None);
        assert_eq!(Reader::new(&[0, 0, 0]).string(), None);
    }

    proptest! {
        #[test]
        fn numbers_come_back_without_leading_zeros(number: Vec<u8>) {
            let mut bytes = Vec::new();
            put_positive(&mut bytes, &number);
            let digits: Vec<u8> = number.into_iter().skip_while(|byte| *byte == 0).collect();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.positive(), (!digits.is_empty()).then_some(&digits[..]));
        }
    }
}
