//! CPython's own tests of `concurrent.futures`, row by row, on every executor of this crate.
//!
//! [`table`] lists all of them: which executors each one runs on, and why some do not apply. The tests bear CPython's names, in one
//! module for each of its files. Where a row's meaning here differs from CPython's it is stricter: a cancelled future is done and
//! wakes all waiters, one bad payload or dead worker costs one task, `as_completed`'s clock starts at the call, no input is
//! silently dropped, and an initializer's own error is kept as the cause.
//!
//! `docs/conformance.md` is written from the table: `-- --write-table` writes it, and a trial here fails when it is out of
//! date. The binary has a `main` of its own because it is four things: the tests, the worker processes of their pools,
//! the programs that tests start ([`programs`]), and the writer of that file.

mod as_completed;
mod beyond;
mod deadlock;
mod document;
mod executor;
mod force_shutdown;
mod future;
mod gate;
mod init;
mod interpreter_pool;
mod kinds;
#[path = "../../examples/own_executor/executor.rs"]
mod own_executor;
mod process_pool;
mod process_shutdown;
mod programs;
mod recycling;
mod reported;
mod row;
mod shutdown;
mod states;
mod table;
mod tasks;
mod thread_pool;
mod thread_shutdown;
mod tracked;
mod wait;

use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::row::{Class, Run};

// Two classes of test_init.py have a test of the same name.
use init::{failing as init_failing, good as init_good};

fn main() {
    // In a worker process this never returns.
    executor_core::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--program", name, executor, gate] => programs::run(name, executor, gate),
        _ if arguments.iter().any(|argument| argument == "--write-table") => document::write(),
        _ => {
            reported::install();
            libtest_mimic::run(&Arguments::from_args(), trials()).exit()
        }
    }
}

fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("table::counts", || passes(table_has_every_row_once)),
        Trial::test("table::document_is_up_to_date", || passes(document::check)),
    ];
    for class in table::CLASSES {
        for row in class.rows {
            for run in row.runs {
                trials.extend(trials_of(class, row.test, run));
            }
        }
    }
    trials
}

fn trials_of(class: &Class, test: &str, run: &'static Run) -> Vec<Trial> {
    let trial = |executor: &str, test_body: Box<dyn FnOnce() + Send>| {
        let name = format!("{}::{}::{test} [{executor}]", class.file, class.class);
        Trial::test(name, move || passes(test_body))
    };
    match run {
        Run::Thread(body) => vec![trial("thread", Box::new(|| body(kinds::Threads)))],
        Run::Rayon(body) => vec![trial("rayon", Box::new(|| body(kinds::Rayon)))],
        Run::Serial(body) => vec![trial("serial", Box::new(|| body(kinds::Serial)))],
        Run::Own(body) => vec![trial("own", Box::new(|| body(kinds::Own)))],
        Run::Future(body) => vec![trial("future", Box::new(body))],
        Run::Process(body) => kinds::PROCESS_VARIANTS
            .iter()
            .map(|variant| trial(variant.name, Box::new(|| body(kinds::Processes(variant)))))
            .collect(),
    }
}

/// A test tells its failure by a panic, which the harness reports. One that takes this long has failed as well: it has waited in
/// vain for a wake-up, and gone on only when its time was up.
fn passes(test: impl FnOnce()) -> Result<(), Failed> {
    let start = Instant::now();
    test();
    if start.elapsed() < kinds::LONG { Ok(()) } else { Err("a wait ended only because its time was up".into()) }
}

fn table_has_every_row_once() {
    let (beyond, cpython): (Vec<&Class>, Vec<_>) = table::CLASSES.iter().partition(|class| class.file == table::BEYOND);
    let rows = |classes: &[&Class]| classes.iter().map(|class| class.rows.len()).sum::<usize>();
    let excluded = cpython.iter().flat_map(|class| class.rows).filter(|row| row.reason.is_some()).count();
    assert_eq!((rows(&cpython), excluded, rows(&beyond)), (155, 25, 8));

    let mut names: Vec<_> = table::CLASSES
        .iter()
        .flat_map(|class| class.rows.iter().map(move |row| (class.file, class.class, row.test)))
        .collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a row is there twice");
    for row in table::CLASSES.iter().flat_map(|class| class.rows) {
        assert!(row.runs.is_empty() == row.reason.is_some(), "{} must be either covered or excluded", row.test);
    }
}
