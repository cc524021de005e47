//! The task: one query on one database, and the meaning of SQLite's errors.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, limits::Limit, types::ValueRef};

use super::item::{Answer, Item, Value};
use crate::{
    ItemError,
    paths::{self, shown},
};

/// Opens one database read-only, runs the query and closes it. It leaves no new file beside the database.
///
/// # Errors
///
/// [`ItemError`] when the database is missing, locked, damaged or encrypted, needs an action that only a writer may take, or
/// the query fails, writes, or returns more rows than it may.
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
    // A reader of a database in WAL mode makes the log and its index where there are none, and cannot remove them. So a
    // database without a log is read as a file that does not change, and the answer counts only if it has not changed.
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
    // SQLite reads `file:a.db` as a URI and `:memory:` as no file, even where URIs are not asked for; an absolute path begins
    // with neither.
    let path = if item.database.is_relative() { Path::new(".").join(&item.database) } else { item.database.clone() };
    ask(item, &path, flags)
}

/// How often a database in WAL mode is read without its log while another process writes.
const UNDISTURBED: usize = 3;

/// The state by which a write to a database shows: all parts of the file and of its log that a commit or a checkpoint changes.
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
        // A header that cannot be read shows as an error of SQLite.
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
pub(super) fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_os_string();
    name.push(ending);
    PathBuf::from(name)
}

/// The path as a URI, which names this file whatever characters the path has.
pub(super) fn uri_of(path: &Path) -> String {
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
    // A read-only connection still lets `VACUUM INTO` write a file, by attaching it.
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

/// The meaning of SQLite's error here, and the remedy.
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
             writer may do: let a user who may write there open it once, or copy both files to a folder of your own and open \
             it there",
            shown(&journal)
        ),
        ffi::SQLITE_READONLY_RECOVERY | ffi::SQLITE_READONLY_CANTINIT | ffi::SQLITE_READONLY_CANTLOCK => {
            unread_log(&log)
        }
        // With a log, the file that could not be opened is its index, which a reader has to make.
        ffi::SQLITE_CANTOPEN if length_of(&log) > 0 => unread_log(&log),
        ffi::SQLITE_CANTOPEN if length_of(&journal) > 0 => {
            format!("has a journal, {}, that cannot be opened: {error}", shown(&journal))
        }
        _ => match extended & 0xff {
            ffi::SQLITE_NOTADB | ffi::SQLITE_CORRUPT => {
                format!("is damaged, encrypted, or not an SQLite database: {error}")
            }
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => format!("is locked by another connection: {error}"),
            ffi::SQLITE_READONLY => format!("is opened read-only, and the query writes: {error}"),
            _ if error.to_string().contains("too many attached databases") => {
                "the query attaches or writes another file: only queries that read this database are run".to_owned()
            }
            _ => error.to_string(),
        },
    }
}

pub(super) fn unread_log(log: &Path) -> String {
    format!(
        "is in WAL mode, and its log, {}, cannot be read without write access to the folder: let a user who may write \
         there open it once (PRAGMA wal_checkpoint(TRUNCATE)), or copy both files to a folder of your own",
        shown(log)
    )
}
