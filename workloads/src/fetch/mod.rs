//! `fetch`: gets URLs, one task per URL. Stresses waiting for the network; connections are kept alive per thread.
//!
//! Without a list of URLs, a local HTTP server in a process of its own answers ([`ServerProcess`]), so that its work is not
//! counted among the executor's.

mod server;
mod server_process;

use std::{cell::RefCell, fs, io::Read, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use ureq::Agent;

use crate::{ItemError, PrepareError, Prepared, answer::hex};

pub use server::{ServerConfig, serve};
pub use server_process::ServerProcess;

/// What may be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// A file with one URL per line; blank lines and lines that begin with `#` are left out.
    pub urls: Option<PathBuf>,
    /// The longest that one URL may take, in milliseconds, redirects included.
    pub timeout_ms: u64,
    /// How many redirects are followed.
    pub max_redirects: u32,
    /// The longest body, in bytes.
    pub max_body: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self { urls: None, timeout_ms: 10_000, max_redirects: 5, max_body: 10 << 20 }
    }
}

/// One URL to get, and its limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Item {
    /// The URL as it was given.
    pub url: String,
    limits: Limits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Limits {
    timeout_ms: u64,
    max_redirects: u32,
    max_body: u64,
}

/// What a URL led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Length of the body.
    pub bytes: u64,
    /// SHA-256 of the body in hexadecimal.
    pub sha256: String,
}

/// Reads the list of URLs. What is wrong with one of them is its own task's error.
///
/// # Errors
///
/// [`PrepareError`] when the list cannot be read, has no URLs, or a limit is zero.
pub fn prepare(spec: &Spec) -> Result<Prepared<Item>, PrepareError> {
    let Some(path) = &spec.urls else {
        return Err(PrepareError::Empty { what: "fetch without a list of URLs".to_owned() });
    };
    let text =
        fs::read(path).map_err(PrepareError::file("read the list of URLs, a file with one in each line,", path))?;
    let text = String::from_utf8_lossy(&text);
    let urls = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let urls: Vec<String> = urls.map(ToOwned::to_owned).collect();
    if urls.is_empty() {
        return Err(PrepareError::Empty { what: path.display().to_string() });
    }
    let (description, fingerprint) = (format!("{} URLs", urls.len()), crate::digest_of(&urls));
    Ok(Prepared { items: items(spec, urls)?, skipped: Vec::new(), description, fingerprint })
}

/// `count` tasks for a local server at `address` (`http://127.0.0.1:1234`) that was started with `config`.
///
/// # Errors
///
/// [`PrepareError`] when a limit is zero.
pub fn prepare_local(
    spec: &Spec,
    address: &str,
    config: &ServerConfig,
    count: u32,
) -> Result<Prepared<Item>, PrepareError> {
    let urls = (0..count).map(|index| format!("{address}/item/{index}"));
    // The port differs from run to run, the answers do not.
    let description = format!(
        "{count} URLs of a local server: {} ms latency, {} ms jitter, {} bytes, {} per mille errors, seed {}",
        config.latency_ms, config.jitter_ms, config.body_bytes, config.errors_per_mille, config.seed
    );
    let fingerprint = crate::digest_of(&[&description]);
    Ok(Prepared { items: items(spec, urls)?, skipped: Vec::new(), description, fingerprint })
}

fn items(spec: &Spec, urls: impl IntoIterator<Item = String>) -> Result<Vec<Item>, PrepareError> {
    if spec.timeout_ms == 0 {
        return Err(PrepareError::Value { name: "timeout", rule: "at least 1 ms" });
    }
    if spec.max_body == 0 {
        return Err(PrepareError::Value { name: "body limit", rule: "at least 1 byte" });
    }
    let limits = Limits { timeout_ms: spec.timeout_ms, max_redirects: spec.max_redirects, max_body: spec.max_body };
    Ok(urls.into_iter().map(|url| Item { url, limits }).collect())
}

thread_local! {
    /// One agent per thread: it keeps connections alive, and shares nothing with other threads.
    static AGENT: RefCell<Option<(Limits, Agent)>> = const { RefCell::new(None) };
}

fn agent(limits: Limits) -> Agent {
    AGENT.with_borrow_mut(|kept| match kept {
        Some((for_limits, agent)) if *for_limits == limits => agent.clone(),
        _ => {
            let config = Agent::config_builder()
                .timeout_global(Some(Duration::from_millis(limits.timeout_ms)))
                .max_redirects(limits.max_redirects)
                .max_redirects_will_error(true)
                .http_status_as_error(true)
                .build();
            let agent = Agent::new_with_config(config);
            *kept = Some((limits, agent.clone()));
            agent
        }
    })
}

/// Gets one URL.
///
/// # Errors
///
/// [`ItemError`] when there is no answer in time, the status is 400 or above, there are too many redirects, or the body is too
/// long.
pub fn fetch_url(item: Item) -> Result<Answer, ItemError> {
    let error = |reason: String| ItemError { item: item.url.clone(), reason };
    if !item.url.starts_with("http://") && !item.url.starts_with("https://") {
        return Err(error("is not a URL that begins with http:// or https://".to_owned()));
    }
    let mut response = agent(item.limits).get(&item.url).call().map_err(|cause| error(explain(&cause, item.limits)))?;
    let status = response.status().as_u16();
    let mut body = response.body_mut().as_reader();
    let (mut hasher, mut bytes, mut chunk) = (Sha256::new(), 0_u64, [0; 16 * 1024]);
    loop {
        match body.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                bytes += count as u64;
                if bytes > item.limits.max_body {
                    return Err(error(format!("the body is longer than {} bytes", item.limits.max_body)));
                }
                hasher.update(&chunk[..count]);
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(error(format!("the body broke off: {cause}"))),
        }
    }
    Ok(Answer { status, bytes, sha256: hex(&hasher.finalize()) })
}

fn explain(error: &ureq::Error, limits: Limits) -> String {
    match error {
        ureq::Error::StatusCode(status) => format!("the server answered with status {status}"),
        ureq::Error::Timeout(_) => format!("no answer within {} ms", limits.timeout_ms),
        ureq::Error::TooManyRedirects => format!("more than {} redirects", limits.max_redirects),
        other => other.to_string(),
    }
}
