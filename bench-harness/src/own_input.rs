//! The user's own input, as `lab run` and `lab sweep` take it.

use std::path::PathBuf;

use clap::Args;
use workloads::{fetch, read_list, sha256, sqlite};

use crate::{cell::Work, error::LabError};

/// The longest wait that makes sense to ask for.
pub(crate) const AN_HOUR_MS: u64 = 3_600_000;

/// The most bytes in one piece: more could not be held in memory, and asking for them would end the program.
pub(crate) const A_GIB: i64 = 1 << 30;

/// Files to hash.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Files {
    /// Files, and folders with all below them; without any, files that are made in target/lab-data of the current folder.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    path: Vec<PathBuf>,
    /// A list of such paths: one a line, or each ended by a NUL byte (as `find -print0` does); `-` is standard input.
    #[arg(long, value_name = "LIST")]
    paths_from: Option<PathBuf>,
    /// Bytes read at a time; default: 4096.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=A_GIB))]
    chunk_size: Option<u32>,
}

impl Files {
    /// With the paths that were named, in the order in which they were.
    pub(crate) fn spec(&self, more: &[PathBuf], made: sha256::Spec) -> Result<sha256::Spec, LabError> {
        let mut paths = [&self.path[..], more].concat();
        if let Some(list) = &self.paths_from {
            let listed = read_list(list, "read the list of paths")?;
            if listed.is_empty() {
                return Err(workloads::PrepareError::Empty { what: workloads::shown(list) }.into());
            }
            paths.extend(listed.iter().map(|path| path_of(path)));
        }
        let chunk_size = self.chunk_size.map_or(made.chunk_size, |size| size as usize);
        Ok(sha256::Spec { paths, chunk_size, ..made })
    }

    /// As on the command line.
    fn words(&self) -> String {
        words("path", &self.path)
            + &words("paths-from", self.paths_from.as_slice())
            + &number("chunk-size", self.chunk_size.map(u64::from))
    }
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes).into()
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// Databases to ask.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Databases {
    /// SQLite databases; without any, three that are made in target/lab-data of the current folder.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    db: Vec<PathBuf>,
    /// The query, one statement that reads; default: SELECT COUNT(*) FROM main_table.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    query: Option<String>,
    /// How often each database is asked; default: 1, and in a sweep of made ones some dozens of times.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeats: Option<u32>,
    /// The most rows that a query may return; default: 100000. On worker processes an answer ends at 512 MiB besides.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    max_rows: Option<u64>,
}

impl Databases {
    pub(crate) fn spec(&self, more: &[PathBuf], made: sqlite::Spec) -> sqlite::Spec {
        let databases = [&self.db[..], more].concat();
        let query = self.query.clone().unwrap_or_else(|| made.query.clone());
        let repeats = self.repeats.unwrap_or(if databases.is_empty() { made.repeats } else { 1 });
        sqlite::Spec { databases, query, repeats, max_rows: self.max_rows.unwrap_or(made.max_rows), ..made }
    }

    fn words(&self) -> String {
        words("db", &self.db)
            + &words("query", self.query.as_slice())
            + &number("repeats", self.repeats.map(u64::from))
            + &number("max-rows", self.max_rows)
    }
}

/// URLs to get.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Urls {
    /// A file with one URL per line, `-` is standard input; a local server answers without one. Proxies are those that the
    /// environment names (http_proxy, https_proxy, all_proxy, no_proxy); the local server is asked without one.
    #[arg(long, value_name = "LIST")]
    urls: Option<PathBuf>,
    /// The longest that one URL may take, in milliseconds, redirects included; default: 10000.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=24 * AN_HOUR_MS))]
    timeout_ms: Option<u64>,
    /// How many redirects are followed; default: 5.
    #[arg(long, value_name = "N")]
    max_redirects: Option<u32>,
    /// The longest body, in bytes; default: 10 MiB.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    max_body: Option<u64>,
    /// A file with certificates of authorities (PEM) that are trusted instead of the built-in ones; default: SSL_CERT_FILE of
    /// the environment, if it is set.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

impl Urls {
    pub(crate) fn spec(&self) -> Result<fetch::Spec, LabError> {
        // The system would only say that there is no such file.
        let is_url = |path: &PathBuf| path.starts_with("http:") || path.starts_with("https:");
        if self.urls.as_ref().is_some_and(is_url) {
            return Err(LabError::Usage("--urls takes a file: put the URL in a file, one a line".to_owned()));
        }
        let made = fetch::Spec::default();
        Ok(fetch::Spec {
            urls: self.urls.clone(),
            timeout_ms: self.timeout_ms.unwrap_or(made.timeout_ms),
            max_redirects: self.max_redirects.unwrap_or(made.max_redirects),
            max_body: self.max_body.unwrap_or(made.max_body),
            cacert: self.cacert.clone(),
        })
    }

    fn words(&self) -> String {
        words("urls", self.urls.as_slice())
            + &number("timeout-ms", self.timeout_ms)
            + &number("max-redirects", self.max_redirects.map(u64::from))
            + &number("max-body", self.max_body)
            + &words("cacert", self.cacert.as_slice())
    }
}

/// All of it, for a command whose workload is a word.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OwnInput {
    /// Files or folders of sha256, or databases of sqlite: as --path and --db.
    #[arg(value_name = "PATH")]
    more: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) databases: Databases,
    #[command(flatten)]
    pub(crate) urls: Urls,
}

impl OwnInput {
    /// The same work on the user's input, where there is any, and else with what it was told.
    pub(crate) fn put_into(&self, work: &mut Work) -> Result<(), LabError> {
        match work {
            Work::Sha256(spec) => *spec = self.files.spec(&self.more, spec.clone())?,
            Work::Sqlite(spec) => *spec = self.databases.spec(&self.more, spec.clone()),
            Work::Fetch { spec, .. } => {
                *spec = self.urls.spec()?;
                if spec.urls.is_some() {
                    let (spec, urls) = (spec.clone(), fetch::list(spec)?);
                    *work = Work::FetchOwn { spec, urls };
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// As on the command line, with a space before it.
    pub(crate) fn words(&self) -> String {
        let more = self.more.iter().map(|path| format!(" {}", quoted(&workloads::shown(path)))).collect::<String>();
        more + &self.files.words() + &self.databases.words() + &self.urls.words()
    }

    /// What is given for another workload than `name` would change nothing.
    pub(crate) fn refuse_others(&self, name: &str) -> Result<(), LabError> {
        if !self.more.is_empty() && !["sha256", "sqlite"].contains(&name) {
            let cure = if name == "fetch" { "; name a list of URLs with --urls" } else { "" };
            return Err(LabError::Usage(format!(
                "paths are for sha256 and sqlite, and this is a sweep of {name}{cure}"
            )));
        }
        let given = [("sha256", self.files.words()), ("sqlite", self.databases.words()), ("fetch", self.urls.words())];
        for (other, words) in given {
            if other != name && !words.is_empty() {
                let option = words.trim_start().split(' ').next().unwrap_or_default();
                return Err(LabError::Usage(format!("{option} is for {other}, and this is a sweep of {name}")));
            }
        }
        Ok(())
    }
}

fn number(name: &str, value: Option<u64>) -> String {
    value.map_or_else(String::new, |value| format!(" --{name} {value}"))
}

fn words<T: AsRef<std::ffi::OsStr>>(name: &str, values: &[T]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let values = values.iter().map(|value| quoted(&workloads::shown(value.as_ref().as_ref())));
    format!(" --{name} {}", values.collect::<Vec<_>>().join(" "))
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=:@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_repeats_a_sweep_is_one_for_a_shell() {
        let mut own = OwnInput::default();
        own.files.path = vec!["a b".into(), "it's".into(), "plain/x.rs".into()];
        own.files.chunk_size = Some(7);
        assert_eq!(own.words(), r" --path 'a b' 'it'\''s' plain/x.rs --chunk-size 7");
        let error = own.refuse_others("sqlite").unwrap_err().to_string();
        assert_eq!(error, "--path is for sha256, and this is a sweep of sqlite");
        own.refuse_others("sha256").unwrap();
    }
}
