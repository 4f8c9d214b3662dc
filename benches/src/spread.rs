//! The least, the middle and the greatest of several figures.

use std::fmt;

/// Minimum, median and maximum. A mean is left out on purpose: one disturbed run would move it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one, or halfway between the two middle ones.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// `None` without figures.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let upper = *figures.get(middle)?;
        let lower = match figures.len() % 2 {
            0 => *figures.get(middle - 1)?,
            _ => upper,
        };
        Some(Self {
            min: *figures.first()?,
            median: f64::midpoint(lower, upper),
            max: *figures.last()?,
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, median, max } = self;
        let [min, median, max] = [min, median, max].map(|figure| short(*figure));
        write!(f, "{min:>10} {median:>10} {max:>10}")
    }
}

/// Three digits that matter; whole numbers stay whole.
fn short(figure: f64) -> String {
    let size = figure.abs();
    let decimals = match size {
        _ if size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{figure:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(figures: &[f64]) -> (f64, f64, f64) {
        let Spread { min, median, max } = Spread::of(figures.iter().copied()).unwrap();
        (min, median, max)
    }

    #[test]
    fn the_order_of_the_figures_does_not_matter() {
        assert_eq!(spread(&[9.0, 1.0, 4.0]), (1.0, 4.0, 9.0));
        assert_eq!(spread(&[4.0, 9.0, 1.0]), (1.0, 4.0, 9.0));
    }

    #[test]
    fn of_an_even_number_the_median_lies_halfway() {
        assert_eq!(spread(&[8.0, 1.0, 2.0, 4.0]), (1.0, 3.0, 8.0));
        assert_eq!(spread(&[7.0]), (7.0, 7.0, 7.0));
    }

    #[test]
    fn without_figures_there_is_none() {
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn three_digits_are_shown() {
        assert_eq!(
            [1234.4, 12.34, 1.234, 0.1234].map(short),
            ["1234", "12.3", "1.23", "0.123"]
        );
    }
}
