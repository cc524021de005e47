//! What connections to SQLite share in one process: its allocator's statistics, a cache of pages, locks of files.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::name::Pathology;
use crate::{
    PrepareError,
    made_input::{Check, make_once},
    sqlite,
};

/// Writes of one task for each round.
pub(super) const WRITES: u32 = 4;

/// Statements of one task for each round.
const STATEMENTS: u32 = 8;

/// The databases of the tasks, by index; none where the task needs none.
pub(super) fn databases(
    pathology: Pathology,
    shares: bool,
    tasks: u32,
    data: &Path,
    check: Check,
) -> Result<Vec<PathBuf>, PrepareError> {
    match pathology {
        Pathology::SqlitePrepare | Pathology::SqliteOpen | Pathology::SqliteSharedCache => {
            let spec = sqlite::Spec { made_rows: 2_000, ..sqlite::Spec::default() };
            let items = sqlite::prepare_with(&spec, data, check)?.items;
            Ok(items.into_iter().take(1).map(|item| item.database).collect())
        }
        Pathology::SqliteWriter => {
            let count = if shares { 1 } else { tasks };
            let folder = data.join(format!("pathology-writer-{count}"));
            let recipe = format!("{count} databases to write into");
            make_once(&folder, &recipe, check, |folder| {
                (0..count).try_for_each(|index| {
                    let path = folder.join(format!("{index}.db"));
                    made(&path).map_err(|cause| PrepareError::Database { path, cause })
                })
            })?;
            Ok((0..count).map(|index| folder.join(format!("{index}.db"))).collect())
        }
        _ => Ok(Vec::new()),
    }
}

fn made(path: &Path) -> rusqlite::Result<()> {
    // A part of an earlier attempt is of no use; where there is none, there is nothing to remove.
    let _ = fs::remove_file(path);
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "CREATE TABLE counter (id INTEGER PRIMARY KEY, value INTEGER); INSERT INTO counter VALUES (1, 0)",
    )
}

/// The sum of all writes into a database.
#[cfg(test)]
pub(super) fn total(path: &Path) -> rusqlite::Result<i64> {
    Connection::open(path)?.query_row("SELECT value FROM counter", [], |row| row.get(0))
}

/// The task. Its answer is the number of rows that it has read or written.
pub(super) fn run(pathology: Pathology, shares: bool, rounds: u32, database: &Path) -> rusqlite::Result<u64> {
    match pathology {
        Pathology::SqliteOpen if shares => {
            let mut rows = 0;
            for _ in 0..rounds {
                rows += read(&open(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?, 1, true)?;
            }
            Ok(rows)
        }
        Pathology::SqliteOpen => kept(database, OpenFlags::SQLITE_OPEN_READ_ONLY, |connection| {
            (0..rounds).map(|_| read(connection, 1, true)).sum()
        }),
        Pathology::SqliteSharedCache => {
            let cache = if shares { OpenFlags::SQLITE_OPEN_SHARED_CACHE } else { OpenFlags::SQLITE_OPEN_PRIVATE_CACHE };
            kept(database, OpenFlags::SQLITE_OPEN_READ_ONLY | cache, |connection| {
                read(connection, rounds * STATEMENTS, false)
            })
        }
        Pathology::SqliteWriter => {
            kept(database, OpenFlags::SQLITE_OPEN_READ_WRITE, |connection| write(connection, rounds * WRITES))
        }
        _ => {
            kept(database, OpenFlags::SQLITE_OPEN_READ_ONLY, |connection| read(connection, rounds * STATEMENTS, shares))
        }
    }
}

fn open(database: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(database, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    if flags.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        // The disk is not what is measured.
        connection.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF")?;
    }
    Ok(connection)
}

/// An open connection, with what it was opened for.
type Kept = (PathBuf, OpenFlags, Connection);

/// Uses the connection that this thread keeps open.
fn kept<T>(
    database: &Path,
    flags: OpenFlags,
    run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    thread_local! {
        static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(path, with, _)| path != database || *with != flags) {
            *kept = Some((database.to_path_buf(), flags, open(database, flags)?));
        }
        match kept {
            Some((_, _, connection)) => run(connection),
            None => Err(rusqlite::Error::InvalidQuery),
        }
    })
}

/// Reads rows, with a statement that is prepared once or for each of them.
fn read(connection: &Connection, count: u32, prepares: bool) -> rusqlite::Result<u64> {
    const QUERY: &str = "SELECT amount FROM main_table WHERE id = ?1";
    let mut rows = 0;
    let mut once = connection.prepare(QUERY)?;
    for id in 1..=count {
        let found: i64 = if prepares {
            connection.prepare(QUERY)?.query_row([id], |row| row.get(0))?
        } else {
            once.query_row([id], |row| row.get(0))?
        };
        rows += u64::from(found >= 0);
    }
    Ok(rows)
}

fn write(connection: &mut Connection, count: u32) -> rusqlite::Result<u64> {
    let mut rows = 0;
    for _ in 0..count {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows += transaction.execute("UPDATE counter SET value = value + 1", [])? as u64;
        transaction.commit()?;
    }
    Ok(rows)
}
