//! Fetches several URLs at once, and prints how large each answer is: `map` over work that waits for a network.
//!
//! ```sh
//! cargo run -p workloads --example fetch                            # from a small server in this program
//! cargo run -p workloads --example fetch -- https://example.com     # from anywhere
//! ```

use std::{
    error::Error,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolExecutor, ThreadPoolExecutor};

/// The time that an answer of the small server takes, which parallel fetching saves.
const LATENCY: Duration = Duration::from_millis(100);

/// The error is text because it may have to come back from another process, which `ureq::Error` cannot.
fn fetch_url(url: String) -> Result<usize, String> {
    let mut response = ureq::get(&url).call().map_err(|error| error.to_string())?;
    let content = response.body_mut().read_to_vec().map_err(|error| error.to_string())?;
    Ok(content.len())
}

fn run(executor: &impl Executor, urls: &[String]) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let results = executor.map(fetch_url, urls.to_vec());
    for (url, result) in urls.iter().zip(results) {
        // Two layers: `?` handles failures of the task itself, the match handles the task's own result.
        match result? {
            Ok(size) => println!("  {url}: {size} bytes"),
            Err(error) => println!("  {url} failed: {error}"),
        }
    }
    println!("  all in {:.0?}", start.elapsed());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    executor_core::init();

    let mut urls: Vec<String> = std::env::args().skip(1).collect();
    if urls.is_empty() {
        urls = serve(&["/small", "/a-little-longer", "/the-longest-of-all", "/missing"])?;
    }

    println!("in threads:");
    run(&ThreadPoolExecutor::new(4)?, &urls)?;
    println!("in processes:");
    run(&ProcessPoolExecutor::new(4)?, &urls)?;
    Ok(())
}

/// Starts a server that lives as long as this program, and returns the URLs of `paths` on it.
fn serve(paths: &[&str]) -> io::Result<Vec<String>> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // One thread per connection, so that the server does not serialize the parallel requests of the clients. A client
            // that goes away harms only itself.
            thread::spawn(move || answer(stream));
        }
    });
    Ok(paths.iter().map(|path| format!("http://{address}{path}")).collect())
}

/// Reads one request, and answers with a page as long as a hundred times its path.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or("/");
    // A request ends with an empty line. Closing with input unread would reset the connection.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    thread::sleep(LATENCY);
    let (status, body) = match path {
        "/missing" => ("404 Not Found", String::new()),
        path => ("200 OK", path.repeat(100)),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
