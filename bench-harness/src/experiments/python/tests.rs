use std::{fs, path::Path};

use reports::model::{Estimate, PythonComparison, PythonSample, PythonVerdict, Tone, Verdict};
use serde_json::{Value, json};
use workloads::{Random, Workload as _, fetch, kernels::SpinTasks, sha256, sqlite};

use super::*;
use crate::{
    cell,
    executors::Kind,
    peers::{Interpreter, Python},
    registry::Registry,
    work::Work,
};

/// The Python of this machine; without one there is nothing to test, which is printed.
fn python3() -> Option<Interpreter> {
    let found = Interpreter::find(Path::new("python3"));
    found.inspect_err(|error| crate::tell::tell!("skipped: {error}")).ok()
}

/// Runs a small workload in Python, on each pool that there is, and its digest.
fn digests(python: &Interpreter, name: &str, work: &Work, data: &Path) -> Vec<Result<String, String>> {
    let registry = Registry::built_in();
    let workload = registry.find(work.name()).unwrap();
    let items = workload.items(work, data).unwrap();
    let scripts = Scripts::write().unwrap();
    let pools = Python::ALL.into_iter().filter(|pool| python.lacks(*pool).is_none()).map(Some);
    let digest = |pool: Option<Python>| {
        let reply = scripts.run(python, pool, (2, name, &items))?;
        assert!(reply.makespan_ns > 0);
        workload.digest(work, reply.answers).map_err(|error| error.to_string())
    };
    [None].into_iter().chain(pools).map(digest).collect()
}

fn serial(work: &Work, data: &Path) -> cell::Measured {
    let cell = CellSpec { work: work.clone(), executor: Kind::Serial, workers: 1, data: data.into(), input: None };
    Registry::built_in().find(work.name()).unwrap().measure(&cell).unwrap()
}

#[test]
fn answers_of_python_have_the_digest_of_the_serial_executor() {
    let Some(python) = python3() else { return };
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("an odd name?#%\u{e9}\"");
    fs::write(&odd, vec![7; 10_000]).unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    let query = "SELECT 1, -2, 9223372036854775807, 0.1, 1e999, NULL, 'caf\u{e9}', x'00ff' UNION ALL SELECT 2, 3, 4, 5, 6, 7, 8, 9";
    let sqlite = sqlite::Spec { made_rows: 5, repeats: 2, ..Default::default() };
    let mut works = vec![
        ("no-op", Work::new(&SpinTasks { tasks: 50, iterations: 0 }).unwrap()),
        ("sha256", Work::new(&sha256::Spec { paths: vec![folder.path().into()], ..Default::default() }).unwrap()),
    ];
    if python.lacks_for("sqlite").is_none() {
        works.push(("sqlite", Work::new(&sqlite).unwrap()));
        works.push(("sqlite", Work::new(&sqlite::Spec { query: query.to_owned(), ..sqlite }).unwrap()));
    }
    for (name, work) in works {
        let data = tempfile::tempdir().unwrap();
        let serial = serial(&work, data.path());
        assert_eq!(serial.failed_tasks, 0, "{:?}", serial.first_error);
        let digests = digests(&python, name, &work, data.path());
        assert!(digests.len() >= 3);
        for digest in digests {
            assert_eq!(digest.as_ref(), Ok(&serial.digest), "{name}");
        }
    }
}

/// A server in this process, which answers each request with the same page, and keeps the connection.
fn server() -> String {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut answer, mut lines) = (stream.try_clone().unwrap(), BufReader::new(stream).lines());
                while lines.by_ref().map_while(Result::ok).any(|line| line.is_empty()) {
                    let _ = answer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
                }
            });
        }
    });
    format!("http://{address}")
}

#[test]
fn pages_that_python_has_fetched_are_those_that_we_fetch() {
    let Some(python) = python3() else { return };
    let source = fetch::Source::Local { address: server(), server: Default::default(), count: 6 };
    let work = Work::new(&fetch::Fetch { spec: Default::default(), source }).unwrap();
    let serial = serial(&work, Path::new(""));
    assert_eq!(serial.failed_tasks, 0, "{:?}", serial.first_error);
    for digest in digests(&python, "fetch", &work, Path::new("")) {
        assert_eq!(digest.as_ref(), Ok(&serial.digest));
    }
}

#[test]
fn a_task_that_fails_in_python_is_the_failure_of_its_cell() {
    let Some(python) = python3() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let work = Work::new(&sha256::Spec { paths: vec![file.clone()], ..Default::default() }).unwrap();
    let registry = Registry::built_in();
    let items = registry.find("sha256").unwrap().items(&work, folder.path()).unwrap();
    fs::remove_file(&file).unwrap();
    for pool in [None, Some(Python::ThreadPool), Some(Python::ProcessPool)] {
        let error = Scripts::write().unwrap().run(&python, pool, (2, "sha256", &items)).unwrap_err();
        assert!(error.starts_with("1 of 1 tasks: FileNotFoundError: ") && error.contains("file"), "{error}");
    }
}

#[test]
fn answers_that_are_none_are_errors_that_name_them() {
    let registry = Registry::built_in();
    let work = Work::new(&SpinTasks { tasks: 2, iterations: 0 }).unwrap();
    let digest =
        |answers: Vec<Value>| registry.find("spin").unwrap().digest(&work, answers).map_err(|it| it.to_string());
    digest(vec![json!(1), json!(3)]).unwrap();
    let error = digest(vec![json!(1), json!("three")]).unwrap_err();
    assert!(error.contains("answer 2 is none of spin") && error.contains("three"), "{error}");
    let work = Work::new(&sha256::Spec::of_job(&Default::default())).unwrap();
    let failed = vec![json!({"Err": {"item": "a", "reason": "no such file"}})];
    let error = registry.find("sha256").unwrap().digest(&work, failed).unwrap_err();
    assert_eq!(error.to_string(), "a: no such file");
}

/// A program that takes the place of Python.
#[cfg(unix)]
fn program(folder: &Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("python");
    // A file that this process has open for writing, also in a child that is being forked, cannot be started.
    let made = std::process::Command::new("sh")
        .args(["-c", "printf '%s' \"$1\" >\"$2\"", "sh", &format!("#!/bin/sh\n{script}\n")])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[cfg(unix)]
#[test]
fn what_is_no_python_or_an_old_one_is_told_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let told = |script: &str| Interpreter::find(&program(folder.path(), script)).unwrap_err();
    let old =
        r#"{"executable": "/x", "implementation": "CPython", "version": "2.7.18", "major_minor": [2, 7], "gil": true}"#;
    let cases = [
        (format!("cat >/dev/null; echo '{old}'"), "is Python 2.7.18, which is too old"),
        ("cat >/dev/null; echo hello".to_owned(), "is no Python: it answered \"hello\""),
        ("cat >/dev/null".to_owned(), "is no Python: it answered nothing"),
        ("echo broken >&2; exit 3".to_owned(), "does not work (exit status: 3: broken)"),
    ];
    for (script, expected) in cases {
        let error = told(&script);
        assert!(error.contains(expected), "{error}");
        assert!(error.ends_with("install Python 3.8 or later, or name one by --python"), "{error}");
    }
    let missing = Interpreter::find(Path::new("no-such-python")).unwrap_err();
    assert!(missing.starts_with("there is no no-such-python on the PATH: install Python 3.8"), "{missing}");
    let missing = Interpreter::find(&folder.path().join("nothing/python")).unwrap_err();
    assert!(missing.starts_with("there is no program /"), "{missing}");
}

#[cfg(unix)]
#[test]
fn output_that_is_no_answer_is_an_error_that_names_it_and_a_python_without_modules_lacks_them() {
    let folder = tempfile::tempdir().unwrap();
    let this = r#"{"executable": "", "implementation": "PyPy", "version": "3.11.0", "major_minor": [3, 11], "gil": true, "pools": ["ThreadPoolExecutor"]}"#;
    // Without arguments of its own it is asked what it is, and else it is to measure.
    let run = |answer: &str| {
        let script = format!("cat >/dev/null; if [ \"$1\" = - ]; then echo '{this}'; else {answer}; fi");
        let python = Interpreter::find(&program(folder.path(), &script)).unwrap();
        let items = [json!({"seed": 1}), json!({"seed": 2})];
        (Scripts::write().unwrap().run(&python, None, (1, "no-op", &items)).unwrap_err(), python)
    };
    let (error, python) = run("echo 'Hello, world'; echo more");
    assert!(error.contains("its output is no answer") && error.ends_with("\"Hello, world\""), "{error}");
    let (error, _) = run("echo '{\"makespan_ns\": 5, \"answers\": [1]}'");
    assert_eq!(error, "1 answers came back for 2 tasks");
    let (error, _) = run("echo 'Traceback: no semaphores' >&2; exit 1");
    assert!(error.contains("no semaphores"), "{error}");

    assert_eq!(python.name(), "PyPy 3.11.0");
    assert_eq!(python.lacks(Python::ThreadPool), None);
    let cures = [Python::ProcessPool, Python::InterpreterPool, Python::Loky].map(|pool| python.lacks(pool).unwrap());
    assert!(
        cures[0].contains("complete Python") && cures[1].contains("3.14") && cures[2].ends_with("-m pip install loky")
    );
    assert!(python.lacks_for("sqlite").unwrap().contains("built with SQLite"));
    assert_eq!(python.lacks_for("sha256"), None);

    let found = Found::of(&[folder.path().join("python"), folder.path().join("python"), "no-such-python".into()]);
    assert_eq!(found.count(), 1, "each once");
    assert!(found.contenders("sqlite").is_empty(), "nothing is compared with a Python that cannot do it");
    let names: Vec<String> = found.contenders("sha256").into_iter().map(|it| found.name(it)).collect();
    assert_eq!(names, ["serial", "thread", "process", "PyPy 3.11.0: a loop", "PyPy 3.11.0: ThreadPoolExecutor"]);
    let missing: Vec<&str> = found.missing.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(missing[..2], ["PyPy 3.11.0: ProcessPoolExecutor", "PyPy 3.11.0: InterpreterPoolExecutor"]);
    assert_eq!(missing[3], "Python");
    assert_eq!(found.missing_for("sqlite")[0].what, "sqlite on PyPy 3.11.0");
}

#[test]
fn a_lab_without_these_workloads_leaves_python_out_and_one_of_the_same_name_is_another() {
    let names = |registry: &Registry| case::names(registry).collect::<Vec<_>>();
    assert_eq!(names(&Registry::built_in()), ["no-op", "sha256", "sqlite", "fetch"]);
    assert!(names(&Registry::default()).is_empty());
    let mut registry = Registry::built_in();
    registry.add(Box::new(crate::own_task::OwnTask::new("sqlite", |x: u32| x, || vec![1], |_| None)));
    assert_eq!(names(&registry), ["no-op", "sha256", "fetch"]);
}

const THREADS: Contender = Contender::Python { python: 0, pool: Some(Python::ThreadPool) };

/// Samples whose true times are these, in milliseconds, with a drift of each block and noise of `noise`.
fn planted(times: &[(Contender, f64)], blocks: u32, noise: f64) -> Vec<Measured> {
    let mut random = Random::new(11);
    let mut draw = move |share: f64| 1.0 + share * ((random.next_u64() % 1001) as f64 / 500.0 - 1.0);
    let drifts: Vec<f64> = (0..blocks).map(|_| draw(0.3)).collect();
    let mut cell = |contender: Contender, time: f64| PythonCell {
        workload: "sha256".to_owned(),
        executor: match contender {
            Contender::Lab(kind) => kind.name().to_owned(),
            Contender::Python { .. } => "CPython 3.14.0: ThreadPoolExecutor".to_owned(),
        },
        tasks: 64,
        samples: (0..blocks)
            .map(|block| PythonSample {
                block,
                order: block,
                makespan_ns: (1e6 * time * drifts[block as usize] * draw(noise)) as u64,
                digest: "right".to_owned(),
            })
            .collect(),
        ..PythonCell::default()
    };
    times.iter().map(|(contender, time)| Measured { contender: *contender, cell: cell(*contender, *time) }).collect()
}

/// The one comparison of threads, with the true ratio planted.
fn compared(ratio: f64, blocks: u32, noise: f64) -> PythonComparison {
    let times = [(Contender::Lab(Kind::Serial), 20.0), (Contender::Lab(Kind::Thread), 10.0), (THREADS, 10.0 * ratio)];
    let mut measured = planted(&times, blocks, noise);
    judge::check(&mut measured);
    judge::compare(&measured, &Found::default()).remove(0)
}

#[test]
fn a_planted_ratio_is_found_where_the_samples_carry_it() {
    for (ratio, verdict) in [
        (1.5, PythonVerdict::Slower),
        (0.7, PythonVerdict::Faster),
        (1.0, PythonVerdict::Even),
        (150.0, PythonVerdict::Slower),
    ] {
        let found = compared(ratio, 6, 0.01);
        let estimate = found.ratio.unwrap();
        assert!(estimate.low <= ratio * 1.001 && ratio * 0.999 <= estimate.high, "{ratio}: {estimate:?}");
        assert_eq!((&found.verdict, found.against.as_str()), (&verdict, "thread"), "{ratio}: {estimate:?}");
    }
    assert_eq!(compared(1.5, 5, 0.01).verdict, PythonVerdict::TooFew);
    assert_eq!(compared(1.05, 6, 0.3).verdict, PythonVerdict::CannotTell);
}

#[test]
fn wrong_and_failed_cells_have_no_figure() {
    let times = [(Contender::Lab(Kind::Serial), 20.0), (Contender::Lab(Kind::Thread), 10.0), (THREADS, 10.0)];
    let verdicts = |change: &dyn Fn(&mut [Measured])| {
        let mut measured = planted(&times, 6, 0.01);
        change(&mut measured);
        judge::check(&mut measured);
        let comparison = judge::compare(&measured, &Found::default()).remove(0);
        assert_eq!((comparison.ratio, comparison.verdict), (None, PythonVerdict::NotMeasured));
        assert_eq!(measured[2].cell.makespan_ns, None);
        measured.remove(2).cell.verdict
    };
    let wrong = verdicts(&|measured| measured[2].cell.samples[5].digest = "wrong".to_owned());
    assert!(matches!(wrong, Verdict::Wrong { expected, found } if expected == "right" && found == "wrong"));
    let failed = Verdict::Failed { error: "a task broke".to_owned() };
    assert_eq!(verdicts(&|measured| measured[2].cell.verdict = failed.clone()), failed);
    let unchecked = verdicts(&|measured| measured[0].cell.verdict = failed.clone());
    assert!(matches!(unchecked, Verdict::Failed { error } if error.contains("could not be checked")));
}

#[test]
fn each_workload_has_one_sentence_with_intervals_and_failures_come_first() {
    let comparison = |pool: &str, against: &str, ratio: f64, verdict| PythonComparison {
        workload: "sha256".to_owned(),
        executor: format!("CPython 3.14.0: {pool}"),
        against: against.to_owned(),
        ratio: Some(Estimate { median: ratio, low: 0.9 * ratio, high: 1.1 * ratio, confidence: 0.969, n: 6 }),
        verdict,
    };
    let cell = |executor: &str, verdict| PythonCell {
        workload: "fetch".to_owned(),
        executor: executor.to_owned(),
        verdict,
        ..PythonCell::default()
    };
    let failed = || Verdict::Failed { error: "no semaphores".to_owned() };
    let wrong = || Verdict::Wrong { expected: "a".to_owned(), found: "b".to_owned() };
    let shown = Shown {
        workers: 2,
        cells: vec![
            cell("CPython 3.14.0: ProcessPoolExecutor", failed()),
            cell("thread", failed()),
            cell("CPython 3.14.0: loky", wrong()),
        ],
        comparisons: vec![
            comparison("a loop", "serial", 1.0, PythonVerdict::CannotTell),
            comparison("ThreadPoolExecutor", "thread", 120.0, PythonVerdict::Slower),
            comparison("loky", "process", 0.8, PythonVerdict::Faster),
        ],
        missing: vec![Skipped { what: "Python".to_owned(), reason: "there is none: install it".to_owned() }],
        ..Shown::default()
    };
    let findings = tell::findings(&shown, false);
    let texts: Vec<(&str, Tone)> = findings.iter().map(|it| (it.text.as_str(), it.tone)).collect();
    assert_eq!(
        texts,
        [
            ("CPython 3.14.0: ProcessPoolExecutor failed on fetch: no semaphores", Tone::Caution),
            ("CPython 3.14.0: loky gave other answers than the serial run, on fetch.", Tone::Wrong),
            ("thread failed on fetch: no semaphores", Tone::Wrong),
            (
                "sha256 with 2 workers, CPython 3.14.0 beside us: it cannot tell whether a loop or our serial executor takes longer \
                 (1.00x (96.9% CI 0.900x to 1.10x)); its thread pool takes 120x (96.9% CI 108x to 132x) the time of ours; loky \
                 takes 0.800x (96.9% CI 0.720x to 0.880x) the time of our process pool.",
                Tone::Neutral
            ),
            ("Not measured beside us: Python: there is none: install it.", Tone::Neutral),
        ]
    );
    assert!(findings[3].note.contains("repeat the run on an idle machine"));
    assert!(tell::findings(&Shown::default(), true).is_empty());
    let few = comparison("ThreadPoolExecutor", "thread", 1.2, PythonVerdict::TooFew);
    let few = &tell::findings(&Shown { workers: 1, comparisons: vec![few], ..Shown::default() }, true)[0];
    assert_eq!(few.text, "sha256 with 1 worker, CPython 3.14.0 beside us: too few samples to tell.");
    assert!(few.note.ends_with("repeat the run on an idle machine, and without --quick."), "{}", few.note);
}
