//! `sqlite`: runs a query on each database, one task per database and repetition: open read-only, query, close. Stresses
//! SQLite's allocator and caches, which all threads of a process share behind locks.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, limits::Limit, params, types::ValueRef};
use serde::{Deserialize, Serialize};

use crate::{
    ItemError, PrepareError, Prepared,
    made_input::{Check, make_once},
    paths::{self, shown},
    random::Random,
};

/// The document's query.
pub const DEFAULT_QUERY: &str = "SELECT COUNT(*) FROM main_table";

/// A query that returns more rows than this is an error, not an answer of any length, unless more are allowed.
pub const MAX_ROWS: u64 = 100_000;

const MADE: [&str; 3] = ["users.db", "orders.db", "inventory.db"];

/// What may be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Databases. Empty: `users.db`, `orders.db` and `inventory.db` are made.
    #[serde(with = "paths::many")]
    pub databases: Vec<PathBuf>,
    /// What to ask each of them.
    pub query: String,
    /// How often to ask each of them.
    pub repeats: u32,
    /// The most rows that a query may return.
    pub max_rows: u64,
    /// Rows in each database that is made.
    pub made_rows: u32,
    /// What their content depends on.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        let (query, max_rows) = (DEFAULT_QUERY.to_owned(), MAX_ROWS);
        Self { databases: Vec::new(), query, repeats: 1, max_rows, made_rows: 20_000, seed: 42 }
    }
}

/// One query on one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The database.
    #[serde(with = "paths::one")]
    pub database: PathBuf,
    /// What to ask it.
    pub query: String,
    /// The most rows that it may return.
    pub max_rows: u64,
}

/// A value in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(#[serde(with = "bits")] f64),
    /// TEXT; bytes that are not UTF-8 are replaced.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

/// A number as its bits: JSON, of which digests are made, has no infinities.
mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        number.to_bits().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

/// The rows of one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Row by row, column by column.
    pub rows: Vec<Vec<Value>>,
}

/// Makes the databases if none were given; those that were made before are read once, to see whether they are what was made.
/// Those that were given are not looked at: what is wrong with one is its own task's error.
///
/// # Errors
///
/// [`PrepareError`] when a database cannot be made.
pub fn prepare(spec: &Spec, data: &Path) -> Result<Prepared<Item>, PrepareError> {
    prepare_with(spec, data, Check::Content)
}

/// The same in a process that was started by one that has prepared the input: of made databases only the names and lengths
/// are looked at once more.
///
/// # Errors
///
/// As [`prepare`].
pub fn prepare_again(spec: &Spec, data: &Path) -> Result<Prepared<Item>, PrepareError> {
    prepare_with(spec, data, Check::Names)
}

fn prepare_with(spec: &Spec, data: &Path, check: Check) -> Result<Prepared<Item>, PrepareError> {
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

/// Opens one database read-only, runs the query and closes it. Leaves no file beside the database that was not there before.
///
/// # Errors
///
/// [`ItemError`] when the database is missing, locked, damaged or encrypted, needs what only a writer may do, or the query
/// fails, writes, or returns more rows than it may.
pub fn query_database(item: Item) -> Result<Answer, ItemError> {
    let error = |reason: String| ItemError { item: shown(&item.database), reason };
    // SQLite's own message for this is just "unable to open database file".
    if let Err(cause) = File::open(&item.database) {
        return Err(error(format!("cannot be opened: {}", crate::sha256::reason_of(&cause))));
    }
    run(&item).map_err(|cause| error(explain(&cause, &item)))
}

fn run(item: &Item) -> Result<Answer, QueryError> {
    if item.database.is_dir() {
        return Err(QueryError::Folder);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // A reader of a database in WAL mode makes the log and its index where there are none, and cannot remove them. So one
    // without a log is read as a file that nobody changes, and believed only if nobody did.
    for _ in 0..UNDISTURBED {
        let before = Stamp::of(&item.database);
        if !before.wal || before.log > 0 {
            break;
        }
        let immutable = uri_of(&item.database) + "?immutable=1";
        let answer = ask(item, Path::new(&immutable), flags | OpenFlags::SQLITE_OPEN_URI);
        if Stamp::of(&item.database) == before {
            return answer;
        }
    }
    // SQLite takes `file:a.db` for a URI and `:memory:` for no file, also without being asked to; no path begins so then.
    let path = if item.database.is_relative() { Path::new(".").join(&item.database) } else { item.database.clone() };
    ask(item, &path, flags)
}

/// How often a database in WAL mode is read without its log while somebody else writes.
const UNDISTURBED: usize = 3;

/// What shows that a database was written to: everything of the file and of its log that a commit or a checkpoint changes.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    /// Whether the database is in WAL mode, as bytes 18 and 19 of its header say.
    wal: bool,
    /// Length of the log.
    log: u64,
    bytes: u64,
    modified: u128,
    /// The first page's header, with the counter of changes in it.
    header: Vec<u8>,
}

impl Stamp {
    fn of(database: &Path) -> Self {
        let mut header = Vec::new();
        // What cannot be read shows as an error of SQLite's.
        let _ = File::open(database).and_then(|file| file.take(100).read_to_end(&mut header));
        let metadata = fs::metadata(database).ok();
        Self {
            wal: header.starts_with(b"SQLite format 3\0") && header.get(18..20) == Some(&[2, 2]),
            log: length_of(&beside(database, "-wal")),
            bytes: metadata.as_ref().map_or(0, fs::Metadata::len),
            modified: crate::sha256::modified(metadata.as_ref()),
            header,
        }
    }
}

fn length_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// `a.db` and `-wal` make `a.db-wal`.
fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_os_string();
    name.push(ending);
    PathBuf::from(name)
}

/// The path as a URI that means no other file, whatever is in it.
fn uri_of(path: &Path) -> String {
    let mut uri = String::from(if path.is_absolute() { "file:" } else { "file:./" });
    for byte in paths::to_bytes(path) {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            uri.push(byte.into());
        } else {
            uri.push_str(&format!("%{byte:02x}"));
        }
    }
    uri
}

fn ask(item: &Item, path: &Path, flags: OpenFlags) -> Result<Answer, QueryError> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(100))?;
    // A read-only connection still lets `VACUUM INTO` write a file, by way of attaching it.
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    let mut statement = connection.prepare(&item.query)?;
    let columns = statement.column_count();
    let mut found = statement.query([])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        if rows.len() as u64 >= item.max_rows {
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

/// What SQLite's error means here, and what helps.
fn explain(error: &QueryError, item: &Item) -> String {
    use rusqlite::ffi;
    let error = match error {
        QueryError::Folder => return "is a folder: name the database file".to_owned(),
        QueryError::TooManyRows => {
            return format!(
                "the query returns more than {} rows: add a LIMIT, or allow more with --max-rows",
                item.max_rows
            );
        }
        QueryError::Sqlite(error) => error,
    };
    if matches!(error, rusqlite::Error::MultipleStatement) {
        return "the query is more than one statement: give one".to_owned();
    }
    let (log, journal) = (beside(&item.database, "-wal"), beside(&item.database, "-journal"));
    let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
    match extended {
        ffi::SQLITE_READONLY_ROLLBACK => format!(
            "has a hot journal, {}: a transaction that broke off must be rolled back before it can be read, which only a \
             writer may do: let somebody who may write there open it once, or copy both files to a folder of your own and open \
             it there",
            shown(&journal)
        ),
        ffi::SQLITE_READONLY_RECOVERY | ffi::SQLITE_READONLY_CANTINIT | ffi::SQLITE_READONLY_CANTLOCK => {
            unread_log(&log)
        }
        // With a log, what could not be opened is the index of it, which a reader has to make.
        ffi::SQLITE_CANTOPEN if length_of(&log) > 0 => unread_log(&log),
        ffi::SQLITE_CANTOPEN if length_of(&journal) > 0 => {
            format!("has a journal, {}, that cannot be opened: {error}", shown(&journal))
        }
        _ => match extended & 0xff {
            ffi::SQLITE_NOTADB | ffi::SQLITE_CORRUPT => {
                format!("is damaged, encrypted, or not an SQLite database: {error}")
            }
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => format!("is locked by somebody else: {error}"),
            ffi::SQLITE_READONLY => format!("is opened read-only, and the query writes: {error}"),
            _ if error.to_string().contains("too many attached databases") => {
                "the query attaches or writes another file: only queries that read this database are run".to_owned()
            }
            _ => error.to_string(),
        },
    }
}

fn unread_log(log: &Path) -> String {
    format!(
        "is in WAL mode, and its log, {}, cannot be read without write access to the folder: let somebody who may write \
         there open it once (PRAGMA wal_checkpoint(TRUNCATE)), or copy both files to a folder of your own",
        shown(log)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(database: &Path, query: &str) -> Item {
        Item { database: database.to_path_buf(), query: query.to_owned(), max_rows: MAX_ROWS }
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

    /// A database in WAL mode, closed by its only writer.
    fn in_wal_mode(path: &Path) {
        let owner = Connection::open(path).unwrap();
        owner
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE main_table (x); INSERT INTO main_table VALUES (1)")
            .unwrap();
        owner.close().unwrap();
    }

    fn names(folder: &Path) -> Vec<std::ffi::OsString> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn reading_a_database_in_wal_mode_leaves_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a ?#%\u{e4}.db");
        in_wal_mode(&path);
        assert_eq!(query_database(item(&path, DEFAULT_QUERY)).unwrap().rows, [[Value::Integer(1)]]);
        assert_eq!(names(folder.path()), [path.file_name().unwrap()]);
        // Somebody writes: what is only in the log is read as well, and not a file of theirs is lost.
        let owner = Connection::open(&path).unwrap();
        owner.execute_batch("INSERT INTO main_table VALUES (2)").unwrap();
        assert_eq!(query_database(item(&path, DEFAULT_QUERY)).unwrap().rows, [[Value::Integer(2)]]);
        assert_eq!(names(folder.path()).len(), 3);
    }

    #[test]
    fn what_a_reader_may_not_do_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let owner = Connection::open(&path).unwrap();
        owner.execute_batch("CREATE TABLE main_table (x); INSERT INTO main_table VALUES (1)").unwrap();
        let copy = folder.path().join("copy.db");
        let into = format!("VACUUM INTO '{}'", copy.display());
        for query in [&into[..], "ATTACH 'other.db' AS other"] {
            let reason = query_database(item(&path, query)).unwrap_err().reason;
            assert!(reason.contains("another file"), "{query}: {reason}");
        }
        assert_eq!(names(folder.path()), ["a.db"]);
        let reason = query_database(item(&path, "SELECT 1; DELETE FROM main_table")).unwrap_err().reason;
        assert!(reason.contains("more than one statement"), "{reason}");

        // A transaction that is cut off after its journal is on the disk and a page of it in the database.
        owner
            .execute_batch("PRAGMA cache_size = 1; BEGIN; CREATE TABLE t AS SELECT randomblob(9000) FROM main_table")
            .unwrap();
        let broken = folder.path().join("broken.db");
        fs::copy(&path, &broken).unwrap();
        fs::copy(folder.path().join("a.db-journal"), folder.path().join("broken.db-journal")).unwrap();
        let reason = query_database(item(&broken, DEFAULT_QUERY)).unwrap_err().reason;
        assert!(reason.contains("hot journal") && !reason.contains("the query writes"), "{reason}");
    }

    #[test]
    fn a_log_that_nobody_may_recover_is_told_as_that() {
        let log = Path::new("a.db-wal");
        let reason = unread_log(log);
        assert!(
            reason.contains("WAL mode") && reason.contains("a.db-wal") && reason.contains("wal_checkpoint"),
            "{reason}"
        );
    }

    #[test]
    fn no_path_is_taken_for_a_uri() {
        let folder = tempfile::tempdir().unwrap();
        in_wal_mode(&folder.path().join("file:a.db"));
        assert_eq!(uri_of(Path::new("file:a?b.db")), "file:./file%3aa%3fb.db");
        let item = item(&folder.path().join("file:a.db"), DEFAULT_QUERY);
        assert_eq!(query_database(item).unwrap().rows, [[Value::Integer(1)]]);
    }

    #[test]
    fn infinities_and_null_are_three_answers() {
        let (_folder, prepared) = made();
        let ask = |query: &str| query_database(item(&prepared.items[0].database, query)).unwrap();
        let answers = ["SELECT 1e999", "SELECT -1e999", "SELECT NULL"].map(ask);
        let digests: std::collections::HashSet<_> = answers.iter().map(|answer| crate::digest_of(&[answer])).collect();
        assert_eq!(digests.len(), 3);
    }

    #[test]
    fn more_rows_are_an_answer_where_they_are_allowed() {
        let (_folder, prepared) = made();
        let mut item = item(&prepared.items[0].database, "SELECT * FROM main_table");
        item.max_rows = 99;
        assert!(query_database(item.clone()).unwrap_err().reason.contains("99 rows"));
        item.max_rows = 100;
        assert_eq!(query_database(item).unwrap().rows.len(), 100);
    }

    #[test]
    fn made_databases_are_checked_before_they_are_used() {
        let (folder, prepared) = made();
        fs::write(&prepared.items[1].database, [7; 5000]).unwrap();
        fs::remove_file(&prepared.items[2].database).unwrap();
        let prepared = prepare(&Spec { made_rows: 100, ..Spec::default() }, folder.path()).unwrap();
        for item in prepared.items {
            assert_eq!(query_database(item).unwrap().rows, [[Value::Integer(100)]]);
        }
    }
}
