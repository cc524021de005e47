//! `sqlite`: runs a query on each database, one task per database and repetition: open read-only, query, close. Stresses
//! SQLite's allocator and caches, which all threads of a process share behind locks.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, params, types::ValueRef};
use serde::{Deserialize, Serialize};

use crate::{
    ItemError, PrepareError, Prepared,
    made_input::{Random, make_once},
};

/// The document's query.
pub const DEFAULT_QUERY: &str = "SELECT COUNT(*) FROM main_table";

/// A query that returns more rows than this is an error, not an answer of any length.
pub const MAX_ROWS: usize = 100_000;

const MADE: [&str; 3] = ["users.db", "orders.db", "inventory.db"];

/// What may be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Databases. Empty: `users.db`, `orders.db` and `inventory.db` are made.
    pub databases: Vec<PathBuf>,
    /// What to ask each of them.
    pub query: String,
    /// How often to ask each of them.
    pub repeats: u32,
    /// Rows in each database that is made.
    pub made_rows: u32,
    /// What their content depends on.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self { databases: Vec::new(), query: DEFAULT_QUERY.to_owned(), repeats: 1, made_rows: 20_000, seed: 42 }
    }
}

/// One query on one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The database.
    pub database: PathBuf,
    /// What to ask it.
    pub query: String,
}

/// A value in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT; bytes that are not UTF-8 are replaced.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

/// The rows of one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Row by row, column by column.
    pub rows: Vec<Vec<Value>>,
}

/// Makes the databases if none were given. Those that were are not looked at: what is wrong with one is its own task's error.
///
/// # Errors
///
/// [`PrepareError`] when a database cannot be made.
pub fn prepare(spec: &Spec, data: &Path) -> Result<Prepared<Item>, PrepareError> {
    if spec.repeats == 0 {
        return Err(PrepareError::Value { name: "repeats", rule: "at least 1" });
    }
    let (databases, description) = if spec.databases.is_empty() {
        let recipe = format!("sqlite v1: {} with {} rows each, seed {}", MADE.join(", "), spec.made_rows, spec.seed);
        let folder = data.join(format!("sqlite-{}-{}", spec.made_rows, spec.seed));
        make_once(&folder, &recipe, |folder| {
            MADE.iter()
                .zip(spec.seed..)
                .try_for_each(|(name, seed)| make_database(&folder.join(name), spec.made_rows, seed))
        })?;
        (MADE.map(|name| folder.join(name)).to_vec(), recipe)
    } else {
        (spec.databases.clone(), format!("{} databases", spec.databases.len()))
    };
    let fingerprint = if spec.databases.is_empty() {
        crate::digest_of(&[format!("{description} {} {}", spec.query, spec.repeats)])
    } else {
        let sizes =
            databases.iter().map(|path| format!("{} {:?}", path.display(), fs::metadata(path).ok().map(|m| m.len())));
        crate::digest_of(&sizes.chain([spec.query.clone(), spec.repeats.to_string()]).collect::<Vec<_>>())
    };
    let items = (0..spec.repeats)
        .flat_map(|_| &databases)
        .map(|database| Item { database: database.clone(), query: spec.query.clone() })
        .collect();
    Ok(Prepared { items, skipped: Vec::new(), description, fingerprint })
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

/// Opens one database read-only, runs the query and closes it.
///
/// # Errors
///
/// [`ItemError`] when the database is missing, locked or damaged, or the query fails.
pub fn query_database(item: Item) -> Result<Answer, ItemError> {
    let error = |reason: String| ItemError { item: item.database.display().to_string(), reason };
    // SQLite's own message for this is just "unable to open database file".
    if let Err(cause) = fs::metadata(&item.database) {
        return Err(error(format!("cannot be opened: {cause}")));
    }
    run(&item).map_err(|cause| error(explain(&cause)))
}

fn run(item: &Item) -> Result<Answer, QueryError> {
    if item.database.is_dir() {
        return Err(QueryError::Folder);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&item.database, flags)?;
    connection.busy_timeout(Duration::from_millis(100))?;
    let mut statement = connection.prepare(&item.query)?;
    let columns = statement.column_count();
    let mut found = statement.query([])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        if rows.len() == MAX_ROWS {
            return Err(QueryError::TooManyRows);
        }
        rows.push((0..columns).map(|column| row.get_ref(column).map(value)).collect::<Result<_, _>>()?);
    }
    Ok(Answer { rows })
}

enum QueryError {
    Sqlite(rusqlite::Error),
    TooManyRows,
    Folder,
}

impl From<rusqlite::Error> for QueryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

fn explain(error: &QueryError) -> String {
    use rusqlite::ErrorCode;
    let error = match error {
        QueryError::Folder => return "is a folder: name the database file".to_owned(),
        QueryError::TooManyRows => return format!("the query returns more than {MAX_ROWS} rows: add a LIMIT"),
        QueryError::Sqlite(error) => error,
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            format!("is damaged or not an SQLite database: {error}")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!("is locked by somebody else: {error}"),
        Some(ErrorCode::ReadOnly) => format!("is opened read-only, and the query writes: {error}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(database: &Path, query: &str) -> Item {
        Item { database: database.to_path_buf(), query: query.to_owned() }
    }

    fn made() -> (tempfile::TempDir, Prepared<Item>) {
        let folder = tempfile::tempdir().unwrap();
        let prepared = prepare(&Spec { made_rows: 100, ..Spec::default() }, folder.path()).unwrap();
        (folder, prepared)
    }

    #[test]
    fn the_documents_query_counts_the_rows_of_three_databases() {
        let (_folder, prepared) = made();
        let names: Vec<_> = prepared.items.iter().map(|item| item.database.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, MADE);
        for item in prepared.items {
            assert_eq!(query_database(item).unwrap().rows, [[Value::Integer(100)]]);
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_rows() {
        let rows = |prepared: Prepared<Item>| {
            query_database(item(&prepared.items[1].database, "SELECT * FROM main_table")).unwrap().rows
        };
        let ((_a, one), (_b, two)) = (made(), made());
        assert_eq!(rows(one), rows(two));
    }

    #[test]
    fn a_missing_a_damaged_and_a_locked_database_are_errors_that_name_them() {
        let (folder, prepared) = made();
        let error = query_database(item(&folder.path().join("missing.db"), DEFAULT_QUERY)).unwrap_err();
        assert!(error.item.ends_with("missing.db") && error.reason.contains("cannot be opened"), "{error}");

        let damaged = folder.path().join("damaged.db");
        fs::write(&damaged, [7; 5000]).unwrap();
        let error = query_database(item(&damaged, DEFAULT_QUERY)).unwrap_err();
        assert!(error.reason.contains("not an SQLite database"), "{error}");
        let error = query_database(item(damaged.parent().unwrap(), DEFAULT_QUERY)).unwrap_err();
        assert!(error.reason.contains("is a folder"), "{error}");

        let locked = &prepared.items[0].database;
        let owner = Connection::open(locked).unwrap();
        owner.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
        let error = query_database(item(locked, DEFAULT_QUERY)).unwrap_err();
        assert!(error.reason.contains("locked"), "{error}");
        assert!(query_database(prepared.items[1].clone()).is_ok(), "its neighbour is not harmed");
    }

    #[test]
    fn a_query_that_writes_fails_or_floods_is_an_error() {
        let (_folder, prepared) = made();
        let ask = |query: &str| query_database(item(&prepared.items[0].database, query)).unwrap_err().reason;
        assert!(ask("DELETE FROM main_table").contains("read-only"));
        assert!(ask("SELECT * FROM missing_table").contains("no such table"));
        let flood = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
        assert!(ask(flood).contains("LIMIT"));
    }
}
