//! Two runs side by side: the result of a comparison, as a model and as two kinds of table.
//!
//! The harness pairs the samples and decides; here the decision is only shown.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::columns::{Columns, one_line};
use crate::{format, markdown};

/// A new run or revision against a base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Name of the base: a run's id or a revision.
    pub base: String,
    /// Name of the run that is compared with it.
    pub new: String,
    /// One row per cell, in the order to show them.
    pub rows: Vec<ComparisonRow>,
}

/// One cell in both runs. A figure is `None` where one side has no valid samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRow {
    /// The cell's id: `sha256/process/w2`.
    pub cell: String,
    /// Median makespan of the base in nanoseconds.
    pub base_median_ns: Option<f64>,
    /// Median makespan of the new one in nanoseconds.
    pub new_median_ns: Option<f64>,
    /// New time divided by base time: above 1 is slower.
    pub ratio: Option<f64>,
    /// Lower end of the ratio's interval.
    pub low: Option<f64>,
    /// Upper end of the ratio's interval.
    pub high: Option<f64>,
    /// The change that follows.
    pub verdict: Change,
}

/// The change of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Surely, by enough to report.
    #[serde(rename = "faster")]
    Faster,
    /// Surely, by enough to report.
    #[serde(rename = "slower")]
    Slower,
    /// Not sure: the interval includes both faster and slower.
    #[serde(rename = "cannot tell")]
    Unclear,
    /// Surely, no change that is worth reporting.
    #[serde(rename = "same")]
    Same,
    /// The new run has no valid figure.
    #[serde(rename = "wrong or failed")]
    Bad,
    /// The base has no valid figure to compare with.
    #[serde(rename = "base was wrong or failed")]
    BadBase,
    /// One of the two has no samples.
    #[serde(rename = "not measured")]
    NotMeasured,
    /// Only the base has such a cell.
    #[serde(rename = "gone")]
    Gone,
    /// Only the new run has such a cell.
    #[serde(rename = "new")]
    Added,
}

impl Change {
    /// The word by which it is shown and stored in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Unclear => "cannot tell",
            Self::Same => "same",
            Self::Bad => "wrong or failed",
            Self::BadBase => "base was wrong or failed",
            Self::NotMeasured => "not measured",
            Self::Gone => "gone",
            Self::Added => "new",
        }
    }

    /// Whether only one of the runs has the cell.
    pub(crate) fn is_one_sided(self) -> bool {
        matches!(self, Self::Gone | Self::Added)
    }
}

/// Titles of the columns.
const HEADER: [&str; 6] = ["Cell", "Base", "New", "New / base", "Interval", "Verdict"];

impl Comparison {
    /// A Markdown table with a line above it that names both sides.
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "Median times of {} against {}; a ratio above 1 is slower.\n\n",
            markdown::escape(&self.new),
            markdown::escape(&self.base)
        );
        let fields = self.fields();
        if fields.is_empty() {
            text.push_str("No cell was measured in both.\n");
        } else {
            text.push_str(&markdown::table(&HEADER, &fields));
        }
        for line in self.last_lines() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "\n{}", markdown::escape(&line));
        }
        text
    }

    /// The same as plain text with aligned columns, for a terminal.
    pub fn to_text(&self) -> String {
        let mut text =
            format!("{} against {} (a ratio above 1 is slower)\n", one_line(&self.new), one_line(&self.base));
        let mut rows = vec![HEADER.map(str::to_owned).to_vec()];
        rows.extend(self.fields());
        if rows.len() == 1 {
            rows.clear();
            text.push_str("no cell was measured in both\n");
        }
        // The columns between the cell's name and the verdict hold figures.
        let columns = Columns::of(rows.iter().map(Vec::as_slice), 1..HEADER.len() - 1);
        text.extend(rows.iter().map(|row| columns.line(row)));
        text.extend(self.last_lines().into_iter().map(|line| line + "\n"));
        text
    }

    fn count(&self, change: Change) -> usize {
        self.rows.iter().filter(|row| row.verdict == change).count()
    }

    /// The text below the table: the counts, and the cells that only one run has. These are not rows, because they would be
    /// most rows where one run has more workloads.
    fn last_lines(&self) -> Vec<String> {
        self.only_on_one_side().into_iter().chain([self.summary()]).collect()
    }

    pub(crate) fn only_on_one_side(&self) -> Option<String> {
        let (gone, added) = (self.count(Change::Gone), self.count(Change::Added));
        (gone + added > 0).then(|| {
            format!("only on one side: {gone} cells of {}, {added} of {}", one_line(&self.base), one_line(&self.new))
        })
    }

    /// How many cells have which verdict.
    pub(crate) fn summary(&self) -> String {
        let usual = [Change::Faster, Change::Slower, Change::Unclear, Change::Same];
        let mut counts: Vec<(&str, usize)> = usual.map(|change| (change.name(), self.count(change))).to_vec();
        for row in self.rows.iter().filter(|row| !row.verdict.is_one_sided()) {
            let name = row.verdict.name();
            if counts.iter().all(|(word, _)| *word != name) {
                counts.push((name, self.count(row.verdict)));
            }
        }
        counts.push(("only on one side", self.count(Change::Gone) + self.count(Change::Added)));
        counts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }

    /// The rows as text.
    fn fields(&self) -> Vec<Vec<String>> {
        let both = self.rows.iter().filter(|row| !row.verdict.is_one_sided());
        both.map(|row| row.fields().to_vec()).collect()
    }
}

impl ComparisonRow {
    /// One field per column.
    pub(crate) fn fields(&self) -> [String; HEADER.len()] {
        let shown =
            |value: Option<f64>, format: fn(f64) -> String| value.map_or_else(|| format::NONE.to_owned(), format);
        [
            one_line(&self.cell),
            shown(self.base_median_ns, format::duration),
            shown(self.new_median_ns, format::duration),
            shown(self.ratio, format::ratio),
            match (self.low, self.high) {
                (Some(low), Some(high)) => format::interval(low, high, format::ratio),
                _ => format::NONE.to_owned(),
            },
            self.verdict.name().to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison() -> Comparison {
        let row = ComparisonRow {
            cell: "sha256/process/w2".to_owned(),
            base_median_ns: Some(1.5e6),
            new_median_ns: Some(1.8e6),
            ratio: Some(1.2),
            low: Some(1.15),
            high: Some(1.26),
            verdict: Change::Slower,
        };
        let gone = ComparisonRow {
            cell: "a|b\n".to_owned(),
            new_median_ns: None,
            ratio: None,
            low: None,
            high: None,
            verdict: Change::NotMeasured,
            ..row.clone()
        };
        Comparison { base: "main".to_owned(), new: "feature".to_owned(), rows: vec![row, gone] }
    }

    #[test]
    fn markdown_shows_ratio_interval_and_word() {
        let text = comparison().to_markdown();
        assert!(
            text.contains("| sha256/process/w2 | 1.50 ms | 1.80 ms | 1.200x | 1.150x to 1.260x | slower |"),
            "{text}"
        );
        assert!(text.contains("| a\\|b  | 1.50 ms | – | – | – | not measured |"), "{text}");
    }

    #[test]
    fn text_columns_line_up() {
        let text = comparison().to_text();
        let ends: Vec<usize> =
            text.lines().skip(1).map(|line| line.find("New / base").or(line.find("1.200x")).unwrap_or(0)).collect();
        assert!(ends[0] > 0 && ends[1] > 0, "{text}");
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn cells_of_one_side_are_one_line_and_all_are_counted() {
        let mut comparison = comparison();
        let one = |verdict| ComparisonRow { verdict, ..comparison.rows[1].clone() };
        let more = [one(Change::Gone), one(Change::Gone), one(Change::Added), one(Change::Same)];
        comparison.rows.extend(more);
        let summary = "0 faster, 1 slower, 0 cannot tell, 1 same, 1 not measured, 3 only on one side";
        let text = comparison.to_text();
        assert!(text.ends_with(&format!("only on one side: 2 cells of main, 1 of feature\n{summary}\n")), "{text}");
        assert!(!text.contains(Change::Gone.name()), "{text}");
        let text = comparison.to_markdown();
        assert!(
            text.ends_with(&format!("\n\nonly on one side: 2 cells of main, 1 of feature\n\n{summary}\n")),
            "{text}"
        );
    }

    #[test]
    fn serde_keeps_it() {
        let comparison = comparison();
        let json = serde_json::to_string(&comparison).unwrap();
        assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), comparison);
        for row in &comparison.rows {
            assert_eq!(serde_json::to_value(row.verdict).unwrap(), row.verdict.name());
        }
    }

    #[test]
    fn no_rows_are_said_in_words() {
        let none = Comparison { rows: Vec::new(), ..comparison() };
        assert!(none.to_markdown().contains("No cell"));
        assert!(none.to_text().contains("no cell"));
        let mut apart = comparison();
        apart.rows.iter_mut().for_each(|row| row.verdict = Change::Gone);
        assert!(apart.to_text().contains("no cell") && apart.to_text().contains("2 only on one side"));
    }
}
