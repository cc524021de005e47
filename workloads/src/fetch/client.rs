//! Gets one URL: the choice of the agent and the proxy, redirects, and the meaning of errors.

use std::{
    cell::RefCell,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use ureq::{
    Agent, Body,
    http::{Response, header},
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector, DefaultConnector},
    },
};
use url::Url;

use super::{
    address,
    item::{Answer, Item},
    proxy::{self, Chosen},
    transport::{Seen, Watch},
};
use crate::{answer::hex, paths};

/// The route of a request: its certificates and its proxy. A thread keeps an agent for each route.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    roots: Option<PathBuf>,
    proxy: Option<Chosen>,
}

struct Kept {
    route: Route,
    agent: Agent,
    seen: Arc<Seen>,
}

thread_local! {
    /// The agents of this thread: they keep connections alive, and share nothing with other threads.
    static AGENTS: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// The agent for `route`; a new one, without any connection, if `anew`.
fn agent(route: &Route, anew: bool) -> Result<(Agent, Arc<Seen>), String> {
    AGENTS.with_borrow_mut(|kept| {
        if anew {
            kept.retain(|other| other.route != *route);
        }
        if let Some(kept) = kept.iter().find(|other| other.route == *route) {
            return Ok((kept.agent.clone(), Arc::clone(&kept.seen)));
        }
        let seen = Arc::new(Seen::default());
        let agent = make(route, &seen)?;
        kept.push(Kept { route: route.clone(), agent: agent.clone(), seen: Arc::clone(&seen) });
        Ok((agent, seen))
    })
}

fn make(route: &Route, seen: &Arc<Seen>) -> Result<Agent, String> {
    let proxy = match &route.proxy {
        Some(chosen) => Some(ureq::Proxy::new(&chosen.url).map_err(|error| format!("{error}, {}", chosen.in_words()))?),
        None => None,
    };
    let mut tls = TlsConfig::builder();
    if let Some(path) = &route.roots {
        tls = tls.root_certs(roots(path).map_err(|error| format!("failed to read {}: {error}", paths::shown(path)))?);
    }
    let config = Agent::config_builder()
        // The library's own choice of a proxy is never used: it ignores the scheme, and whether it is the lab's own server.
        .proxy(proxy)
        // Redirects are followed by this file, since each may lead through another proxy.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .tls_config(tls.build())
        .build();
    let connector = DefaultConnector::default().chain(Watch(Arc::clone(seen)));
    Ok(Agent::with_parts(config, connector, DefaultResolver::default()))
}

/// Reads the certificates that are trusted instead of the built-in ones.
pub(super) fn roots(path: &Path) -> Result<RootCerts, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err("there is no certificate in it (-----BEGIN CERTIFICATE-----)".to_owned());
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// Gets one URL, and follows redirects within its limits.
pub(super) fn get(item: &Item) -> Result<Answer, String> {
    let limits = item.limits;
    let mut url = address::parse(&item.url)?;
    let allowed = Duration::from_millis(limits.timeout_ms);
    let start = Instant::now();
    let mut redirects = 0;
    loop {
        let left = allowed.saturating_sub(start.elapsed());
        let hop = Hop { item, url: &url, proxy: chosen(item, &url)? };
        let mut response = hop.answer(left)?;
        let status = response.status().as_u16();
        let location = match status {
            301 | 302 | 303 | 307 | 308 => response.headers().get_all(header::LOCATION).iter().next_back(),
            _ => None,
        };
        if let Some(location) = location {
            if redirects == limits.max_redirects {
                return Err(format!("more than {redirects} redirects"));
            }
            redirects += 1;
            let next = address::follow(&url, location.as_bytes())?;
            // A short body is read to its end, so that the connection can be used again.
            let _ = std::io::copy(&mut response.body_mut().as_reader().take(64 * 1024), &mut std::io::sink());
            url = next;
            continue;
        }
        if status >= 400 {
            return Err(format!("the server answered with status {status}"));
        }
        return hop.read(status, &mut response);
    }
}

fn chosen(item: &Item, url: &Url) -> Result<Option<Chosen>, String> {
    // The lab's own server is on this machine, and no proxy is to be measured.
    if item.direct { Ok(None) } else { proxy::choose(url, |name| std::env::var(name).ok()) }
}

/// One request; with redirects there are several.
struct Hop<'a> {
    item: &'a Item,
    url: &'a Url,
    proxy: Option<Chosen>,
}

impl Hop<'_> {
    /// Returns the answer, whose body is still to be read. The server may close a connection that was kept alive just when the
    /// request is sent, which says nothing about the request: if such a connection ends before the first byte of an answer, the
    /// request is sent once more on a new one.
    fn answer(&self, left: Duration) -> Result<Response<Body>, String> {
        let route = Route { roots: self.item.roots.clone(), proxy: self.proxy.clone() };
        let start = Instant::now();
        let (first, seen) = agent(&route, false)?;
        let connections = seen.connections();
        seen.begin();
        match self.send(&first, left) {
            Err(ureq::Error::Io(_)) if seen.connections() == connections && !seen.answered() => {
                let (fresh, _) = agent(&route, true)?;
                self.send(&fresh, left.saturating_sub(start.elapsed())).map_err(|error| self.explain(&error))
            }
            answer => answer.map_err(|error| self.explain(&error)),
        }
    }

    fn send(&self, agent: &Agent, left: Duration) -> Result<Response<Body>, ureq::Error> {
        // Zero would be no limit.
        let left = left.max(Duration::from_millis(1));
        agent.get(self.url.as_str()).config().timeout_global(Some(left)).build().call()
    }

    fn read(&self, status: u16, response: &mut Response<Body>) -> Result<Answer, String> {
        let mut body = response.body_mut().as_reader();
        let (mut hasher, mut bytes, mut chunk) = (Sha256::new(), 0_u64, [0; 16 * 1024]);
        let max_body = self.item.limits.max_body;
        loop {
            match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    bytes += count as u64;
                    if bytes > max_body {
                        return Err(format!("the body is longer than {max_body} bytes (--max-body allows more)"));
                    }
                    hasher.update(&chunk[..count]);
                }
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    let inner = cause.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
                    return Err(match inner {
                        Some(ureq::Error::Timeout(_)) => format!("the body had no end within {}", self.limit()),
                        Some(error) => format!("the body broke off: {}", self.explain(error)),
                        None => format!("the body broke off: {cause}"),
                    });
                }
            }
        }
        Ok(Answer { status, bytes, sha256: hex(&hasher.finalize()) })
    }

    fn limit(&self) -> String {
        format!("{} ms (--timeout-ms allows more)", self.item.limits.timeout_ms)
    }

    /// The meaning of an error, and the remedy.
    fn explain(&self, error: &ureq::Error) -> String {
        let mut text = match error {
            ureq::Error::Timeout(_) => format!("no answer within {}", self.limit()),
            // These repeat the URL, and its password with it.
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                "is a URL that cannot be asked for: write unusual characters in it as %XX".to_owned()
            }
            ureq::Error::HostNotFound => format!("the host {} is not found", self.url.host_str().unwrap_or_default()),
            other => certificate(&other.to_string(), self.url)
                .unwrap_or_else(|| other.to_string().trim_start_matches("io: ").to_owned()),
        };
        if let Some(proxy) = &self.proxy {
            text.push_str(&format!(" ({})", proxy.in_words()));
        }
        text
    }
}

/// The problem of a server's certificate, in the words of server administrators.
fn certificate(error: &str, url: &Url) -> Option<String> {
    let is = |kind: &str| error.contains(kind);
    if !is("certificate") {
        return None;
    }
    Some(if is("UnknownIssuer") {
        "the server's certificate is signed by an authority that is not known: name a file with that authority's certificate \
         by --cacert or SSL_CERT_FILE"
            .to_owned()
    } else if is("CaUsedAsEndEntity") {
        "the server's certificate is that of an authority, which servers may not use themselves: give the server one that the \
         authority has signed (without CA:TRUE), and name the authority's by --cacert"
            .to_owned()
    } else if is("NotValidForName") || is("not valid for name") {
        format!("the server's certificate is for another name than {}", url.host_str().unwrap_or_default())
    } else if is("Expired") || is("expired") {
        "the server's certificate has expired, or the clock of this machine is wrong".to_owned()
    } else if is("NotValidYet") || is("not valid yet") {
        "the server's certificate is not valid yet, or the clock of this machine is wrong".to_owned()
    } else {
        return None;
    })
}
