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
