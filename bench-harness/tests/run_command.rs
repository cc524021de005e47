//! `lab run` with the user's own input: errors name the problem and the remedy.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
};

use serde_json::Value;

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
    fs::write(folder.path().join("own.db"), "").unwrap();
    let output = run(folder.path(), &["sqlite", "--db", "own.db"]);
    assert!(errors(&output).contains("no such table: main_table"), "{}", errors(&output));
    assert!(errors(&output).contains("--query"), "{}", errors(&output));
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn lab(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.current_dir(folder).args(arguments);
    command
}

/// The lines of JSON on standard output.
fn lines(output: &Output) -> Vec<Value> {
    out(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Hands each connection to `serve`, each on a thread; its address.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

/// The path that a request asks for; `None` at the end of the connection.
fn asked(reader: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if reader.read_line(&mut text).ok()? == 0 {
            return None;
        }
    }
    Some(text.split(' ').nth(1)?.to_owned())
}

/// Answers `/N` with N bytes.
fn counting() -> String {
    server(|stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(path) = asked(&mut reader) {
            let bytes = path.trim_start_matches('/').parse().unwrap_or(0);
            let body = "x".repeat(bytes);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            let _ = (&stream).write_all((head + &body).as_bytes());
        }
    })
}

/// The process at the other end of a connection on this machine.
#[cfg(target_os = "linux")]
fn owner(port: u16) -> u32 {
    let wanted = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&wanted)).unwrap();
    let socket = format!("socket:[{}]", line.split_whitespace().nth(9).unwrap());
    let holds = |entry: &fs::DirEntry| {
        let files = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == socket.as_str()))
    };
    let this = std::process::id();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(holds)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| *pid != this)
        .unwrap()
}

/// The worker with the first URL is killed: every other answer has the name of its own URL, and the one that is lost is named.
#[cfg(target_os = "linux")]
#[test]
fn a_lost_task_has_a_name_and_takes_that_of_no_other() {
    let address = server(|stream| {
        let port = stream.peer_addr().unwrap().port();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(path) = asked(&mut reader) {
            if path == "/hang" {
                let pid = owner(port).to_string();
                assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
                return;
            }
            let bytes = path.trim_start_matches('/').parse().unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            let _ = (&stream).write_all((head + &"x".repeat(bytes)).as_bytes());
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let urls: Vec<String> = (1..=9).map(|bytes| format!("{address}/{bytes}")).collect();
    fs::write(folder.path().join("urls"), format!("{address}/hang\n{}\n", urls.join("\n"))).unwrap();
    let arguments = ["fetch", "--urls", "urls", "--executor", "process", "--workers", "2"];
    let output = run(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains(&format!("failed {address}/hang: worker process")), "{}", errors(&output));
    let expected: String = (1..=9).map(|bytes| format!("200 {bytes} bytes {address}/{bytes}\n")).collect();
    assert_eq!(out(&output), expected);
    let output = run(folder.path(), &[&arguments[..], &["--format", "json"]].concat());
    let lines = lines(&output);
    assert_eq!((&lines[0]["kind"], &lines[0]["url"]), (&"failed".into(), &format!("{address}/hang").into()));
    for (bytes, line) in (1..=9).zip(&lines[1..]) {
        assert_eq!((&line["url"], &line["answer"]["bytes"]), (&format!("{address}/{bytes}").into(), &bytes.into()));
    }
    assert_eq!(lines[10]["failed"], 1);
}

#[cfg(unix)]
#[test]
fn every_line_of_json_says_what_it_is_and_the_last_one_is_always_the_summary() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    for name in [&b"a\xfe"[..], b"a\xff"] {
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let output = run(folder.path(), &["sha256", "--path", ".", "missing", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["skipped", "skipped", "answer", "answer", "summary"]);
    assert_eq!((&lines[0]["path"], &lines[0]["reason"]), (&"./socket".into(), &"not a regular file".into()));
    assert_ne!((&lines[2]["path"], &lines[2]["path_bytes"]), (&lines[3]["path"], &lines[3]["path_bytes"]));
    assert_ne!(lines[2]["path"], lines[3]["path"]);
    assert_eq!((&lines[4]["tasks"], &lines[4]["failed"], &lines[4]["skipped"]), (&2.into(), &0.into(), &2.into()));

    let output = run(folder.path(), &["sha256", "missing", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let lines = self::lines(&output);
    assert_eq!((lines.len(), &lines[1]["kind"], &lines[1]["skipped"]), (2, &"summary".into(), &1.into()));
}

#[test]
fn databases_none_of_which_is_there_are_nothing_to_work_on() {
    let folder = tempfile::tempdir().unwrap();
    for input in [&["--db", "a.db"][..], &["a.db", "b.db", "--repeats", "3"]] {
        let output = run(folder.path(), &[&["sqlite"], input].concat());
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("skipped a.db: no such file") && errors.contains("nothing is left"), "{errors}");
        assert!(!errors.contains("tasks/s"), "no figure of nothing: {errors}");
    }
    let output = run(folder.path(), &["sqlite", "a.db", "b.db", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["skipped", "skipped", "summary"]);
    assert_eq!((&lines[0]["path"], &lines[2]["tasks"], &lines[2]["skipped"]), (&"a.db".into(), &0.into(), &2.into()));
}

#[test]
fn what_null_and_infinity_are_can_be_told_apart_in_json() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.db"), "").unwrap();
    let output =
        run(folder.path(), &["sqlite", "a.db", "--query", "SELECT NULL, 1e999, -1e999, 0.5", "--format", "json"]);
    assert_eq!(lines(&output)[0]["rows"], serde_json::json!([[null, "Infinity", "-Infinity", 0.5]]));
}

#[cfg(unix)]
#[test]
fn a_database_may_have_any_name_on_every_executor() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["sqlite"]);
    let made = folder.path().join("target/lab-data/sqlite-20000-42/users.db");
    for name in [&b"a\xff.db"[..], b"file:a.db", b":memory:", b"a?mode=memory#%20.db"] {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::copy(&made, folder.path().join(name)).unwrap();
        for executor in ["thread", "process"] {
            let output =
                lab(folder.path(), &["run", "sqlite", "--executor", executor, "--db"]).arg(name).output().unwrap();
            assert!(output.status.success() && out(&output).ends_with(": 20000\n"), "{name:?}: {}", errors(&output));
        }
    }
}

#[test]
fn a_list_of_paths_may_come_from_a_file_or_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two words", "three\nlines"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    fs::write(folder.path().join("list"), "one\0two words\0three\nlines\0").unwrap();
    let output = run(folder.path(), &["sha256", "--paths-from", "list"]);
    assert!(output.status.success() && out(&output).lines().count() == 3, "{}", errors(&output));
    let mut child = lab(folder.path(), &["run", "fetch", "--urls", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("\u{feff}{}/7\r\n", counting()).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(out(&output).starts_with("200 7 bytes http://"), "{}", out(&output));
}

/// No process listens at port 9 here, so a request there would fail.
#[test]
fn no_proxy_stands_before_the_labs_own_server() {
    let folder = tempfile::tempdir().unwrap();
    for variable in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        for executor in ["thread", "process"] {
            let arguments = ["run", "fetch", "--count", "3", "--latency-ms", "0", "--jitter-ms", "0", "-e", executor];
            let output = lab(folder.path(), &arguments).env(variable, "http://127.0.0.1:9").output().unwrap();
            assert!(output.status.success(), "{variable}: {}", errors(&output));
        }
    }
    let sweep = ["sweep", "fetch", "--quick", "--workers", "2", "--executors", "thread", "--reps", "1"];
    let output = lab(folder.path(), &sweep).env("http_proxy", "http://127.0.0.1:9").output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
}

#[test]
fn a_proxy_is_named_when_it_refuses_and_left_out_where_it_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}/3", counting());
    let ask = |variables: &[(&str, &str)]| {
        lab(folder.path(), &["run", "fetch", &url]).envs(variables.iter().copied()).output().unwrap()
    };
    let proxy = ("http_proxy", "http://user:hidden@127.0.0.1:9");
    let output = ask(&[proxy]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains("proxy http://user:***@127.0.0.1:9, which http_proxy names"),
        "{}",
        errors(&output)
    );
    assert!(ask(&[proxy, ("no_proxy", "127.0.0.1")]).status.success());
    assert!(ask(&[("https_proxy", proxy.1)]).status.success(), "of the other scheme");
}

#[test]
fn passwords_are_in_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let good = counting().replace("http://", "http://user:hidden@") + "/3";
    let urls = format!("{good}\nhttp://user:hidden@127.0.0.1:99999/\nhttp://user:hidden@127.0.0.1:9/\n");
    fs::write(folder.path().join("urls"), urls).unwrap();
    for format in ["text", "json"] {
        let output = run(folder.path(), &["fetch", "--urls", "urls", "--format", format, "-e", "process"]);
        let all = out(&output) + &errors(&output);
        assert!(!all.contains("hidden") && all.matches("user:***@").count() >= 3, "{all}");
    }
}

#[test]
fn what_would_be_ignored_is_refused_instead() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("list"), "http://127.0.0.1:9/").unwrap();
    for arguments in [
        &["run", "fetch", "--urls", "list", "--count", "3"][..],
        &["run", "fetch", "http://127.0.0.1/", "--latency-ms", "3"],
        &["run", "fetch", "list"],
        &["sweep", "fetch", "list"],
        &["sweep", "spin", "--path", "x"],
        &["sweep", "sha256", "--db", "x"],
    ] {
        let output = lab(folder.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", errors(&output));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn messages_that_cannot_be_read_cost_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    for stderr in [&closed as &dyn Fn() -> Stdio, &full] {
        let output =
            lab(folder.path(), &["run", "sha256", "--path", "file", "missing"]).stderr(stderr()).output().unwrap();
        assert_eq!((output.status.code(), out(&output).lines().count()), (Some(1), 1));
        let sweep =
            ["sweep", "spin", "--quick", "--executors", "thread", "--workers", "2", "--reps", "1", "--out", "run"];
        let output = lab(folder.path(), &sweep).stderr(stderr()).output().unwrap();
        assert!(output.status.success() && folder.path().join("run/index.html").exists());
        fs::remove_dir_all(folder.path().join("run")).unwrap();
        // An error has its code, though not its words.
        let output = lab(folder.path(), &["report", "missing"]).stderr(stderr()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
    }
    // Neither messages nor answers can be written.
    let output = lab(folder.path(), &["run", "sha256", "file"]).stdout(full()).stderr(closed()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
