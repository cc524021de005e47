//! `fetch` against the local server, which runs as a process of its own.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
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

/// Answers each connection by `serve`, until the test ends; its address.
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

/// Reads a request to its empty line; `None` where there is none.
fn request(stream: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if stream.read_line(&mut text).ok()? == 0 {
            return None;
        }
    }
    Some(text)
}

/// Answers every request of a connection with what `answer` says of it.
fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    server(move |stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = request(&mut reader) {
            if (&stream).write_all(&answer(&request)).is_err() {
                return;
            }
        }
    })
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_port_that_is_none_is_refused_and_no_other_one_is_asked() {
    for port in ["99999", "65536", "abc", "-1", "080080"] {
        let reason = reason(&format!("http://127.0.0.1:{port}/"), &Spec::default());
        assert!(reason.contains("port"), "{port}: {reason}");
    }
}

#[test]
fn a_list_may_begin_with_a_byte_order_mark_and_urls_are_read_as_browsers_do() {
    let asked = answering(|request| if request.starts_with("GET /a%20b") { OK.to_vec() } else { b"?".to_vec() });
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("urls.txt");
    fs::write(&list, format!("\u{feff}{}/a b\r\n", asked.replace("http", "HTTP"))).unwrap();
    let prepared = fetch::prepare(&Spec { urls: Some(list), ..Spec::default() }).unwrap();
    let answer = fetch_url(prepared.items[0].clone()).unwrap();
    assert_eq!((prepared.items.len(), answer.bytes), (1, 2));
}

/// The server closes each connection after one answer and does not say so: a request that goes there is lost, without a byte
/// of an answer.
#[test]
fn a_kept_connection_that_the_server_has_closed_costs_nothing() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = server(move |stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        request(&mut reader);
        (&stream).write_all(OK).unwrap();
        // The next one is read and not answered.
        request(&mut reader);
    });
    let urls = vec![address.as_str(); 20];
    let answers = fetch_all(&urls, &Spec::default());
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(connections.load(Ordering::Relaxed), 20);
}

#[test]
fn a_fresh_connection_that_ends_is_not_asked_again_and_neither_is_one_that_has_begun_to_answer() {
    let (connections, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&connections);
    let dead = server(move |stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        request(&mut BufReader::new(stream));
    });
    assert!(!reason(&dead, &Spec::default()).is_empty());
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    let counted = Arc::clone(&begun);
    let half = server(move |stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        request(&mut reader);
        (&stream).write_all(OK).unwrap();
        request(&mut reader);
        (&stream).write_all(b"HTTP/1.1 2").unwrap();
    });
    let answers = fetch_all(&[&half, &half], &Spec::default());
    assert!(answers[0].is_ok() && answers[1].is_err(), "{answers:?}");
    assert_eq!(begun.load(Ordering::Relaxed), 1);
}

#[test]
fn redirects_lead_where_browsers_go_and_nowhere_else() {
    let address = answering(|request| {
        let redirect = |to: &[u8]| {
            let head = b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: ";
            [&head[..], to, &b"\r\n\r\n"[..]].concat()
        };
        match request.split(' ').nth(1).unwrap() {
            "/utf8" => redirect("/caf\u{e9}".as_bytes()),
            "/bad" => redirect(b"http://[bad"),
            "/file" => redirect(b"file:///etc/passwd"),
            "/port" => redirect(b"http://user:secret@127.0.0.1:99999/"),
            "/caf%C3%A9" => OK.to_vec(),
            other => panic!("{other}"),
        }
    });
    let at = |path: &str| fetch_all(&[&format!("{address}{path}")], &Spec::default()).remove(0);
    assert_eq!(at("/utf8").unwrap().bytes, 2);
    assert!(at("/bad").unwrap_err().reason.contains("redirects to http://[bad, which is no URL"));
    assert!(at("/file").unwrap_err().reason.contains("neither http nor https"));
    let error = at("/port").unwrap_err();
    assert!(error.reason.contains("no URL") && !error.to_string().contains("secret"), "{error}");
}

#[test]
fn many_header_lines_are_no_error() {
    let address = answering(|_| {
        let many: String = (0..500).map(|number| format!("x-{number}: {number}\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\n{many}content-length: 2\r\n\r\nok").into_bytes()
    });
    let answers = fetch_all(&[&address, &address], &Spec::default());
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.bytes == 2)), "{answers:?}");
}

#[test]
fn passwords_are_sent_and_never_shown() {
    let address = answering(|request| {
        let asked = request.to_ascii_lowercase().contains("authorization: basic ");
        if asked { b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".to_vec() } else { OK.to_vec() }
    });
    for url in [address.replace("http://", "http://user:hidden@"), "http://user:hidden@127.0.0.1:99999/".to_owned()] {
        let error = fetch_all(&[&url], &Spec::default()).remove(0).unwrap_err();
        assert!(error.item.contains("user:***@") && !error.to_string().contains("hidden"), "{error}");
    }
}

#[test]
fn a_body_without_an_end_names_the_limit() {
    let address = answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok".to_vec());
    let reason = reason(&address, &Spec { timeout_ms: 100, ..Spec::default() });
    assert!(reason.contains("100 ms") && reason.contains("--timeout-ms"), "{reason}");
}

/// A server with a certificate that an authority of its own has signed.
fn tls_server() -> String {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
    let certificates = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let config = Arc::new(config);
    let address = server(move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = BufReader::new(rustls::StreamOwned::new(connection, stream));
        while request(&mut tls).is_some() {
            tls.get_mut().write_all(OK).unwrap();
        }
    });
    address.replace("http://", "https://")
}

#[test]
fn an_authority_of_ones_own_is_trusted_when_it_is_named_and_the_cure_is_told_when_it_is_not() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/certificates");
    let address = tls_server();
    let spec = Spec { cacert: Some(folder.join("authority.pem")), ..Spec::default() };
    let answers = fetch_all(&[&address, &address.replace("127.0.0.1", "localhost"), &address], &spec);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let reason = reason(&address, &Spec::default());
    assert!(reason.contains("--cacert") && reason.contains("SSL_CERT_FILE"), "{reason}");
    let without = tempfile::NamedTempFile::new().unwrap();
    let (cacert, urls) = (Some(without.path().to_owned()), vec![address]);
    let error = fetch::prepare_urls(&Spec { cacert, ..Spec::default() }, urls).unwrap_err();
    assert!(error.to_string().contains("no certificate in it"), "{error}");
}
