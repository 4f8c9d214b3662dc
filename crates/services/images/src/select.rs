//! What is chosen of an image: layers by number, and platforms by name.

use std::fmt;
use std::str::FromStr;

use crate::error::ImageError;

/// Which layers: all, or those with these numbers. 0 is the bottom, -1 the top.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerChoice(Vec<i64>);

impl LayerChoice {
    /// Exactly these; none at all means every one.
    #[must_use]
    pub fn new(numbers: Vec<i64>) -> Self {
        Self(numbers)
    }

    /// For each of `count` layers whether it is chosen.
    pub(crate) fn of(&self, count: usize) -> Result<Vec<bool>, ImageError> {
        if self.0.is_empty() {
            return Ok(vec![true; count]);
        }
        let mut chosen = vec![false; count];
        for number in &self.0 {
            // A number that hits nothing is a mistake, and the layer that was meant would stay readable.
            let position = position(*number, count);
            let slot = position.and_then(|position| chosen.get_mut(position));
            *slot.ok_or(ImageError::NoSuchLayer {
                number: *number,
                count,
            })? = true;
        }
        Ok(chosen)
    }
}

fn position(number: i64, count: usize) -> Option<usize> {
    match usize::try_from(number) {
        Ok(position) => Some(position),
        Err(_) => count.checked_sub(usize::try_from(number.unsigned_abs()).ok()?),
    }
}

/// An operating system and an architecture, as an index lists them: `linux/arm64` or `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform(String);

/// A text is no platform. Fault: the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no platform: write `linux/amd64` or `linux/arm/v7`", .0.escape_debug())]
pub struct PlatformError(String);

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let word = |part: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty() && part.len() <= 64 && part.bytes().all(plain)
        };
        let parts = text.split('/').count();
        if (2..=3).contains(&parts) && text.split('/').all(word) {
            return Ok(Self(text.to_owned()));
        }
        Err(PlatformError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Platform {
    /// Whether an image for `listed` is meant, whichever of its names it is listed under: one that is passed over here
    /// and run there would be an image that nobody looked at. Without a variant, each variant is meant.
    pub(crate) fn means(&self, listed: &str) -> bool {
        let (wanted, listed) = (Canonical::of(&self.0), Canonical::of(listed));
        let each_variant = self.0.split('/').count() == 2 || wanted.variant.is_empty();
        // Where no system is told, runtimes take their own.
        (listed.os.is_empty() || listed.os == wanted.os)
            && listed.architecture == wanted.architecture
            && (each_variant || listed.variant == wanted.variant)
    }
}

/// A platform under the names that runtimes settle on before they compare.
struct Canonical {
    os: String,
    architecture: String,
    variant: String,
}

impl Canonical {
    fn of(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let mut parts = text.splitn(3, '/');
        let [os, architecture, variant] = [(); 3].map(|()| parts.next().unwrap_or_default());
        let os = match os {
            "macos" => "darwin",
            os => os,
        };
        let (architecture, variant) = match (architecture, variant) {
            ("i386", _) => ("386", ""),
            ("amd64" | "x86_64" | "x86-64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("arm64" | "aarch64", "8" | "v8") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        let [os, architecture, variant] = [os, architecture, variant].map(str::to_owned);
        Self {
            os,
            architecture,
            variant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_from_both_ends() {
        let chosen = |numbers: &[i64], count| LayerChoice::new(numbers.to_vec()).of(count);
        assert_eq!(chosen(&[], 2).unwrap(), [true, true]);
        assert_eq!(chosen(&[0, -1], 3).unwrap(), [true, false, true]);
        assert_eq!(chosen(&[1, -2], 3).unwrap(), [false, true, false]);
        for (wrong, count) in [
            (3, 3),
            (-4, 3),
            (0, 0),
            (-1, 0),
            (i64::MIN, 3),
            (i64::MAX, 3),
        ] {
            assert!(
                matches!(chosen(&[wrong], count), Err(ImageError::NoSuchLayer { .. })),
                "{wrong} of {count}"
            );
        }
    }

    #[test]
    fn a_platform_means_its_variants_and_nothing_longer() {
        let platform: Platform = "linux/arm".parse().unwrap();
        assert!(platform.means("linux/arm") && platform.means("linux/arm/v7"));
        assert!(platform.means("linux/armel") && platform.means("Linux/arm/5"));
        assert!(!platform.means("linux/arm64") && !platform.means("/") && !platform.means(""));
        for wrong in ["", "linux", "linux/", "/arm", "a/b/c/d", "linux/a b"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
    }
}
