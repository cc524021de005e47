//! `lab sweep` on the user's own input, beside other labs, and where something fails.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use reports::model::{PathologyVerdict, Run, Verdict};

fn lab(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.current_dir(folder).args(arguments);
    command
}

/// A sweep of one sample, with one thread beside serial.
fn sweep(folder: &Path, workload: &str, more: &[&str]) -> Command {
    // Other tests run beside this one.
    let small =
        ["sweep", workload, "--quick", "--executors", "thread", "--workers", "1", "--reps", "1", "--accept-unfit"];
    lab(folder, &[&small[..], more].concat())
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The run that a sweep into `run` has left.
fn swept(folder: &Path, workload: &str, more: &[&str], code: i32) -> (Run, Output) {
    let output = sweep(folder, workload, &[more, &["--out", "run"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", errors(&output));
    (reports::load(folder.join("run")).unwrap(), output)
}

#[test]
fn own_files_databases_and_urls_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("own files")).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(folder.path().join("own files").join(name), name).unwrap();
    }
    let (run, _) = swept(folder.path(), "sha256", &["--path", "own files"], 0);
    assert!(run.cells.iter().all(|cell| cell.tasks == 3 && cell.verdict == Verdict::Correct), "{:?}", run.cells);
    assert!(run.command.contains("--path 'own files'"), "{}", run.command);
    let digest = run.cells[0].samples[0].digest.clone();
    fs::write(folder.path().join("own files/c"), "d").unwrap();
    let (run, _) = swept(folder.path(), "sha256", &["--path", "own files"], 0);
    assert_ne!(run.cells[0].samples[0].digest, digest);

    fs::write(folder.path().join("own.db"), "").unwrap();
    let query = ["own.db", "--query", "SELECT 7", "--repeats", "5"];
    let (run, _) = swept(folder.path(), "sqlite", &query, 0);
    assert!(run.cells.iter().all(|cell| cell.tasks == 5 && cell.verdict == Verdict::Correct), "{:?}", run.cells);

    // Never the same page twice, and still no wrong answer.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(folder.path().join("urls"), format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(format!("{head}{number}").as_bytes());
        }
    });
    let (run, _) = swept(folder.path(), "fetch", &["--urls", "urls"], 0);
    assert!(run.cells.iter().all(|cell| cell.tasks == 1 && cell.verdict == Verdict::Correct), "{:?}", run.cells);
}

#[test]
fn a_failed_item_fails_its_cell_its_finding_and_the_command() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("own.db"), "").unwrap();
    let query = ["--db", "own.db", "missing.db", "--query", "SELECT 7", "--format", "json"];
    let (run, output) = swept(folder.path(), "sqlite", &query, 1);
    assert!(run.cells.len() == 2 && run.findings.len() > 1, "{run:?}");
    for cell in &run.cells {
        let Verdict::Failed { error } = &cell.verdict else { panic!("{cell:?}") };
        assert!(error.starts_with("1 of 2 tasks: missing.db"), "{error}");
        assert!(cell.makespan_ns.is_none() && cell.samples[0].failed_tasks == 1, "{cell:?}");
    }
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["findings"][0]["tone"], "wrong");
    // There may be a warning that the machine's clock became faster meanwhile.
    let of_cells = run.findings.iter().filter(|finding| finding.evidence != "machine");
    assert!(of_cells.map(|finding| &finding.text).all(|text| !text.contains("fast")), "{}", out(&output));
}

#[test]
fn made_input_that_was_changed_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let digests = |run: &Run| run.cells.iter().map(|cell| cell.samples[0].digest.clone()).collect::<Vec<_>>();
    let (good, _) = swept(folder.path(), "sqlite", &[], 0);
    let made = folder.path().join("target/lab-data/sqlite-20000-42");
    for name in ["users.db", "orders.db"] {
        fs::write(made.join(name), [7; 9999]).unwrap();
    }
    fs::remove_file(made.join("inventory.db")).unwrap();
    let (again, _) = swept(folder.path(), "sqlite", &[], 0);
    assert_eq!(digests(&again), digests(&good));
    assert_eq!(again.inputs, good.inputs);
}

#[test]
fn several_labs_at_once_make_the_input_once_and_each_has_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |arguments: &[&str]| -> Vec<Child> {
        let start = || lab(folder.path(), arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        (0..6).map(|_| start()).collect()
    };
    for workload in ["sqlite", "sha256"] {
        for child in begin(&["run", workload, "--workers", "2"]) {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{workload}: {}", errors(&output));
        }
    }
    let small = ["sweep", "io_wait", "--quick", "--executors", "serial", "--reps", "1"];
    for child in begin(&small) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
    }
    let runs: Vec<_> =
        fs::read_dir(folder.path().join("reports/out")).unwrap().map(|run| run.unwrap().path()).collect();
    assert_eq!(runs.len(), 6, "{runs:?}");
    for run in runs {
        let id = reports::load(&run).unwrap().id;
        assert!(run.ends_with(&id) && fs::read_to_string(run.join("index.html")).unwrap().contains(&id));
    }
}

/// A sweep that does not end by itself, from when it measures.
fn endless(folder: &Path, environment: &[(&str, &Path)]) -> (Child, BufReader<std::process::ChildStderr>) {
    let arguments = ["--executors", "thread", "--workers", "1", "--reps", "40", "--accept-unfit", "--out", "run"];
    let mut command = lab(folder, &[&["sweep", "io_wait", "--quick"], &arguments[..]].concat());
    command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    assert!(errors.read_line(&mut line).unwrap() > 0 && line.contains("samples"), "{line}");
    (child, errors)
}

#[cfg(unix)]
#[test]
fn a_folder_is_of_one_lab_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, _) = endless(folder.path(), &[]);
    let output = sweep(folder.path(), "io_wait", &["--out", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("another lab is measuring for `run`"), "{}", errors(&output));
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn what_is_no_report_is_not_replaced_by_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/index.html"), "hi").unwrap();
    let output = sweep(folder.path(), "spin", &["--out", "mine"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("mine/index.html` is not of the lab"), "{}", errors(&output));
    assert_eq!(fs::read_to_string(folder.path().join("mine/index.html")).unwrap(), "hi");
}

/// The folder becomes read-only while the lab measures, like a disk that fills up.
#[cfg(unix)]
#[test]
fn what_was_measured_is_printed_and_kept_where_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("temporary");
    fs::create_dir(&elsewhere).unwrap();
    let (child, mut rest) = endless(folder.path(), &[("TMPDIR", &elsewhere)]);
    fs::rename(folder.path().join("run"), folder.path().join("gone")).unwrap();
    fs::write(folder.path().join("run"), "").unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut errors = String::new();
    rest.read_to_string(&mut errors).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    // Either that nothing is faster than serial, or that it cannot be told by so few samples.
    let told = |it: &str| out(&output).contains(&format!("io_wait: {it}"));
    assert!(told("no executor is faster than serial") || told("cannot tell") || told("fastest on"), "{}", out(&output));
    assert!(errors.contains("cannot write `run") && errors.contains("saved in"), "{errors}");
    let saved = fs::read_dir(&elsewhere).unwrap().next().unwrap().unwrap().path();
    assert!(reports::load(&saved).unwrap().interrupted && saved.join("index.html").exists());
}

#[test]
fn the_revision_is_that_of_the_lab_and_not_of_the_folder_that_it_runs_in() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
        let output = Command::new("git").current_dir(folder.path()).args(identity).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        out(&output)
    };
    git(&["init", "-q"]);
    git(&["commit", "-q", "--allow-empty", "-m", "theirs"]);
    let theirs = git(&["rev-parse", "--short=12", "HEAD"]);
    let (run, _) = swept(folder.path(), "io_wait", &[], 0);
    assert!(run.revision.is_none_or(|revision| !revision.starts_with(theirs.trim())));
}

#[test]
fn input_of_another_content_is_told_apart_in_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "a").unwrap();
    let measure = |into: &str| {
        let output = sweep(folder.path(), "sha256", &["--path", "file", "--out", into]).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
    };
    measure("a");
    fs::write(folder.path().join("file"), "b").unwrap();
    measure("b");
    let output = lab(folder.path(), &["compare", "a", "b"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(errors(&output).contains("with other names, lengths or times of change"), "{}", errors(&output));
}

#[test]
fn pathologies_are_measured_with_and_without_their_cause_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["pathologies", "--quick", "--reps", "1", "--only", "spin,lock-half,spin,sqlite-writer", "--out", "run"];
    let output = lab(folder.path(), &[&arguments[..], &["--seed", "7"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let run = reports::load(folder.path().join("run")).unwrap();
    assert_eq!(run.command, "cargo lab pathologies --only spin,lock-half,sqlite-writer --reps 1 --quick --seed 7");
    let names: Vec<&str> = run.pathologies.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(names, ["sqlite-writer", "lock-half", "spin"], "in the order of the table, each once");
    for pathology in &run.pathologies {
        let variants = if pathology.is_control() { 2 } else { 4 };
        assert_eq!(pathology.samples.len(), variants, "{pathology:?}");
        assert!(pathology.with.is_some() && pathology.without.is_some() != pathology.is_control(), "{pathology:?}");
        // One sample has no interval.
        assert_eq!(pathology.verdict, PathologyVerdict::NotMeasured, "{pathology:?}");
    }
    let page = fs::read_to_string(folder.path().join("run/index.html")).unwrap();
    assert!(page.contains("pathologies-ratios") && page.contains("lock-half"));

    let wrong = lab(folder.path(), &["pathologies", "--only", "nothing"]).output().unwrap();
    assert!(wrong.status.code() == Some(2) && errors(&wrong).contains("malloc-trim"), "{}", errors(&wrong));
}

#[test]
fn samples_say_what_the_kernel_counted_while_they_ran() {
    let folder = tempfile::tempdir().unwrap();
    let output = lab(
        folder.path(),
        &["sweep", "spin", "--quick", "--executors", "process", "--workers", "1", "--reps", "1", "--out", "run"],
    )
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let run = reports::load(folder.path().join("run")).unwrap();
    for cell in &run.cells {
        let sample = &cell.samples[0];
        // The start of a worker process takes some hundred faults, and is not a part of the sample.
        assert!(sample.minor_faults < 2 * cell.tasks, "{}: {sample:?}", cell.id);
        #[cfg(target_os = "linux")]
        assert!(sample.run_queue_delay_ns.is_some() && sample.stolen_ns.is_some(), "{}: {sample:?}", cell.id);
    }
}

/// A folder with three files, `one`, `two` and `three`, and the list of their names.
#[cfg(unix)]
fn list() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two", "three"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    fs::write(folder.path().join("list"), "one\ntwo\nthree\n").unwrap();
    folder
}

#[cfg(unix)]
#[test]
fn any_program_is_swept_over_a_list_and_leaves_nothing_behind() {
    let folder = list();
    let command = ["--inputs", "list", "--output", "{}.copy", "--", "cp", "{}", "{}.copy"];
    let small =
        ["sweep", "command", "--workers", "1,2", "--reps", "2", "--seed", "7", "--accept-unfit", "--out", "run"];
    let output = lab(folder.path(), &[&small[..], &command].concat()).env("TMPDIR", folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let run = reports::load(folder.path().join("run")).unwrap();
    let cells: Vec<_> = run.cells.iter().map(|cell| (cell.executor.as_str(), cell.workers, cell.tasks)).collect();
    assert_eq!(cells, [("serial", 1, 3), ("thread", 1, 3), ("thread", 2, 3)]);
    assert!(run.cells.iter().all(|cell| cell.verdict == Verdict::Correct), "{:?}", run.cells);
    assert!(run.command.ends_with("--inputs list --output '{}.copy' --seed 7 -- cp '{}' '{}.copy'"), "{}", run.command);
    assert!(run.inputs[0].description.contains("`cp {} {}.copy` is started"), "{:?}", run.inputs);
    assert!(run.findings[0].text.contains("command on thread: "), "{}", run.findings[0].text);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "{left:?}");
}

#[cfg(unix)]
#[test]
fn a_command_that_is_missing_fails_hangs_or_is_another_each_time_is_told_with_its_input() {
    let folder = list();
    let told = |code: i32, more: &[&str]| {
        let output =
            sweep(folder.path(), "command", &[&["--inputs", "list", "--out", "run"], more].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{more:?}: {}", errors(&output));
        errors(&output) + &out(&output)
    };
    let missing = told(2, &["--", "no-such-program", "{}"]);
    assert!(missing.contains("no program no-such-program in the folders of PATH: install it"), "{missing}");
    let fails = told(1, &["--", "sh", "-c", "echo too big >&2; test {} != two"]);
    assert!(fails.contains("1 of 3 tasks: two: ") && fails.contains("exit code 1 (too big)"), "{fails}");
    // Three hours if each of them were waited for.
    let hangs = told(1, &["--timeout", "1", "--", "sh", "-c", "exec sleep 3600", "{}"]);
    assert!(
        hangs.contains("one: ") && hangs.contains("has not ended within 1 s") && hangs.contains("--timeout"),
        "{hangs}"
    );
    let differs = ["--reps", "2", "--accept-unfit", "--", "sh", "-c", "date +%N; head -c 8 /dev/urandom", "{}"];
    let small = ["sweep", "command", "--executors", "thread", "--workers", "1", "--inputs", "list", "--out", "run"];
    let output = lab(folder.path(), &[&small[..], &differs].concat()).output().unwrap();
    assert!(output.status.code() == Some(5) && out(&output).contains("--ignore-stdout"), "{}", out(&output));
    let unlisted = lab(folder.path(), &["sweep", "command", "--", "true"]).output().unwrap();
    assert!(unlisted.status.code() == Some(2) && errors(&unlisted).contains("--inputs"), "{}", errors(&unlisted));
    let nothing = lab(folder.path(), &["sweep", "command", "--inputs", "list"]).output().unwrap();
    assert!(nothing.status.code() == Some(2) && errors(&nothing).contains("after its options"), "{}", errors(&nothing));
}

#[cfg(unix)]
#[test]
fn a_command_is_run_once_with_its_output_on_standard_output() {
    let folder = list();
    let arguments = ["run", "command", "--inputs", "list", "--workers", "2", "--", "sh", "-c", "cat {}; echo"];
    for executor in ["thread", "process"] {
        let output = lab(folder.path(), &[&arguments[..2], &["--executor", executor], &arguments[2..]].concat())
            .output()
            .unwrap();
        assert!(output.status.success() && out(&output) == "one\ntwo\nthree\n", "{}{}", out(&output), errors(&output));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn of_a_machine_whose_cores_others_use_it_says_nothing() {
    struct Spins(Vec<Child>);
    impl Drop for Spins {
        fn drop(&mut self) {
            for child in &mut self.0 {
                let _ = child.kill().and_then(|()| child.wait());
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    let spin = |_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let _spins = Spins((0..cores).map(spin).collect());
    let arguments =
        ["sweep", "spin", "--quick", "--executors", "thread", "--workers", "1", "--reps", "3", "--out", "run"];
    let output = lab(folder.path(), &arguments).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let run = reports::load(folder.path().join("run")).unwrap();
    assert!(!run.unfit().is_empty(), "{:?}", run.fitness);
    assert!(
        run.findings[0].text.contains("cannot be said") && run.findings[0].note.contains("other programs"),
        "{run:?}"
    );
    assert!(!out(&output).contains("fastest") && !out(&output).contains("than serial"), "{}", out(&output));
    // What was measured is kept.
    assert!(run.cells.iter().all(|cell| cell.samples.len() == 3), "{run:?}");
}
