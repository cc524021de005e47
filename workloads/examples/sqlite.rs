//! Asks several databases the same question at once: `map` with a configuration, here the query, bound by `partial`. Makes
//! three small databases in a temporary directory.
//!
//! ```sh
//! cargo run -p workloads --example sqlite
//! ```

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use executor_core::{Executor, ProcessPoolExecutor, ThreadPoolExecutor, partial};
use rusqlite::{Connection, OpenFlags};

/// Opens its own connection: connections are neither shared between threads nor sent between processes.
fn query_database(path: &Path, query: &str) -> rusqlite::Result<Vec<i64>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

fn run(executor: &impl Executor, databases: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    // The closure captures nothing: the query travels as the configuration, once to each worker. Errors travel as text.
    let task = partial(
        |path: PathBuf, query: &String| query_database(&path, query).map_err(|error| error.to_string()),
        "SELECT COUNT(*) FROM main_table".to_owned(),
    );
    for (path, counts) in databases.iter().zip(executor.map(task, databases.to_vec())) {
        let name = path.file_name().unwrap_or(path.as_os_str());
        println!("  {}: {:?}", name.display(), counts??);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    executor_core::init();

    let directory = tempfile::tempdir()?;
    let mut databases = Vec::new();
    for (name, rows) in [("users.db", 3), ("orders.db", 40), ("inventory.db", 500)] {
        let path = directory.path().join(name);
        make_database(&path, rows)?;
        databases.push(path);
    }

    println!("in threads:");
    run(&ThreadPoolExecutor::new(3)?, &databases)?;
    println!("in processes:");
    run(&ProcessPoolExecutor::new(3)?, &databases)?;
    Ok(())
}

fn make_database(path: &Path, rows: u32) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    // One transaction: a commit for each row would wait for the disk each time.
    let transaction = connection.transaction()?;
    transaction.execute("CREATE TABLE main_table (id INTEGER PRIMARY KEY)", [])?;
    for id in 0..rows {
        transaction.execute("INSERT INTO main_table (id) VALUES (?1)", [id])?;
    }
    transaction.commit()
}
