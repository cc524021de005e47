//! `lab run` with the user's own input: what is unclear is said, with the cure.

use std::{
    path::Path,
    process::{Command, Output},
};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lab")).current_dir(folder).arg("run").args(arguments).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_place_of_made_files_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["sqlite"]);
    assert!(output.status.success(), "{}", errors(&output));
    let place = folder.path().canonicalize().unwrap().join("target/lab-data");
    assert!(errors(&output).contains(&format!("kept in {}", place.display())), "{}", errors(&output));
    let own = place.join("sqlite-20000-42/users.db");
    let output = run(folder.path(), &["sqlite", "--db", own.to_str().unwrap()]);
    assert!(output.status.success() && !errors(&output).contains("made files"), "{}", errors(&output));
}

#[test]
fn what_cannot_work_is_told_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["spin", "--tasks", "1", "--executor", "serial", "--workers", "4"]);
    assert!(output.status.success() && errors(&output).contains("serial has one worker"), "{}", errors(&output));
    let output = run(folder.path(), &["spin", "--tasks", "1", "--executor", "serial", "--workers", "1"]);
    assert!(!errors(&output).contains("serial has one worker"), "{}", errors(&output));

    let output = run(folder.path(), &["fetch", "--urls", "https://example.org/"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("put the URL in a file, one a line"), "{}", errors(&output));

    // An empty file is a database without tables.
    std::fs::write(folder.path().join("own.db"), "").unwrap();
    let output = run(folder.path(), &["sqlite", "--db", "own.db"]);
    assert!(errors(&output).contains("no such table: main_table"), "{}", errors(&output));
    assert!(errors(&output).contains("--query"), "{}", errors(&output));
}
