//! The `lab` command as a new user runs it: wrong input, real input, and one small sweep to the end.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn lab(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lab")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the lab in a folder of its own, and checks its exit code; standard output and standard error.
fn expect(code: i32, arguments: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = lab(folder.path(), arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

#[test]
fn wrong_usage_is_exit_2_and_says_what_is_possible() {
    let (_, err) = expect(2, &["sweep", "nothing"]);
    assert!(err.contains("sha256"), "{err}");
    expect(2, &["no-such-command"]);
    for arguments in [
        &["run", "spin", "--workers", "0"][..],
        &["run", "spin", "--tasks", "0"],
        &["run", "sha256", "--chunk-size", "0"],
        &["run", "sqlite", "--query", ""],
        &["run", "sqlite", "--format", "sha256sum"],
        &["run", "fetch", "--timeout-ms", "0"],
        &["run", "fetch", "--max-body", "0"],
        &["run", "payload", "--input-bytes", "10000000000000"],
        &["sweep", "spin", "--reps", "0"],
    ] {
        let (out, err) = expect(2, arguments);
        assert!(out.is_empty() && err.starts_with("error: "), "{arguments:?}: {err}");
    }
}

#[test]
fn a_workload_has_the_same_name_in_every_command() {
    for workload in ["spin", "io_wait", "io-wait", "payload"] {
        let (out, _) = expect(0, &["run", workload, "--tasks", "3", "--format", "json"]);
        let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&summary["tasks"], &summary["failed"]), (&3.into(), &0.into()), "{workload}: {out}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let output = lab(folder.path(), &["bench", "--quick", "--out", "file/run"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.starts_with("error: ") && errors.contains("file/run"), "nothing else comes first: {errors}");
}

#[test]
fn a_missing_file_is_named() {
    let (_, err) = expect(1, &["report", "missing/run.json"]);
    assert!(err.starts_with("error: ") && err.contains("missing/run.json"), "{err}");
    let (_, err) = expect(1, &["run", "fetch", "--urls", "missing.txt"]);
    assert!(err.contains("missing.txt"), "{err}");
    let (_, err) = expect(1, &["run", "sha256", "--path", "missing.bin"]);
    assert!(err.contains("skipped missing.bin: no such file"), "{err}");
}

#[test]
fn a_run_that_is_none_or_newer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for content in ["not json", "{\"schema_version\": 999}"] {
        fs::write(folder.path().join("run.json"), content).unwrap();
        let output = lab(folder.path(), &["report", "run.json"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("run.json"), "{}", text(&output.stderr));
    }
}

#[test]
fn hashes_are_what_sha256sum_accepts() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["plain", "with space", "with\nnewline", "with\\backslash"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    for executor in ["serial", "thread", "process", "rayon", "thread-per-task", "process-per-task"] {
        let arguments =
            ["run", "sha256", "--path", ".", "--executor", executor, "--workers", "2", "--format", "sha256sum"];
        let output = lab(folder.path(), &arguments);
        assert!(output.status.success(), "{executor}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout).lines().count(), 4);
        let mut check = Command::new("sha256sum")
            .current_dir(folder.path())
            .args(["-c", "--strict", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut check.stdin.take().unwrap(), &output.stdout).unwrap();
        assert!(check.wait().unwrap().success(), "{executor}: {}", text(&output.stdout));
    }
}

#[cfg(unix)]
#[test]
fn what_was_named_and_skipped_is_a_failure_and_all_that_was_is_one_for_who_is_strict() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let output = lab(folder.path(), &["run", "sha256", "--path", "file", "missing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("skipped missing: no such file"), "{}", text(&output.stderr));
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let arguments = ["run", "sha256", "."];
    let output = lab(folder.path(), &arguments);
    assert!(output.status.success() && text(&output.stderr).contains("skipped ./socket"), "{}", text(&output.stderr));
    let output = lab(folder.path(), &[&arguments[..], &["--strict"]].concat());
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn one_bad_url_and_one_bad_database_are_one_error_each() {
    let folder = tempfile::tempdir().unwrap();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut request = [0; 1024];
        let _ = std::io::Read::read(&mut stream, &mut request).unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            .unwrap();
    });
    fs::write(folder.path().join("urls.txt"), format!("http://{address}/\nnonsense\n")).unwrap();
    let output = lab(folder.path(), &["run", "fetch", "--urls", "urls.txt", "--executor", "process"]);
    answering.join().unwrap();
    assert_eq!(output.status.code(), Some(1), "one of two has no answer");
    assert!(text(&output.stdout).starts_with("200 2 bytes"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("failed nonsense"), "{}", text(&output.stderr));

    fs::write(folder.path().join("bad.db"), "this is no database, and long enough to be looked at").unwrap();
    let made = lab(folder.path(), &["run", "sqlite", "--format", "json"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("\"rows\":[[20000]]"), "{}", text(&made.stdout));
    let users = "target/lab-data/sqlite-20000-42/users.db";
    let output = lab(folder.path(), &["run", "sqlite", "--db", users, "bad.db", "missing.db", users]);
    assert_eq!(text(&output.stdout).matches("20000").count() - text(&output.stdout).matches("sqlite-20000").count(), 2);
    let errors = text(&output.stderr);
    assert!(errors.contains("failed bad.db") && errors.contains("failed missing.db"), "{errors}");
}

#[test]
fn the_local_server_answers_as_it_is_told() {
    let (out, err) = expect(
        1,
        &[
            "run",
            "fetch",
            "--count",
            "4",
            "--latency-ms",
            "0",
            "--jitter-ms",
            "0",
            "--body-bytes",
            "10",
            "--errors-per-mille",
            "1000",
        ],
    );
    assert_eq!((out.as_str(), err.matches("status 500").count()), ("", 4), "{err}");
    let (out, _) = expect(0, &["run", "fetch", "--count", "4", "--latency-ms", "0", "--body-bytes", "10"]);
    assert_eq!(out.matches("200 10 bytes").count(), 4, "{out}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..2000 {
        fs::write(folder.path().join(format!("a-file-with-a-rather-long-name-{number}")), "x").unwrap();
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_lab"))
        .current_dir(folder.path())
        .args(["run", "sha256", "--path", ".", "--format", "sha256sum"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
    assert!(output.status.success());
}

#[test]
fn a_small_sweep_writes_a_report_that_can_be_rendered_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = |out: &str| {
        let arguments = [
            "sweep",
            "spin",
            "--executors",
            "thread,process-per-task",
            "--workers",
            "1,2",
            "--reps",
            "2",
            "--quick",
            "--out",
            out,
        ];
        let output = lab(folder.path(), &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let replaced = ["a", "b", "a"].map(|out| sweep(out).matches("replaces the run of 20").count());
    assert_eq!(replaced, [0, 0, 1]);
    let run = reports::load(folder.path().join("a/run.json")).unwrap();
    let ids: Vec<_> = run.cells.iter().map(|cell| cell.id.as_str()).collect();
    assert_eq!(
        ids,
        ["spin/serial/w1", "spin/thread/w1", "spin/thread/w2", "spin/process-per-task/w1", "spin/process-per-task/w2"]
    );
    assert!(run.cells.iter().all(|cell| cell.samples.len() == 2 && cell.verdict == reports::model::Verdict::Correct));
    #[cfg(target_os = "linux")]
    for cell in &run.cells {
        let watched = cell.samples.iter().filter(|sample| sample.peak_pss_bytes.is_some_and(|size| size > 1 << 20));
        assert_eq!(watched.count(), 1, "memory is looked at once per cell: {cell:?}");
    }
    assert!(
        run.command.contains("--executors thread,process-per-task --workers 1,2 --reps 2 --quick --seed"),
        "{}",
        run.command
    );

    fs::remove_file(folder.path().join("a/index.html")).unwrap();
    assert!(lab(folder.path(), &["report", "a/run.json"]).status.success());
    assert!(folder.path().join("a/index.html").exists());

    let output = lab(folder.path(), &["compare", "a/run.json", "b/run.json", "--format", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("spin/process-per-task/w2"));

    let against = |other: &reports::model::Run| {
        reports::write(other, &folder.path().join("c")).unwrap();
        lab(folder.path(), &["compare", "a/run.json", "c/run.json"])
    };
    let mut other = run.clone();
    other.host.fingerprint = "another machine".to_owned();
    let output = against(&other);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("another machine"), "{}", text(&output.stderr));
    let mut other = run.clone();
    other.inputs[0].fingerprint = "another input".to_owned();
    other.inputs[0].description = "twice as many tasks".to_owned();
    let output = against(&other);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("twice as many tasks"), "{}", text(&output.stderr));
    let mut other = run;
    let (expected, found) = ("a".to_owned(), "b".to_owned());
    other.cells[1].verdict = reports::model::Verdict::Wrong { expected, found };
    let output = against(&other);
    assert!(output.status.success() && text(&output.stdout).contains("wrong or failed"), "{}", text(&output.stdout));
}

#[test]
fn a_cell_that_is_named_twice_is_one_cell() {
    let arguments = ["sweep", "io_wait", "--executors", "thread,thread", "--workers", "2,2", "--reps", "1", "--quick"];
    let folder = tempfile::tempdir().unwrap();
    let output = lab(folder.path(), &[&arguments[..], &["--accept-unfit", "--format", "json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(printed["findings"][0]["text"].as_str().unwrap().contains("io_wait"), "{printed}");
    let run = reports::load(folder.path().join(printed["data"].as_str().unwrap())).unwrap();
    let ids: Vec<_> = run.cells.iter().map(|cell| cell.id.as_str()).collect();
    assert_eq!(ids, ["io_wait/serial/w1", "io_wait/thread/w2"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_and_reports_what_was_measured() {
    use std::io::{BufRead, BufReader, Read};
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lab"))
        .current_dir(folder.path())
        .args(["sweep", "spin", "--executors", "thread,process", "--reps", "20", "--quick", "--out", "run"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // A tenth is done then; the other nine take seconds.
    assert!(errors.read_line(&mut line).unwrap() > 0 && line.contains("samples"), "{line}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("what was measured is kept"), "{rest}");
    let run = reports::load(folder.path().join("run")).unwrap();
    let samples: usize = run.cells.iter().map(|cell| cell.samples.len()).sum();
    assert!(run.interrupted && samples > 0 && samples < 20 * run.cells.len(), "{samples} samples");
    let page = fs::read_to_string(folder.path().join("run/index.html")).unwrap();
    assert!(page.contains("interrupted"));
}

/// A second Ctrl-C while a sample is being taken, in a process that has worker processes and does not end by itself: it has
/// been stopped.
#[cfg(target_os = "linux")]
#[test]
fn a_second_ctrl_c_ends_everything_at_once() {
    use std::{
        io::{BufRead, BufReader, Read},
        os::fd::OwnedFd,
    };

    use rustix::{
        event::{PollFd, PollFlags, poll},
        process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
    };

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let pid = |number: u32| Pid::from_raw(number.cast_signed()).unwrap();
    // All processes of the lab run in this folder: their numbers, their states and their parents' numbers.
    let family = || -> Vec<(u32, String, u32)> {
        let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let number: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let (state, parent) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
            (fs::read_link(entry.path().join("cwd")).ok()? == folder).then_some((number, state, parent))
        });
        processes.collect()
    };

    let mut child = Command::new(env!("CARGO_BIN_EXE_lab"))
        .current_dir(&folder)
        .args(["sweep", "spin", "--executors", "process", "--reps", "10000", "--quick", "--out", "run"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A worker's parent is a sample: a child of the lab that has a child itself.
    let lab = child.id();
    let sample_with_worker = || {
        let family = family();
        let found = family.iter().find(|(number, _, parent)| {
            *parent == lab && family.iter().any(|(_, _, grandparent)| grandparent == number)
        });
        found.map(|(number, state, _)| (*number, state.clone()))
    };
    // The process that was asked to stop last has either done so, while its worker was there, or has ended.
    let mut asked = None;
    loop {
        match sample_with_worker() {
            Some((number, state)) if asked == Some(number) && state == "T" => break,
            Some((number, _)) if asked != Some(number) => {
                let _ = kill_process(pid(number), Signal::STOP);
                asked = Some(number);
            }
            Some(_) => {}
            // Stopped at its end, when its worker was gone.
            None => drop(asked.take().map(|number| kill_process(pid(number), Signal::CONT))),
        }
    }
    let handles: Vec<(u32, OwnedFd)> =
        family().iter().map(|(number, ..)| (*number, pidfd_open(pid(*number), PidfdFlags::empty()).unwrap())).collect();
    // The lab, its server, a sample and a worker.
    assert!(handles.len() >= 4, "{handles:?}");

    let mut errors = BufReader::new(child.stderr.take().unwrap());
    kill_process(pid(child.id()), Signal::INT).unwrap();
    let mut line = String::new();
    while !line.contains("what was measured is kept") {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0);
    }
    kill_process(pid(child.id()), Signal::INT).unwrap();
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("nothing is kept"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    for (number, handle) in &handles {
        let mut end = [PollFd::new(handle, PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(poll(&mut end, Some(&limit)).unwrap(), 1, "{number} of {handles:?} is still there");
    }
    assert_eq!(family(), []);
    assert!(!folder.join("run/run.json").exists());
}

#[test]
fn machine_is_json_on_request() {
    let (out, _) = expect(0, &["machine", "--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(value["cores"].as_u64().unwrap() > 0);
}

#[test]
fn overhead_gives_every_value_of_every_block_and_says_what_is_missing() {
    let arguments = [
        "overhead",
        "--only",
        "idle,throughput,round-trip,shared-bytes,recovery",
        "--quick",
        "--blocks",
        "1",
        "--seed",
        "5",
        "--format",
        "json",
    ];
    let (out, _) = expect(0, &arguments);
    let run: reports::overhead::Overhead = serde_json::from_str(&out).unwrap();
    assert_eq!((run.seed, run.blocks, run.workers, run.interrupted), (5, 1, 2, false));
    assert!(run.command.contains("--only idle,throughput") && run.command.contains("--seed 5"), "{}", run.command);
    let figure = |subject: &str, quantity: &str| {
        let found = run.figures.iter().find(|figure| figure.subject == subject && figure.quantity == quantity);
        found.unwrap_or_else(|| panic!("no {quantity} of {subject} in {out}"))
    };
    for (subject, quantity) in [
        ("thread", "tasks"),
        ("process", "tasks"),
        ("crossbeam-channel + oneshot", "tasks"),
        ("process", "p50"),
        ("process", "context switches per second"),
        ("process", "kill -9 to replacement's first result"),
        ("process", "64 MiB, already there / 64 bytes"),
    ] {
        let figure = figure(subject, quantity);
        let [block] = &figure.blocks[..] else { panic!("{figure:?}") };
        assert!(!block.values.is_empty() && figure.estimate.is_some(), "{figure:?}");
    }
    #[cfg(target_os = "linux")]
    for baseline in ["spinning ping-pong, processes", "futex ping-pong, processes", "pipe ping-pong, processes"] {
        // Two that spin need a core each, which a small or a busy machine does not have; a figure that cannot be measured
        // says why.
        let found = run.figures.iter().find(|figure| figure.subject == baseline).unwrap();
        let why = ["needs two cores", "never had a core each"].iter().any(|why| found.note.contains(why));
        assert!(found.estimate.is_some_and(|it| it.median > 0.0) || why, "{found:?}");
    }
    #[cfg(target_os = "linux")]
    assert!(figure("shared-memory ring, processes", "tasks").estimate.is_some());
    // A row without a figure says why.
    for figure in run.figures.iter().filter(|figure| figure.estimate.is_none()) {
        let why = ["not measured: ", "no ping-pong beside it: "].iter().any(|why| figure.note.contains(why));
        assert!(why, "{figure:?}");
    }
    // A target whose figure was measured has a status.
    let claim = run.claims.iter().find(|claim| claim.measurement == "shared-bytes").unwrap();
    assert_ne!(claim.reach.verdict, reports::overhead::TargetStatus::Unknown, "{claim:?}");
}

#[test]
fn advice_needs_a_model_and_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let ask = ["advise", "--task", "1ms", "--tasks", "10000", "--payload", "64KiB"];
    let output = lab(folder.path(), &ask);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("`lab cost` measures one"), "{}", text(&output.stderr));
    let (_, err) = expect(2, &[&ask[..], &["--waits", "2"]].concat());
    assert!(err.contains("from 0 to 1"), "{err}");
}

#[test]
fn overhead_knows_its_measurements_by_name() {
    let (_, err) = expect(2, &["overhead", "--only", "nothing"]);
    assert!(err.contains("round-trip") && err.contains("metg"), "{err}");
    let arguments = ["overhead", "--only", "shared-bytes", "--quick", "--blocks", "1"];
    let (out, _) = expect(0, &arguments);
    assert!(out.contains("64 MiB, first delivery") && out.contains("64 MiB, already there"), "{out}");
    let (out, _) = expect(0, &[&arguments[..], &["--format", "markdown"]].concat());
    assert!(out.contains("| shared-bytes | process |"), "{out}");
}

#[test]
fn a_short_stress_finds_nothing_and_says_how_to_do_it_again() {
    for executor in ["serial", "rayon", "thread", "process", "socket", "forkserver"] {
        let arguments =
            ["stress", "--seconds=2", "--seed=5", "--executor", executor, "--patience=120", "--format=json"];
        let (out, err) = expect(0, &arguments);
        let again = format!("lab stress --seconds 2 --seed 5 --executor {executor} --patience 120\n");
        assert!(err.starts_with(&format!("seed 5\nreproduce: {again}")), "{executor}: {err}");
        let stressed = &serde_json::from_str::<serde_json::Value>(&out).unwrap()["executors"][0];
        assert_eq!(stressed["executor"], executor);
        assert!(stressed["tasks"].as_u64() > Some(0) && stressed["results"].as_u64() > Some(0), "{out}");
    }
}
