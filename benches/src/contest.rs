//! Several sides take turns, round after round; what is shown is their spread and the ratio inside each round.

use std::fmt::Write;
use std::time::Duration;

use crate::machine::start;
use crate::spread::Spread;

/// One side of a comparison.
pub struct Side<'a, T, E> {
    name: String,
    run: Box<dyn FnMut() -> Result<T, E> + 'a>,
}

impl<'a, T, E> Side<'a, T, E> {
    /// A side that does its work once each time it is run, and says what that took.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Result<T, E> + 'a) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// How many rounds there are.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// So many at least, however long they take.
    pub least: usize,
    /// So many at most.
    pub most: usize,
    /// No round begins after this time, once there are enough of them.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            least: 5,
            most: 15,
            time: Duration::from_secs(15),
        }
    }
}

/// Which figures are good ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Times, memory.
    Less,
    /// Rates.
    More,
}

/// What the sides' runs took; the first side is ours.
#[derive(Debug)]
pub struct Rounds<T> {
    names: Vec<String>,
    /// One entry a round, in it one figure a side.
    rounds: Vec<Vec<T>>,
}

/// Lets the sides take turns. The first round warms up and is not counted; each round begins with the next side, so that none
/// always follows the same one.
///
/// # Errors
/// The first error of a side ends the contest.
pub fn alternate<T, E>(limits: Limits, sides: Vec<Side<'_, T, E>>) -> Result<Rounds<T>, E> {
    let mut sides = sides;
    for side in &mut sides {
        (side.run)()?;
    }
    let began = start();
    let mut rounds = Vec::new();
    while rounds.len() < limits.most
        && (rounds.len() < limits.least || began.elapsed() < limits.time)
    {
        rounds.push(round(&mut sides, rounds.len())?);
    }
    let names = sides.into_iter().map(|side| side.name).collect();
    Ok(Rounds { names, rounds })
}

/// One figure a side, in the order of the sides, whoever began.
fn round<T, E>(sides: &mut [Side<'_, T, E>], number: usize) -> Result<Vec<T>, E> {
    let shift = number % sides.len().max(1);
    let (later, first) = sides.split_at_mut(shift);
    let first = run_all(first)?;
    let mut figures = run_all(later)?;
    figures.extend(first);
    Ok(figures)
}

fn run_all<T, E>(sides: &mut [Side<'_, T, E>]) -> Result<Vec<T>, E> {
    sides.iter_mut().map(|side| (side.run)()).collect()
}

impl<T: Clone> Rounds<T> {
    /// Our side alone, for figures that the others do not have or that cannot be compared.
    #[must_use]
    pub fn ours(&self) -> Self {
        let first = |round: &Vec<T>| round.iter().take(1).cloned().collect();
        Self {
            names: self.names.iter().take(1).cloned().collect(),
            rounds: self.rounds.iter().map(first).collect(),
        }
    }
}

impl<T: Clone> Rounds<T> {
    /// The same rounds without one side: two of ours are compared with the peers one by one.
    #[must_use]
    pub fn without(&self, side: usize) -> Self {
        fn others<U: Clone>(all: &[U], side: usize) -> Vec<U> {
            let others = all.iter().enumerate().filter(|(index, _)| *index != side);
            others.map(|(_, one)| one.clone()).collect()
        }
        Self {
            names: others(&self.names, side),
            rounds: self
                .rounds
                .iter()
                .map(|round| others(round, side))
                .collect(),
        }
    }
}

impl<T> Rounds<T> {
    /// One more side, whose figure follows from those of the same round.
    #[must_use]
    pub fn derived(mut self, name: impl Into<String>, figure: impl Fn(&[T]) -> Option<T>) -> Self {
        self.names.push(name.into());
        for round in &mut self.rounds {
            let figure = figure(round);
            round.extend(figure);
        }
        self
    }

    /// A table of one figure: a line a side, then ours to each other side.
    pub fn table(
        &self,
        title: &str,
        unit: &str,
        better: Better,
        figure: impl Fn(&T) -> f64,
    ) -> String {
        let better = match better {
            Better::Less => "less is better",
            Better::More => "more is better",
        };
        let mut table = format!(
            "\n{title}, {unit} ({better}; {} rounds)\n{:48} {:>10} {:>10} {:>10}\n",
            self.rounds.len(),
            "",
            "min",
            "median",
            "max"
        );
        for (side, name) in self.names.iter().enumerate() {
            let figures = self
                .rounds
                .iter()
                .filter_map(|round| round.get(side))
                .map(&figure);
            add(&mut table, name, figures);
        }
        for (side, name) in self.names.iter().enumerate().skip(1) {
            let ratios = self
                .rounds
                .iter()
                .filter_map(|round| Some(figure(round.first()?) / figure(round.get(side)?)));
            add(&mut table, &format!("ratio ours : {name}"), ratios);
        }
        table
    }
}

fn add(table: &mut String, name: &str, figures: impl Iterator<Item = f64>) {
    if let Some(spread) = Spread::of(figures) {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "  {name:46} {spread}");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn limits(least: usize, most: usize, time: Duration) -> Limits {
        Limits { least, most, time }
    }

    fn contest(limits: Limits) -> (Rounds<f64>, Vec<&'static str>) {
        let order = RefCell::new(Vec::new());
        let side = |name: &'static str, figure: f64| {
            let order = &order;
            Side::new(name, move || {
                order.borrow_mut().push(name);
                Ok::<_, ()>(figure)
            })
        };
        let sides = vec![side("ours", 2.0), side("peer", 8.0)];
        let rounds = alternate(limits, sides).unwrap();
        (rounds, order.take())
    }

    #[test]
    fn the_sides_take_turns_and_turns_at_being_first() {
        let (rounds, order) = contest(limits(2, 2, Duration::ZERO));
        assert_eq!(order, ["ours", "peer", "ours", "peer", "peer", "ours"]);
        assert_eq!(rounds.rounds, [[2.0, 8.0], [2.0, 8.0]]);
    }

    #[test]
    fn there_are_enough_rounds_even_without_time_and_never_too_many() {
        assert_eq!(contest(limits(5, 9, Duration::ZERO)).0.rounds.len(), 5);
        assert_eq!(contest(limits(5, 9, Duration::MAX)).0.rounds.len(), 9);
    }

    #[test]
    fn the_ratio_is_ours_to_the_peers() {
        let (rounds, _) = contest(limits(1, 1, Duration::ZERO));
        let table = rounds.table("work", "s", Better::Less, |figure| *figure);
        assert!(
            table.contains("work, s (less is better; 1 rounds)"),
            "{table}"
        );
        let ratio = table
            .lines()
            .find(|line| line.contains("ratio ours : peer"))
            .unwrap();
        let ours = rounds.ours();
        let table = ours.table("work", "s", Better::Less, |figure| *figure);
        assert!(!table.contains("peer"), "{table}");
        assert!(ratio.ends_with("0.250      0.250      0.250"), "{ratio}");
    }

    #[test]
    fn without_the_first_side_the_second_is_ours() {
        let (rounds, _) = contest(limits(2, 2, Duration::ZERO));
        let without = rounds.without(0);
        assert_eq!(without.names, ["peer"]);
        assert_eq!(without.rounds, [[8.0], [8.0]]);
        assert_eq!(rounds.without(1).names, ["ours"]);
    }

    #[test]
    fn a_derived_side_takes_its_figure_from_the_round() {
        let (rounds, _) = contest(limits(1, 1, Duration::ZERO));
        let rounds = rounds.derived("sum", |figures| Some(figures.iter().sum()));
        assert_eq!(rounds.rounds, [[2.0, 8.0, 10.0]]);
        let table = rounds.table("work", "s", Better::Less, |figure| *figure);
        let ratio = table
            .lines()
            .find(|line| line.contains("ratio ours : sum"))
            .unwrap();
        assert!(ratio.ends_with("0.200      0.200      0.200"), "{ratio}");
    }

    #[test]
    fn a_side_that_fails_ends_the_contest() {
        let sides = vec![Side::new("ours", || Err::<f64, _>("broken"))];
        assert_eq!(alternate(Limits::default(), sides).err(), Some("broken"));
    }
}
