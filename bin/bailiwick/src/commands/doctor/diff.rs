//! A unified diff of two small files.

use std::fmt::Write as _;

/// One line of both files, or of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Both(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// What turns `old` into `new`, with three lines around each change.
pub(super) fn unified(name: &str, old: &str, new: &str) -> String {
    let lines = compare(
        &old.lines().collect::<Vec<_>>(),
        &new.lines().collect::<Vec<_>>(),
    );
    let mut text = format!("--- {name}\n+++ {name}\n");
    let mut at = 0;
    while let Some((start, end)) = next_hunk(&lines, at) {
        let count = |lines: &[Line<'_>], in_old: bool| {
            let is_in = |line: &&Line<'_>| match line {
                Line::Both(_) => true,
                Line::Old(_) => in_old,
                Line::New(_) => !in_old,
            };
            lines.iter().filter(is_in).count()
        };
        let (before, hunk) = (
            lines.get(..start).unwrap_or_default(),
            lines.get(start..end).unwrap_or_default(),
        );
        // Writing to a text can't fail.
        let _ = writeln!(
            text,
            "@@ -{},{} +{},{} @@",
            count(before, true) + 1,
            count(hunk, true),
            count(before, false) + 1,
            count(hunk, false)
        );
        for line in hunk {
            let _ = match line {
                Line::Both(line) => writeln!(text, " {line}"),
                Line::Old(line) => writeln!(text, "-{line}"),
                Line::New(line) => writeln!(text, "+{line}"),
            };
        }
        at = end;
    }
    text
}

/// The next lines with changes and their surroundings.
fn next_hunk(lines: &[Line<'_>], from: usize) -> Option<(usize, usize)> {
    let is_change = |line: &Line<'_>| !matches!(line, Line::Both(_));
    let rest = lines.get(from..)?;
    let first = from + rest.iter().position(is_change)?;
    let mut end = first + 1;
    let mut quiet = 0;
    for line in lines.get(end..)? {
        quiet = if is_change(line) { 0 } else { quiet + 1 };
        if quiet > 2 * AROUND {
            break;
        }
        end += 1;
    }
    let end = end - quiet.min(2 * AROUND) + quiet.min(AROUND);
    Some((first.saturating_sub(AROUND).max(from), end.min(lines.len())))
}

/// The longest common lines stay; by hand, since both files are small.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    // For each pair of ends, how many lines they have in common.
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    let at = |row: usize, column: usize| row * width + column;
    let read = |common: &[u32], index: usize| common.get(index).copied().unwrap_or_default();
    for (row, old_line) in old.iter().enumerate().rev() {
        for (column, new_line) in new.iter().enumerate().rev() {
            let value = if old_line == new_line {
                read(&common, at(row + 1, column + 1)) + 1
            } else {
                read(&common, at(row + 1, column)).max(read(&common, at(row, column + 1)))
            };
            if let Some(cell) = common.get_mut(at(row, column)) {
                *cell = value;
            }
        }
    }
    let (mut row, mut column, mut lines) = (0, 0, Vec::new());
    loop {
        match (old.get(row), new.get(column)) {
            (Some(a), Some(b)) if a == b => {
                lines.push(Line::Both(a));
                (row, column) = (row + 1, column + 1);
            }
            (Some(a), b)
                if b.is_none()
                    || read(&common, at(row + 1, column)) >= read(&common, at(row, column + 1)) =>
            {
                lines.push(Line::Old(a));
                row += 1;
            }
            (_, Some(b)) => {
                lines.push(Line::New(b));
                column += 1;
            }
            (_, None) => return lines,
        }
    }
}

const AROUND: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_shown_with_what_stands_around() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("10\n", "ten\nmore\n");
        let expected =
            "--- f\n+++ f\n@@ -7,7 +7,8 @@\n 7\n 8\n 9\n-10\n+ten\n+more\n 11\n 12\n 13\n";
        assert_eq!(unified("f", &old, &new), expected);
        assert_eq!(
            unified("f", "", "a\n"),
            "--- f\n+++ f\n@@ -1,0 +1,1 @@\n+a\n"
        );
        assert_eq!(unified("f", &old, &old), "--- f\n+++ f\n");
    }

    #[test]
    fn changes_far_from_each_other_have_a_part_each() {
        let old: String = (1..=30).map(|n| format!("{n}\n")).collect();
        let new = old.replace("\n5\n", "\nfive\n").replace("\n25\n", "\n");
        let text = unified("f", &old, &new);
        assert_eq!(text.matches("@@ -").count(), 2, "{text}");
        assert!(text.contains("@@ -22,7 +22,6 @@"), "{text}");
    }

    proptest! {
        #[test]
        fn both_files_are_in_the_comparison(old in proptest::collection::vec("[ab]", 0..12), new in proptest::collection::vec("[ab]", 0..12)) {
            let old: Vec<&str> = old.iter().map(String::as_str).collect();
            let new: Vec<&str> = new.iter().map(String::as_str).collect();
            let lines = compare(&old, &new);
            let side = |in_old: bool| -> Vec<&str> {
                lines.iter().filter_map(|line| match line {
                    Line::Both(line) => Some(*line),
                    Line::Old(line) => in_old.then_some(*line),
                    Line::New(line) => (!in_old).then_some(*line),
                }).collect()
            };
            prop_assert_eq!(side(true), old);
            prop_assert_eq!(side(false), new);
        }
    }
}
