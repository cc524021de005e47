//! `sqlite`: runs a query on each database, one task per database and repetition: open read-only, query, close. It uses
//! SQLite's allocator and caches, which all threads of a process share behind locks.

mod item;
mod query;

pub use item::{Answer, Item, Value};
pub use query::query_database;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args, Command};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    ItemError, PrepareError, Prepared, Skipped,
    made_input::{Check, make_once},
    paths::{self, shown},
    random::Random,
    workload::{Format, ItemName, JobSize, Place, Shown, Workload, parsed},
};
use query::beside;

/// The default query.
pub const DEFAULT_QUERY: &str = "SELECT COUNT(*) FROM main_table";

/// A query that returns more rows than this is an error, unless more are allowed: answers must not grow without bound.
pub const MAX_ROWS: u64 = 100_000;

const MADE: [&str; 3] = ["users.db", "orders.db", "inventory.db"];

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Databases. If empty, `users.db`, `orders.db` and `inventory.db` are made.
    #[serde(with = "paths::many")]
    pub databases: Vec<PathBuf>,
    /// The query for each of them.
    pub query: String,
    /// Number of queries to each of them.
    pub repeats: u32,
    /// The most rows that a query may return.
    pub max_rows: u64,
    /// Rows in each database that is made.
    pub made_rows: u32,
    /// Seed of their content.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        let (query, max_rows) = (DEFAULT_QUERY.to_owned(), MAX_ROWS);
        Self { databases: Vec::new(), query, repeats: 1, max_rows, made_rows: 20_000, seed: 42 }
    }
}

/// Makes the databases if none were given; those that were made before are read once, to check that they are unchanged.
/// An error of a given database is its own task's error, as long as another one can be opened.
///
/// # Errors
///
/// [`PrepareError`] when a database cannot be made, or none of those that were given can be opened.
pub fn prepare(spec: &Spec, data: &Path) -> Result<Prepared<Item>, PrepareError> {
    prepare_with(spec, data, Check::Content)
}

pub(crate) fn prepare_with(spec: &Spec, data: &Path, check: Check) -> Result<Prepared<Item>, PrepareError> {
    if spec.repeats == 0 {
        return Err(PrepareError::Value { name: "repeats", rule: "at least 1" });
    }
    let (databases, description) = if spec.databases.is_empty() {
        let recipe = format!("sqlite v1: {} with {} rows each, seed {}", MADE.join(", "), spec.made_rows, spec.seed);
        let folder = data.join(format!("sqlite-{}-{}", spec.made_rows, spec.seed));
        make_once(&folder, &recipe, check, |folder| {
            MADE.iter()
                .zip(spec.seed..)
                .try_for_each(|(name, seed)| make_database(&folder.join(name), spec.made_rows, seed))
        })?;
        (MADE.map(|name| folder.join(name)).to_vec(), recipe)
    } else {
        let skipped: Vec<Skipped> = spec.databases.iter().filter_map(|path| unopened(path)).collect();
        if skipped.len() == spec.databases.len() {
            return Err(PrepareError::AllSkipped { skipped });
        }
        (spec.databases.clone(), format!("{} databases", spec.databases.len()))
    };
    let fingerprint = if spec.databases.is_empty() {
        crate::digest_of(&[format!("{description} {} {}", spec.query, spec.repeats)])
    } else {
        let state = |path: &Path| {
            let metadata = fs::metadata(path).ok();
            let length = metadata.as_ref().map(fs::Metadata::len);
            format!("{} {length:?} {}", shown(path), crate::sha256::modified(metadata.as_ref()))
        };
        let sizes = databases.iter().flat_map(|path| [state(path), state(&beside(path, "-wal"))]);
        crate::digest_of(&sizes.chain([spec.query.clone(), spec.repeats.to_string()]).collect::<Vec<_>>())
    };
    let items = (0..spec.repeats)
        .flat_map(|_| &databases)
        .map(|database| Item { database: database.clone(), query: spec.query.clone(), max_rows: spec.max_rows })
        .collect();
    Ok(Prepared { items, skipped: Vec::new(), description, fingerprint })
}

/// A path at which no file can be opened. Other things than files, which opening could block on, are left to the tasks.
fn unopened(path: &Path) -> Option<Skipped> {
    let opened =
        fs::metadata(path).and_then(|metadata| if metadata.is_file() { File::open(path).map(drop) } else { Ok(()) });
    opened.err().map(|error| Skipped { path: path.to_path_buf(), reason: crate::sha256::reason_of(&error) })
}

fn make_database(path: &Path, rows: u32, seed: u64) -> Result<(), PrepareError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(PrepareError::file("replace", path)(error));
        }
        _ => {}
    }
    let make = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(path)?;
        connection.execute_batch(
            "CREATE TABLE main_table (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount INTEGER NOT NULL)",
        )?;
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare("INSERT INTO main_table (name, amount) VALUES (?1, ?2)")?;
            let mut random = Random::new(seed);
            for row in 0..rows {
                insert.execute(params![format!("name-{row}"), (random.next_u64() >> 40) as i64])?;
            }
        }
        transaction.commit()
    };
    make().map_err(|cause| PrepareError::Database { path: path.to_path_buf(), cause })
}

/// Databases to ask.
#[derive(Debug, Clone, Default, Args)]
struct Databases {
    /// SQLite databases [default: three that are made in target/lab-data of the current folder].
    #[arg(long, num_args = 1.., value_name = "FILE")]
    db: Vec<PathBuf>,
    /// The query: one statement that reads [default: SELECT COUNT(*) FROM main_table].
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    query: Option<String>,
    /// Number of queries to each database [default: 1; some dozens in a sweep of made databases].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeats: Option<u32>,
    /// The most rows that a query may return [default: 100000]. On worker processes an answer is also limited to 512 MiB.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    max_rows: Option<u64>,
}

impl Databases {
    fn spec(&self, more: &[PathBuf], made: Spec) -> Spec {
        let databases = [&self.db[..], more].concat();
        let query = self.query.clone().unwrap_or_else(|| made.query.clone());
        let repeats = self.repeats.unwrap_or(if databases.is_empty() { made.repeats } else { 1 });
        Spec { databases, query, repeats, max_rows: self.max_rows.unwrap_or(made.max_rows), ..made }
    }
}

#[derive(Debug, Clone, Args)]
struct DatabasesToRun {
    /// Same as --db.
    #[arg(value_name = "FILE")]
    more: Vec<PathBuf>,
    #[command(flatten)]
    databases: Databases,
}

impl Workload for Spec {
    const NAME: &'static str = "sqlite";
    const ABOUT: &'static str = "Ask databases a query; each is opened read-only";
    const TAKES_PATHS: bool = true;

    type Input = Item;
    type Output = Result<Answer, ItemError>;

    fn of_job(job: &JobSize) -> Self {
        Self { repeats: if job.quick { 60 } else { 150 }, ..Self::default() }
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Prepared<Item>, PrepareError> {
        let prepared = prepare_with(self, place.data, Check::of(place))?;
        let description = format!("{}, {} queries each", prepared.description, self.repeats);
        Ok(Prepared { description, ..prepared })
    }

    fn run(input: Item) -> Self::Output {
        query_database(input)
    }

    fn own_options(command: Command) -> Command {
        Databases::augment_args(command)
    }

    fn with_own(self, paths: &[PathBuf], matches: &ArgMatches) -> Result<Self, PrepareError> {
        Ok(parsed::<Databases>(matches)?.spec(paths, self))
    }

    fn run_options(command: Command) -> Command {
        DatabasesToRun::augment_args(command)
    }

    fn from_run(matches: &ArgMatches) -> Result<Self, PrepareError> {
        let DatabasesToRun { more, databases } = parsed(matches)?;
        Ok(databases.spec(&more, Self::default()))
    }

    fn made_without(&self) -> Option<&'static str> {
        self.databases.is_empty().then_some("--db")
    }

    fn item(_: usize, input: &Item) -> ItemName {
        ItemName::path("database", &input.database)
    }

    fn show(name: &ItemName, output: Self::Output, format: Format) -> Shown {
        let shown = Shown::answered(output, |answer| match format {
            Format::Json => Shown::json("rows", json!(answer.to_json())),
            Format::Text | Format::Own => Shown::Text(answer.to_text(&name.text)),
        });
        match shown {
            Shown::Failed(error) if error.contains("no such table") => {
                Shown::Failed(format!("{error}; name one of its own with --query"))
            }
            shown => shown,
        }
    }
}

#[cfg(test)]
mod tests;
