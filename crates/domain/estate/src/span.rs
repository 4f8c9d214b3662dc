//! Lengths of time as people write them: `12h`, `90d`, `7y`, `0`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a length of time: a number and one of s, m, h, d, w, y, or 0", .0.escape_debug())]
pub struct SpanError(String);

/// A length of time in whole seconds, at most a hundred years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(u64);

impl Span {
    /// So many seconds; `None` beyond a hundred years.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Option<Self> {
        if seconds > LONGEST {
            None
        } else {
            Some(Self(seconds))
        }
    }

    /// The length as the standard library counts it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// The length in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }

    pub(crate) const fn minutes(minutes: u64) -> Self {
        Self(minutes * 60)
    }

    pub(crate) const fn hours(hours: u64) -> Self {
        Self(hours * 3600)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        if text == "0" {
            return Ok(Self(0));
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let seconds = match text.get(digits.len()..).unwrap_or("") {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 604_800,
            "y" => YEAR,
            _ => 0,
        };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = if plain && seconds > 0 {
            digits.parse::<u64>().ok()
        } else {
            None
        };
        number
            .and_then(|number| number.checked_mul(seconds))
            .and_then(Self::from_seconds)
            .ok_or_else(|| SpanError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, seconds) in [("y", YEAR), ("d", 86_400), ("h", 3600), ("m", 60)] {
            if self.0 >= seconds && self.0.is_multiple_of(seconds) {
                return write!(f, "{}{unit}", self.0 / seconds);
            }
        }
        if self.0 == 0 {
            f.write_str("0")
        } else {
            write!(f, "{}s", self.0)
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const YEAR: u64 = 365 * 86_400;
const LONGEST: u64 = 100 * YEAR;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood_and_written_back() {
        for (text, seconds) in [
            ("12h", 43_200),
            ("7y", 7 * YEAR),
            ("0", 0),
            ("90d", 7_776_000),
            ("5m", 300),
            ("61s", 61),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.seconds(), span.to_string().as_str()), (seconds, text));
        }
    }

    #[test]
    fn other_texts_are_no_lengths() {
        for text in [
            "",
            "h",
            "1",
            "-1h",
            "1.5h",
            "1H",
            "1hh",
            "1h30m",
            " 1h",
            "101y",
            "99999999999999999999s",
            "+1h",
            "é",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
