//! `docs/conformance.md`: the table as a document. Written by `--write-table`; a trial compares.

use std::fmt::Write as _;

use crate::{
    kinds::PROCESS_VARIANTS,
    row::{Class, Row},
    table,
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md");

const COMMAND: &str = "cargo test -p executor-core --all-features --test conformance -- --write-table";

const INTRODUCTION: &str = "\
CPython tests its `concurrent.futures` with 155 tests. Those that mean something in Rust are kept here under CPython's own
names, each on every executor that it is about; they are in `executor-core/tests/conformance`, and all of them pass, or the
build fails. *own* is an executor that is built
outside of the crate (`examples/own_executor`), by what the crate gives for that. *future* is for futures and promises by themselves,
without an executor.

Where a meaning differs from CPython's (marked `~`) it is stricter: a cancelled future is done and wakes all waiters, one bad
payload or dead worker costs one task, the clock of `as_completed` starts at the call, no input is silently dropped, and an
initializer's own error is kept as the cause.

**yes**: tested here. **-**: the executor has no such thing, or nothing of it could differ.
";

pub(crate) fn write() {
    std::fs::write(PATH, document()).unwrap();
}

pub(crate) fn check() {
    let found = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(found == document(), "docs/conformance.md is out of date; write it by `{COMMAND}`");
}

/// The columns: the name in the table of tests, and the heading.
fn columns() -> Vec<(&'static str, &'static str)> {
    let processes = PROCESS_VARIANTS.iter().map(|variant| ("process", variant.name));
    let others = ["rayon", "serial", "own", "future"].map(|name| (name, name));
    std::iter::once(("thread", "thread")).chain(processes).chain(others).collect()
}

fn verdict(row: &Row, executor: &str) -> &'static str {
    let tested = row.runs.iter().any(|run| run.executor() == executor);
    match row.reason {
        Some(_) => "n/a",
        None if tested => "yes",
        None => "-",
    }
}

fn note(row: &Row) -> String {
    row.reason.map_or_else(String::new, |reason| format!(" Not applicable: {reason}."))
}

fn document() -> String {
    let mut text = format!("<!-- Written by `{COMMAND}`. -->\n\n# Conformance with CPython\n\n{INTRODUCTION}\n");
    summarise(&mut text);
    let mut number = 0;
    let mut file = "";
    for class in table::CLASSES {
        if class.file != file {
            file = class.file;
            if file == table::BEYOND {
                text.push_str("\n## Beyond CPython's tests\n");
                // Those have names, and are not counted among CPython's.
                number = 0;
            } else {
                let _ = write!(text, "\n## {file}.py\n");
            }
        }
        number = write_class(&mut text, class, number);
    }
    text
}

fn write_class(text: &mut String, class: &Class, mut number: usize) -> usize {
    let headings: Vec<_> = columns().into_iter().map(|(_, heading)| heading).collect();
    let _ = write!(text, "\n### {}\n\n| | test | what it asks | {} |\n", class.class, headings.join(" | "));
    let _ = writeln!(text, "|--:|---|---|{}", "---|".repeat(headings.len()));
    for row in class.rows {
        number += 1;
        let verdicts: Vec<_> = columns().into_iter().map(|(executor, _)| verdict(row, executor)).collect();
        let _ = writeln!(
            text,
            "| {number} | `{}` | {}.{} | {} |",
            row.test,
            row.meaning.replace('|', "\\|"),
            note(row),
            verdicts.join(" | ")
        );
    }
    number
}

/// How many rows each executor has.
fn summarise(text: &mut String) {
    let rows: Vec<&Row> = table::CLASSES.iter().flat_map(|class| class.rows).collect();
    let _ = writeln!(text, "| | tested |\n|---|--:|");
    for (executor, heading) in columns() {
        let tested = rows.iter().filter(|row| verdict(row, executor) == "yes").count();
        let _ = writeln!(text, "| {heading} | {tested} |");
    }
    let of_cpython = || table::CLASSES.iter().filter(|class| class.file != table::BEYOND).flat_map(|class| class.rows);
    let applicable = of_cpython().filter(|row| row.reason.is_none()).count();
    let _ =
        writeln!(text, "\nOf CPython's {} tests {applicable} apply; all of these are tested.", of_cpython().count());
}
