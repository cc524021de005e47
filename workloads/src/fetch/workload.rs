//! The workload: URLs of a local server, or the user's own.

use std::{
    any::Any,
    io,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args, Command};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Answer, Item, ServerConfig, ServerProcess, Spec, fetch_url, list, prepare_local, prepare_urls, serve};
use crate::{
    Digest, ItemError, PrepareError, Prepared,
    workload::{A_GIB, AN_HOUR_MS, Format, ItemName, JobSize, Place, Shown, Start, Workload, parsed},
};

/// URLs to get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The settings of each request.
    pub spec: Spec,
    /// The source of the URLs.
    pub source: Source,
}

/// The source of the URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A local server.
    Local {
        /// Its address; empty until it listens.
        address: String,
        /// Its settings.
        server: ServerConfig,
        /// Number of URLs.
        count: u32,
    },
    /// The user's URLs. Pages may differ each time, which is not a fault of the executor: only the status must be the same.
    Own(Vec<String>),
}

/// URLs to get.
#[derive(Debug, Clone, Default, Args)]
struct Urls {
    /// A file with one URL per line, or `-` for standard input [default: a local server answers]. Proxies are taken from the
    /// environment (http_proxy, https_proxy, all_proxy, no_proxy); the local server is asked without one.
    #[arg(long, value_name = "LIST")]
    urls: Option<PathBuf>,
    /// Time limit of one URL, in milliseconds, redirects included [default: 10000].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=24 * AN_HOUR_MS))]
    timeout_ms: Option<u64>,
    /// The most redirects that are followed [default: 5].
    #[arg(long, value_name = "N")]
    max_redirects: Option<u32>,
    /// The longest body, in bytes [default: 10 MiB].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    max_body: Option<u64>,
    /// A file with certificates of authorities (PEM) that are trusted instead of the built-in ones [default: SSL_CERT_FILE
    /// of the environment, if it is set].
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

impl Urls {
    fn spec(&self) -> Result<Spec, PrepareError> {
        // The system would only say that there is no such file.
        let is_url = |path: &PathBuf| path.starts_with("http:") || path.starts_with("https:");
        if self.urls.as_ref().is_some_and(is_url) {
            return Err(PrepareError::Usage {
                reason: "--urls takes a file: put the URL in a file, one a line".to_owned(),
            });
        }
        let made = Spec::default();
        Ok(Spec {
            urls: self.urls.clone(),
            timeout_ms: self.timeout_ms.unwrap_or(made.timeout_ms),
            max_redirects: self.max_redirects.unwrap_or(made.max_redirects),
            max_body: self.max_body.unwrap_or(made.max_body),
            cacert: self.cacert.clone(),
        })
    }
}

/// The options that name the user's own URLs. They exclude the options of the local server, which does not run then.
const OWN: [&str; 2] = ["urls", "url"];

/// Options of the local server.
#[derive(Debug, Args)]
struct ServerArgs {
    /// Delay of every answer of the local server, in milliseconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=AN_HOUR_MS), conflicts_with_all = OWN)]
    latency_ms: u64,
    /// Largest additional delay, in milliseconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=AN_HOUR_MS), conflicts_with_all = OWN)]
    jitter_ms: u64,
    /// Bytes in a body.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(0..=A_GIB), conflicts_with_all = OWN)]
    body_bytes: u32,
    /// Number of answers in a thousand that are errors.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000), conflicts_with_all = OWN)]
    errors_per_mille: u32,
}

impl ServerArgs {
    fn config(&self) -> ServerConfig {
        ServerConfig {
            latency_ms: self.latency_ms,
            jitter_ms: self.jitter_ms,
            body_bytes: self.body_bytes,
            errors_per_mille: self.errors_per_mille,
            ..Default::default()
        }
    }
}

#[derive(Debug, Args)]
struct UrlsToRun {
    /// URLs, in place of a list of them.
    #[arg(value_name = "URL", conflicts_with = "urls")]
    url: Vec<String>,
    #[command(flatten)]
    urls: Urls,
    /// Number of URLs of the local server.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = OWN)]
    count: u32,
    #[command(flatten)]
    server: ServerArgs,
}

impl Workload for Fetch {
    const NAME: &'static str = "fetch";
    const ABOUT: &'static str = "Get URLs";
    const WAITS: bool = true;
    const INSTEAD_OF_PATHS: &'static str = "name a list of URLs with --urls";

    type Input = Item;
    type Output = Result<Answer, ItemError>;

    fn of_job(job: &JobSize) -> Self {
        let (server, count) = (ServerConfig::default(), if job.quick { 40 } else { 80 });
        Self { spec: Spec::default(), source: Source::Local { address: String::new(), server, count } }
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Prepared<Item>, PrepareError> {
        match &self.source {
            Source::Local { address, server, count } => prepare_local(&self.spec, address, server, *count),
            Source::Own(urls) => {
                let prepared = prepare_urls(&self.spec, urls.clone())?;
                let description = format!("{}, of which the status is compared", prepared.description);
                Ok(Prepared { description, ..prepared })
            }
        }
    }

    fn run(input: Item) -> Self::Output {
        fetch_url(input)
    }

    fn add_to(&self, digest: &mut Digest, output: &Self::Output) {
        match self.source {
            Source::Local { .. } => digest.add(output),
            Source::Own(_) => digest.add(&output.as_ref().map(|answer| answer.status).map_err(|_| ())),
        }
    }

    fn begin(&mut self, start: Start<'_>) -> Result<Option<Box<dyn Any>>, PrepareError> {
        let Source::Local { address, server, .. } = &mut self.source else { return Ok(None) };
        let failed = |reason: String| PrepareError::Server { reason };
        let config = serde_json::to_string(server).map_err(|error| failed(error.to_string()))?;
        let process = ServerProcess::start(start(&config).map_err(|error| failed(error.to_string()))?)?;
        process.address().clone_into(address);
        Ok(Some(Box::new(process)))
    }

    fn beside(config: &str) -> io::Result<()> {
        serve(serde_json::from_str(config)?)
    }

    fn own_options(command: Command) -> Command {
        Urls::augment_args(command)
    }

    fn with_own(self, _: &[PathBuf], matches: &ArgMatches) -> Result<Self, PrepareError> {
        let spec = parsed::<Urls>(matches)?.spec()?;
        // The list is read here and not in every process, since standard input can be read only once.
        let source = if spec.urls.is_some() { Source::Own(list(&spec)?) } else { self.source };
        Ok(Self { spec, source })
    }

    fn run_options(command: Command) -> Command {
        UrlsToRun::augment_args(command)
    }

    fn from_run(matches: &ArgMatches) -> Result<Self, PrepareError> {
        let UrlsToRun { url, urls, count, server } = parsed(matches)?;
        let spec = urls.spec()?;
        if let Some(file) = url.iter().find(|url| !url.contains("://") && Path::new(url).is_file()) {
            return Err(PrepareError::Usage {
                reason: format!("{file} is a file and no URL: name a list of URLs with --urls {file}"),
            });
        }
        let source = if !url.is_empty() {
            Source::Own(url)
        } else if spec.urls.is_some() {
            Source::Own(list(&spec)?)
        } else {
            Source::Local { address: String::new(), server: server.config(), count }
        };
        Ok(Self { spec, source })
    }

    fn item(_: usize, input: &Item) -> ItemName {
        ItemName::plain("url", input.shown())
    }

    fn show(name: &ItemName, output: Self::Output, format: Format) -> Shown {
        Shown::answered(output, |answer| match format {
            Format::Json => Shown::json("answer", json!(answer)),
            Format::Text | Format::Own => {
                Shown::Text(format!("{} {} bytes {}\n", answer.status, answer.bytes, name.text).into_bytes())
            }
        })
    }
}
