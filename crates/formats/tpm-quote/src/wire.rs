//! Reading and writing of TPM structures: big-endian integers and 16-bit sized buffers, nothing allocated on trust.

/// Why bytes are not the structure they were taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Fault: whoever sent the bytes.
    #[error("{what} ends early")]
    Truncated {
        /// The structure or field that was being read.
        what: &'static str,
    },
    /// Fault: whoever sent the bytes.
    #[error("{what} is followed by {extra} bytes that do not belong to it")]
    Trailing {
        /// The structure that was read.
        what: &'static str,
        /// How many bytes were left.
        extra: usize,
    },
    /// Fault: whoever sent the bytes.
    #[error("{what} is larger than {limit}")]
    Oversized {
        /// The structure or field that was being read.
        what: &'static str,
        /// The largest size that is accepted.
        limit: usize,
    },
    /// Fault: whoever chose the algorithm or kind; it may be valid, but this crate does not trust or know it.
    #[error("{what} has the unsupported value `{value:#x}`")]
    Unsupported {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// Fault: whoever sent the bytes.
    #[error("{what} is malformed")]
    Malformed {
        /// The structure or field.
        what: &'static str,
    },
}

/// A cursor over bytes that somebody else wrote.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], ParseError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(ParseError::Truncated { what })?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], ParseError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(ParseError::Truncated { what })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, ParseError> {
        self.array(what).map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, ParseError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, ParseError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, ParseError> {
        self.array(what).map(u64::from_be_bytes)
    }

    pub(crate) fn u16_le(&mut self, what: &'static str) -> Result<u16, ParseError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32_le(&mut self, what: &'static str) -> Result<u32, ParseError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// A `TPM2B`: 16-bit size, then that many bytes.
    pub(crate) fn sized(
        &mut self,
        limit: usize,
        what: &'static str,
    ) -> Result<&'a [u8], ParseError> {
        let size = usize::from(self.u16(what)?);
        if size > limit {
            return Err(ParseError::Oversized { what, limit });
        }
        self.take(size, what)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn finish(self, what: &'static str) -> Result<(), ParseError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(ParseError::Trailing { what, extra }),
        }
    }
}

/// A `TPM2B` around `bytes`. Callers pass buffers whose size is bounded far below 64 KiB; a larger one is cut by no
/// caller and would be refused by every reader.
pub(crate) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Big-endian number `bytes` in exactly `width` bytes, or nothing if it does not fit. TPMs may strip leading zeros.
pub(crate) fn left_pad(bytes: &[u8], width: usize) -> Option<Vec<u8>> {
    let missing = width.checked_sub(bytes.len())?;
    let mut padded = vec![0; missing];
    padded.extend_from_slice(bytes);
    Some(padded)
}
