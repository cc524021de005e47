//! `fetch` against the local server, which runs as a process of its own.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
};

use workloads::{
    ItemError,
    fetch::{self, ServerConfig, ServerProcess, Spec, fetch_url},
};

/// Examples are built together with tests.
fn serve_example() -> Command {
    let tests = std::env::current_exe().unwrap();
    let mut path = PathBuf::from(tests.ancestors().nth(2).unwrap());
    path.extend(["examples", "serve"]);
    Command::new(path)
}

fn reason(url: &str, spec: &Spec) -> String {
    fetch_all(&[url], spec).remove(0).unwrap_err().reason
}

fn fetch_all(urls: &[&str], spec: &Spec) -> Vec<Result<fetch::Answer, ItemError>> {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("urls.txt");
    fs::write(&list, format!("# a comment\n\n{}\n", urls.join("\n"))).unwrap();
    let prepared = fetch::prepare(&Spec { urls: Some(list), ..spec.clone() }).unwrap();
    assert_eq!(prepared.items.len(), urls.len());
    prepared.items.into_iter().map(fetch_url).collect()
}

#[test]
fn answers_depend_on_seed_and_index_only_and_some_are_errors() {
    let digest = || {
        let server = ServerProcess::start(serve_example()).unwrap();
        let config = ServerConfig { errors_per_mille: 200, ..ServerConfig::default() };
        let prepared = fetch::prepare_local(&Spec::default(), server.address(), &config, 50).unwrap();
        let answers: Vec<_> = prepared.items.into_iter().map(fetch_url).collect();
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        assert!((1..50).contains(&failed), "{failed} of 50 failed");
        assert!(answers.iter().flatten().all(|answer| answer.status == 200 && answer.bytes == 4096));
        workloads::digest_of(&answers.iter().map(|answer| answer.as_ref().map_err(|_| ())).collect::<Vec<_>>())
    };
    assert_eq!(digest(), digest());
}

#[test]
fn one_bad_url_is_one_error() {
    let server = ServerProcess::start(serve_example()).unwrap();
    let redirected = format!("{}/redirect/2", server.address());
    let answers = fetch_all(&[&redirected, "not a url", &redirected], &Spec::default());
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(answers[1].as_ref().unwrap_err().item, "not a url");
}

#[test]
fn limits_are_kept() {
    let server = ServerProcess::start(serve_example()).unwrap();
    let at = |path: &str| format!("{}{path}", server.address());
    assert!(reason(&at("/redirect/9"), &Spec { max_redirects: 3, ..Spec::default() }).contains("3 redirects"));
    assert!(reason(&at("/redirect/0"), &Spec { max_body: 100, ..Spec::default() }).contains("100 bytes"));
    assert!(reason(&at("/never"), &Spec { timeout_ms: 50, ..Spec::default() }).contains("50 ms"));
    assert!(reason(&at("/nowhere"), &Spec::default()).contains("404"));
}

#[test]
fn a_refused_connection_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(!reason(&format!("http://{address}/"), &Spec::default()).is_empty());
}

#[test]
fn a_missing_or_empty_list_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("urls.txt");
    let spec = Spec { urls: Some(path.clone()), ..Spec::default() };
    assert!(fetch::prepare(&spec).unwrap_err().to_string().contains("urls.txt"));
    fs::write(&path, "# nothing\n").unwrap();
    assert!(fetch::prepare(&spec).unwrap_err().to_string().contains("nothing to work on"));
}

#[test]
fn the_server_ends_with_its_input() {
    let mut server = serve_example().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = server.stdout.take().unwrap();
    let mut first = [0; 9];
    output.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"listening");
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}

#[test]
fn something_that_is_no_server_is_an_error() {
    let error = ServerProcess::start(Command::new("true")).unwrap_err();
    assert!(error.to_string().contains("instead of its address"), "{error}");
}
