//! `fetch`: gets URLs, one task per URL. It measures waiting for the network; connections are kept alive per thread.
//!
//! Without a list of URLs, a local HTTP server answers. It runs in a process of its own ([`ServerProcess`]), so that its work
//! does not count as the executor's.
//!
//! The proxy is the one that the environment names for the URL's scheme and host; the lab's own server is asked without one.

mod address;
mod client;
mod item;
mod proxy;
mod server;
mod server_process;
mod transport;
mod workload;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ItemError, PrepareError, Prepared, paths, read_list, shown};
use item::Limits;

pub use item::{Answer, Item};
pub use server::{ServerConfig, serve};
pub use server_process::ServerProcess;
pub use workload::{Fetch, Source};

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// A file with one URL per line, or standard input as `-`; blank lines and lines that begin with `#` are left out.
    #[serde(with = "paths::maybe")]
    pub urls: Option<PathBuf>,
    /// The longest that one URL may take, in milliseconds, redirects included.
    pub timeout_ms: u64,
    /// The most redirects that are followed.
    pub max_redirects: u32,
    /// The longest body, in bytes.
    pub max_body: u64,
    /// A file with certificates of authorities, in PEM, that are trusted instead of the built-in ones; without one that of the
    /// environment's `SSL_CERT_FILE`, if there is one.
    #[serde(with = "paths::maybe")]
    pub cacert: Option<PathBuf>,
}

impl Default for Spec {
    fn default() -> Self {
        Self { urls: None, timeout_ms: 10_000, max_redirects: 5, max_body: 10 << 20, cacert: None }
    }
}

/// Reads the list of URLs. An invalid one is its own task's error.
///
/// # Errors
///
/// [`PrepareError`] when the list or the certificates cannot be read, it has no URLs, or a limit is zero.
pub fn prepare(spec: &Spec) -> Result<Prepared<Item>, PrepareError> {
    prepare_urls(spec, list(spec)?)
}

/// The URLs of the list that `spec` names.
///
/// # Errors
///
/// [`PrepareError`] when the list cannot be read, or has no URLs.
pub fn list(spec: &Spec) -> Result<Vec<String>, PrepareError> {
    let Some(path) = &spec.urls else {
        return Err(PrepareError::Empty { what: "fetch without a list of URLs".to_owned() });
    };
    let lines = read_list(path, "read the list of URLs, a file with one in each line,")?;
    let lines = lines.iter().map(|line| address::text_of(line).trim().to_owned());
    let urls: Vec<String> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    if urls.is_empty() {
        return Err(PrepareError::Empty { what: shown(path) });
    }
    Ok(urls)
}

/// One task for each of the URLs.
///
/// # Errors
///
/// [`PrepareError`] when the certificates cannot be read, or a limit is zero.
pub fn prepare_urls(spec: &Spec, urls: Vec<String>) -> Result<Prepared<Item>, PrepareError> {
    let named = || std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let roots = spec.cacert.clone().or_else(named);
    if let Some(path) = &roots {
        let refused = |reason: String| PrepareError::Certificates { path: path.clone(), reason };
        client::roots(path).map_err(refused)?;
    }
    let shown: Vec<String> = urls.iter().map(|url| address::redacted(url)).collect();
    let (description, fingerprint) = (format!("{} URLs", urls.len()), crate::digest_of(&shown));
    Ok(Prepared { items: items(spec, urls, false, roots.as_ref())?, skipped: Vec::new(), description, fingerprint })
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
    Ok(Prepared { items: items(spec, urls, true, None)?, skipped: Vec::new(), description, fingerprint })
}

fn items(
    spec: &Spec,
    urls: impl IntoIterator<Item = String>,
    direct: bool,
    roots: Option<&PathBuf>,
) -> Result<Vec<Item>, PrepareError> {
    if spec.timeout_ms == 0 {
        return Err(PrepareError::Value { name: "timeout", rule: "at least 1 ms" });
    }
    if spec.max_body == 0 {
        return Err(PrepareError::Value { name: "body limit", rule: "at least 1 byte" });
    }
    let limits = Limits { timeout_ms: spec.timeout_ms, max_redirects: spec.max_redirects, max_body: spec.max_body };
    Ok(urls.into_iter().map(|url| Item { url, limits, direct, roots: roots.cloned() }).collect())
}

/// Gets one URL.
///
/// # Errors
///
/// [`ItemError`] when the text is not a URL, there is no answer in time, the status is 400 or above, there are too many
/// redirects or one leads nowhere, or the body is too long. No error has the URL's password in it.
pub fn fetch_url(item: Item) -> Result<Answer, ItemError> {
    client::get(&item).map_err(|reason| ItemError { item: item.shown(), reason })
}
