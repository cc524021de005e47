//! `lab python`: Python beside the lab's executors, and a machine without Python.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use reports::model::{PythonVerdict, Tone, Verdict};

fn lab(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.current_dir(folder).args(arguments).args(["--seed", "7", "--accept-unfit", "--out", "run"]);
    command.output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn python_runs_the_same_work_beside_us_and_gives_the_same_answers() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3 on the PATH");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .current_dir(folder.path())
        .args(["python", "--quick", "--reps", "1", "--workers", "2", "--seed", "7", "--accept-unfit", "--out", "run"])
        .env("TMPDIR", &temporary)
        .env("http_proxy", "http://127.0.0.1:1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let run = reports::load(folder.path().join("run")).unwrap();
    assert_eq!(run.command, "cargo lab python --workers 2 --reps 1 --quick --seed 7");
    let python = run.python.as_ref().unwrap();
    let workloads = ["no-op", "sha256", "sqlite", "fetch"];
    for cell in &python.cells {
        assert_eq!((&cell.verdict, cell.samples.len()), (&Verdict::Correct, 1), "{cell:?}");
        assert!(cell.tasks >= 16 && workloads.contains(&cell.workload.as_str()), "{cell:?}");
    }
    let name = &python.interpreters[0].name;
    for workload in workloads {
        // A Python without SQLite is told.
        let left_out = python.missing.iter().any(|missing| missing.what == format!("{workload} on {name}"));
        let executors = ["serial", "thread", "process"].map(str::to_owned).into_iter();
        for executor in executors.chain(["a loop", "ThreadPoolExecutor"].map(|pool| format!("{name}: {pool}"))) {
            let cell = python.cells.iter().find(|cell| cell.workload == workload && cell.executor == executor);
            assert_eq!(cell.is_some(), !left_out, "{workload} on {executor}");
        }
    }
    assert!(python.comparisons.len() >= 6, "{python:?}");
    for comparison in &python.comparisons {
        // One sample has no interval.
        assert_eq!((comparison.ratio.is_some(), &comparison.verdict), (true, &PythonVerdict::TooFew), "{comparison:?}");
    }
    assert!(run.inputs.iter().any(|input| input.description == "500 tasks that return their number"));
    let told = format!("sha256 with 2 workers, {name} beside us: too few samples to tell.");
    let finding = run.findings.iter().find(|finding| finding.text == told);
    assert!(finding.is_some_and(|finding| finding.note.contains("6 are needed")), "{:?}", run.findings);
    let page = fs::read_to_string(folder.path().join("run/index.html")).unwrap();
    assert!(page.contains("python-ratios-plot") && page.contains("ThreadPoolExecutor"));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "its scripts are gone");
}

#[test]
fn a_machine_without_python_is_told_with_the_cure_and_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let output = lab(folder.path(), &["python", "--quick", "--python", "no-such-python"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let run = reports::load(folder.path().join("run")).unwrap();
    assert!(run.python.as_ref().is_some_and(|python| python.cells.is_empty()), "{:?}", run.python);
    let told = "Not measured beside us: Python: there is no no-such-python on the PATH: install Python 3.8 or later, or name one by \
                --python.";
    let finding = run.findings.iter().find(|finding| finding.text == told);
    assert_eq!(finding.map(|finding| finding.tone), Some(Tone::Neutral), "{:?}", run.findings);
    assert!(run.command.contains("--python no-such-python"), "{}", run.command);
    let page = fs::read_to_string(folder.path().join("run/index.html")).unwrap();
    assert!(page.contains("No Python was measured."));
}
