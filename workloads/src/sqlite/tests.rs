use super::{
    query::{unread_log, uri_of},
    *,
};

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
    assert!(query_database(prepared.items[1].clone()).is_ok(), "its neighbor is not harmed");
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
    // Another connection writes: rows that are only in the log are read as well, and none of its files is lost.
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
fn a_log_that_may_not_be_recovered_is_told_as_that() {
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
