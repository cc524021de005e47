//! Tables: the figures behind every chart, and the lists of the page.

use askama::Template;

use crate::format;
use crate::model::{Estimate, Verdict};

/// A table with a caption, a header row, and the first column as the rows' names.
#[derive(Debug, Template)]
#[template(path = "table.html")]
pub(crate) struct Table {
    /// The content of the table, in words.
    pub(crate) caption: String,
    /// The columns, first to last.
    pub(crate) columns: Vec<Column>,
    /// The rows, each with one field per column.
    pub(crate) rows: Vec<Vec<Field>>,
}

/// The head of a column.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its title.
    pub(crate) label: &'static str,
    /// Whether its fields are figures, which end at the right.
    pub(crate) numeric: bool,
}

/// One field.
#[derive(Debug, Default)]
pub(crate) struct Field {
    /// Its text.
    pub(crate) main: String,
    /// A smaller text below: an interval, a reason.
    pub(crate) detail: String,
    /// A longer text, which unfolds.
    pub(crate) fold: String,
    /// A sign before the text, for readers who do not see colors.
    pub(crate) icon: &'static str,
    /// A class of the style sheet: `good`, `bad`, `care`, `muted`, `code`, or nothing.
    pub(crate) class: &'static str,
}

impl Table {
    /// A table without rows. A title that ends in `#` heads a column of figures.
    pub(crate) fn new(caption: impl Into<String>, titles: &[&'static str]) -> Self {
        let column = |title: &&'static str| match title.strip_suffix('#') {
            Some(label) => Column { label, numeric: true },
            None => Column { label: title, numeric: false },
        };
        Table { caption: caption.into(), columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: Vec<Field>) {
        debug_assert_eq!(row.len(), self.columns.len(), "one field per column in `{}`", self.caption);
        self.rows.push(row);
    }
}

impl Field {
    /// Plain text.
    pub(crate) fn text(main: impl Into<String>) -> Self {
        Field { main: main.into(), ..Field::default() }
    }

    /// Text that programs read: a digest, a command.
    pub(crate) fn code(main: impl Into<String>) -> Self {
        Field { main: main.into(), class: "code", ..Field::default() }
    }

    /// A figure that is missing.
    pub(crate) fn none() -> Self {
        Field { main: format::NONE.to_owned(), class: "muted", ..Field::default() }
    }

    /// A median with its interval below it.
    pub(crate) fn estimate(estimate: Option<&Estimate>, format: fn(f64) -> String) -> Self {
        match estimate {
            Some(estimate) => {
                Field {
                    main: format(estimate.median), // A line may break between the parts, not inside of one.
                    detail: format::spread(estimate, format).replace(" %", "\u{a0}%").replace(", n ", ", n\u{a0}"),
                    ..Field::default()
                }
            }
            None => Field::none(),
        }
    }

    /// A verdict as icon, word and color.
    pub(crate) fn verdict(verdict: &Verdict) -> Self {
        let (icon, main, class) = match verdict {
            Verdict::Correct => ("✓", "correct", "good"),
            Verdict::Wrong { .. } => ("✗", "WRONG", "bad"),
            Verdict::Failed { .. } => ("!", "failed", "care"),
            Verdict::NotMeasured => ("○", "not measured", "muted"),
        };
        Field { main: main.to_owned(), icon, class, ..Field::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_escaped_and_figures_aligned() {
        let mut table = Table::new("a < b", &["Name", "Time#"]);
        table.push(vec![Field::text("<script>alert(1)</script>"), Field::text("1")]);
        let html = table.render().unwrap();
        assert!(!html.contains("<script>"), "{html}");
        assert!(html.contains("class=\"num\""), "{html}");
        assert!(html.contains("scope=\"row\"") && html.contains("scope=\"col\""), "{html}");
    }
}
