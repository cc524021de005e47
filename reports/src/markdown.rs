//! The run in a few lines of Markdown, for the summary page of an automated job; and Markdown tables.

use std::fmt::Write as _;

use crate::columns::one_line;
use crate::format;
use crate::model::{Run, Tone, Verdict};

/// The run's headline, its findings, its wrong and failed cells, and the machine.
///
/// Everything that comes from the run is escaped, so a name can neither break the layout nor add markup.
pub fn summary(run: &Run) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "## Executor Lab: {}\n", escape(&run.id));
    let wrong = run.cells.iter().filter(|cell| matches!(cell.verdict, Verdict::Wrong { .. }));
    for cell in wrong {
        let _ = writeln!(text, "> **WRONG answers** in {}: its speed means nothing.\n", code(&cell.id));
    }
    for (index, finding) in run.findings.iter().enumerate() {
        let word = match finding.tone {
            Tone::Neutral => "",
            Tone::Caution => "Caution: ",
            Tone::Wrong => "Wrong: ",
        };
        if index == 0 {
            let headline = format!("**{word}{}** {}", escape(&finding.text), escape(&finding.note));
            let _ = writeln!(text, "{}\n", headline.trim_end());
        } else {
            let _ = writeln!(text, "- {word}{}", escape(&finding.in_full()));
        }
    }
    if run.findings.len() > 1 {
        text.push('\n');
    }
    let count = |pick: fn(&Verdict) -> bool| run.cells.iter().filter(|cell| pick(&cell.verdict)).count().to_string();
    text.push_str(&table(
        &["Cells", "Correct", "Wrong", "Failed", "Not measured", "Skipped"],
        &[vec![
            run.cells.len().to_string(),
            count(|verdict| matches!(verdict, Verdict::Correct)),
            count(|verdict| matches!(verdict, Verdict::Wrong { .. })),
            count(|verdict| matches!(verdict, Verdict::Failed { .. })),
            count(|verdict| matches!(verdict, Verdict::NotMeasured)),
            run.skipped.len().to_string(),
        ]],
    ));
    let host = &run.host;
    let _ = writeln!(
        text,
        "\n{}, {} cores, {}, {}; took {}{}{}.\n",
        escape(&host.cpu_model),
        host.cores,
        escape(&host.os),
        escape(&host.rustc),
        format::duration(run.elapsed_ns as f64),
        if run.quick { "; quick run" } else { "" },
        if run.interrupted { "; **interrupted**" } else { "" },
    );
    for warning in &host.warnings {
        let _ = writeln!(text, "- Caution: {}", escape(&warning.to_string()));
    }
    if !host.warnings.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "Repeat with {}", code(&run.command));
    text
}

/// A table; the first column is text and the others are figures. Fields are escaped.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    let mut line = |fields: &mut dyn Iterator<Item = String>| {
        text.push('|');
        for field in fields {
            let _ = write!(text, " {field} |");
        }
        text.push('\n');
    };
    line(&mut header.iter().map(|name| escape(name)));
    line(&mut (0..header.len()).map(|index| if index == 0 { ":---".to_owned() } else { "---:".to_owned() }));
    for row in rows {
        line(&mut row.iter().map(|field| escape(field)));
    }
    text
}

/// Escapes text, so that Markdown shows it literally.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text as code. Backticks in it would end the code, so the fence is longer than any of them.
fn code(text: &str) -> String {
    let clean = one_line(text);
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if clean.starts_with('`') || clean.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{clean}{pad}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_summary_starts_with_what_is_wrong_and_the_headline() {
        let run = fixture::run();
        let text = summary(&run);
        let wrong = text.find("WRONG answers").unwrap();
        let headline = text.find(&escape(&run.findings[0].text)).unwrap();
        assert!(wrong < headline);
        assert!(text.contains("** The machine was a bit busy"), "{text}");
        assert!(text.contains(&run.command));
    }

    #[test]
    fn names_cannot_leave_their_field() {
        let text = table(&["a", "b"], &[vec!["x | y\n<script>".to_owned(), "`*_".to_owned()]]);
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("x \\| y &lt;script&gt;"), "{text}");
        assert_eq!(code("a `` b"), "```a `` b```");
    }

    #[test]
    fn an_empty_run_has_a_summary() {
        assert!(summary(&fixture::empty()).contains("| 0 | 0 |"));
    }
}
