//! Text in columns, for a terminal.

use std::fmt::Write as _;
use std::ops::Range;

/// The widths of the columns of a table.
#[derive(Debug)]
pub(crate) struct Columns {
    widths: Vec<usize>,
    /// The columns that are aligned to the right; the others hold names and words and are aligned to the left.
    figures: Range<usize>,
}

impl Columns {
    /// Columns that have room for all of these rows.
    pub(crate) fn of<'r>(rows: impl IntoIterator<Item = &'r [String]>, figures: Range<usize>) -> Self {
        let mut widths = Vec::new();
        for row in rows {
            widths.resize(row.len().max(widths.len()), 0);
            for (width, field) in widths.iter_mut().zip(row) {
                *width = field.chars().count().max(*width);
            }
        }
        Columns { widths, figures }
    }

    /// A row, with its end of line.
    pub(crate) fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for (column, (field, width)) in row.iter().zip(&self.widths).enumerate() {
            let field = one_line(field);
            // Writing to a string cannot fail.
            let _ = if self.figures.contains(&column) {
                write!(line, "{field:>width$}  ")
            } else {
                write!(line, "{field:<width$}  ")
            };
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// Text on one line: a control character could otherwise break the table or the terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_end_and_words_start_in_one_place() {
        let rows = [["a", "1 µs", ""], ["b\nb", "12 ms", "same"]].map(|row| row.map(str::to_owned));
        let columns = Columns::of(rows.iter().map(<[String; 3]>::as_slice), 1..2);
        assert_eq!(rows.map(|row| columns.line(&row)), ["a     1 µs\n", "b b  12 ms  same\n"]);
    }
}
