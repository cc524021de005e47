//! The run's folder on disk: `run.json` and `index.html`, written completely or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::error::ReportError;
use crate::html;
use crate::model::{Run, SCHEMA_VERSION};

/// Name of the results file in a run's folder.
pub const JSON_NAME: &str = "run.json";

/// Name of the page in a run's folder.
pub const HTML_NAME: &str = "index.html";

/// The files that [`write()`] has put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The page.
    pub html: PathBuf,
    /// The results, which [`load`] reads.
    pub json: PathBuf,
}

/// Writes `run.json` and `index.html` into `dir`, and creates `dir` when it is missing.
///
/// Each file appears under its name only when it is complete: it is written beside, flushed to the disk and then
/// renamed. Nothing is written when the run cannot be rendered, or where files of these names are not those of a run.
///
/// # Errors
///
/// [`ReportError::NotFinite`] when the run holds a number that JSON cannot carry, [`ReportError::Chart`] or
/// [`ReportError::Page`] when it cannot be rendered, [`ReportError::NotAReport`] when it would replace a file that is not of
/// a run, [`ReportError::Write`] when the disk refuses.
pub fn write(run: &Run, dir: &Path) -> Result<Written, ReportError> {
    let json = to_json(run)?;
    let html = html::render_html(run)?;
    fs::create_dir_all(dir).map_err(|source| ReportError::Write { path: dir.to_path_buf(), source })?;
    refuse_others(dir)?;
    let written = Written { html: dir.join(HTML_NAME), json: dir.join(JSON_NAME) };
    // The results come first, since they cannot be made again.
    replace(&written.json, json.as_bytes())?;
    replace(&written.html, html.as_bytes())?;
    Ok(written)
}

/// Makes sure that [`write()`] will be able to write into `dir`, and creates `dir` when it is missing. It is to be called
/// before the work whose results `dir` will hold.
///
/// # Errors
///
/// [`ReportError::Write`] when the disk refuses, [`ReportError::NotAReport`] when a file that is not of a run would be replaced.
pub fn check_folder(dir: &Path) -> Result<(), ReportError> {
    let refused = |source| ReportError::Write { path: dir.to_path_buf(), source };
    fs::create_dir_all(dir).map_err(|source| match source.kind() {
        // The error "file exists" would not name the problem.
        io::ErrorKind::AlreadyExists => refused(io::ErrorKind::NotADirectory.into()),
        _ => refused(source),
    })?;
    refuse_others(dir)?;
    // Only a trial is sure: it shows missing permissions, a full disk and a read-only one.
    let (probe, _) = create_beside(&dir.join("probe")).map_err(refused)?;
    fs::remove_file(&probe).map_err(refused)
}

/// Creates a new file beside `path` that no other process uses. The process id does not suffice for its name: several machines
/// or containers may share the folder, and a process that was killed while it wrote may have left its file.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}-{turn}.part", std::process::id()));
        let part = path.with_file_name(name);
        match File::create_new(&part) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && turn < 10_000 => {}
            created => return created.map(|file| (part, file)),
        }
    }
}

/// A run's folder, held for one writer.
#[derive(Debug)]
pub struct Claim {
    /// The folder itself, locked; `None` where a folder cannot be locked.
    _lock: Option<File>,
}

/// Holds `dir` for the caller until the claim is dropped, after [`check_folder`]. Two runs that wrote into one folder
/// would leave the results of one and the page of the other.
///
/// # Errors
///
/// The errors of [`check_folder`], and [`ReportError::InUse`] when another process holds the folder.
pub fn claim(dir: &Path) -> Result<Claim, ReportError> {
    check_folder(dir)?;
    // Where a folder cannot be opened or locked, as on some systems and file systems, there is no claim.
    let Ok(folder) = File::open(dir) else { return Ok(Claim { _lock: None }) };
    match folder.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(ReportError::InUse { path: dir.to_path_buf() }),
        Err(fs::TryLockError::Error(_)) => Ok(Claim { _lock: None }),
        Ok(()) => Ok(Claim { _lock: Some(folder) }),
    }
}

/// Refuses files that have a report's names and are not of one, such as the user's own `index.html`: they would be lost.
fn refuse_others(dir: &Path) -> Result<(), ReportError> {
    let (html, json) = (dir.join(HTML_NAME), dir.join(JSON_NAME));
    let others = |path: &Path| Err(ReportError::NotAReport { path: path.to_path_buf() });
    if html.symlink_metadata().is_ok() && !is_page(&html) {
        return others(&html);
    }
    match load(&json) {
        Err(ReportError::NotJson { .. } | ReportError::NotARun { .. } | ReportError::Read { .. }) => others(&json),
        _ => Ok(()),
    }
}

/// Whether this file is a page that any version of this crate has written.
fn is_page(path: &Path) -> bool {
    let mut beginning = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64 * 1024).read_to_end(&mut beginning));
    read.is_ok() && String::from_utf8_lossy(&beginning).contains("Executor Lab</title>")
}

/// Reads a run from a `run.json`, or from the folder that holds one.
///
/// # Errors
///
/// Each of these names the file and the remedy: [`ReportError::Missing`], [`ReportError::Read`],
/// [`ReportError::NotJson`], [`ReportError::NotARun`], [`ReportError::NewerSchema`], [`ReportError::WrongShape`].
pub fn load(path: impl AsRef<Path>) -> Result<Run, ReportError> {
    let path = path.as_ref();
    let path = if path.is_dir() { path.join(JSON_NAME) } else { path.to_path_buf() };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(ReportError::Missing { path, source });
        }
        Err(source) => return Err(ReportError::Read { path, source }),
    };
    // The version comes before the shape: a newer schema may differ in everything else.
    let value: Value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(source) => return Err(ReportError::NotJson { path, source }),
    };
    let Some(version) = value.get("schema_version").and_then(Value::as_u64).filter(|version| *version > 0) else {
        return Err(ReportError::NotARun { path });
    };
    if version > u64::from(SCHEMA_VERSION) {
        return Err(ReportError::NewerSchema { path, found: version, supported: SCHEMA_VERSION });
    }
    // The run is read from the text and not from the value, because only the text gives line and column of an error.
    let mut run: Run =
        serde_json::from_str(&text).map_err(|source| ReportError::WrongShape { path, version, source })?;
    run.upgrade();
    Ok(run)
}

/// The text of `run.json`, checked to be readable again.
fn to_json(run: &Run) -> Result<String, ReportError> {
    let mut json =
        serde_json::to_string_pretty(run).map_err(|source| ReportError::Encode { run: run.id.clone(), source })?;
    // JSON writes NaN and infinity as null, which no number field accepts: the error is better now than at the next load.
    serde_json::from_str::<Run>(&json).map_err(|source| ReportError::NotFinite { run: run.id.clone(), source })?;
    json.push('\n');
    Ok(json)
}

/// Puts `content` at `path` in one step.
fn replace(path: &Path, content: &[u8]) -> Result<(), ReportError> {
    let failed = |source| ReportError::Write { path: path.to_path_buf(), source };
    let (part, mut file) = create_beside(path).map_err(failed)?;
    let put = || -> io::Result<()> {
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&part, path)
    };
    put().map_err(|source| {
        // An incomplete file is of no use; the first error is the one to report.
        let _ = fs::remove_file(&part);
        failed(source)
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::{fixture, model::Evidence};

    #[test]
    fn a_run_survives_the_disk_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let run = fixture::run();
        let written = write(&run, &dir.path().join("deep/run")).unwrap();
        assert_eq!(load(&written.json).unwrap(), run);
        assert_eq!(load(dir.path().join("deep/run")).unwrap(), run, "a folder stands for its run.json");
        let mut names: Vec<_> =
            fs::read_dir(dir.path().join("deep/run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [HTML_NAME, JSON_NAME], "no part is left behind");
    }

    #[test]
    fn writing_again_replaces_both_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut run = fixture::run();
        write(&run, dir.path()).unwrap();
        run.seed = 4_321_001;
        let written = write(&run, dir.path()).unwrap();
        assert_eq!(load(&written.json).unwrap().seed, 4_321_001);
        assert!(fs::read_to_string(&written.html).unwrap().contains("4321001"));
    }

    #[test]
    fn a_missing_file_is_named_with_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let error = load(dir.path()).unwrap_err();
        assert!(matches!(error, ReportError::Missing { .. }));
        assert!(error.to_string().contains("run.json"), "{error}");
        assert!(error.source().is_some());
    }

    #[test]
    fn what_is_not_a_run_is_refused_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        let load_text = |text: &str| {
            fs::write(&path, text).unwrap();
            load(&path).unwrap_err()
        };
        assert!(matches!(load_text("{\"schema_version\": 1, "), ReportError::NotJson { .. }));
        assert!(matches!(load_text("[1, 2]"), ReportError::NotARun { .. }));
        assert!(matches!(load_text("{\"schema_version\": 0}"), ReportError::NotARun { .. }));
        let shape = load_text("{\"schema_version\": 1, \"id\": 7}");
        assert!(matches!(shape, ReportError::WrongShape { version: 1, .. }));
        assert!(shape.source().unwrap().to_string().contains("line 1"), "{shape:?}");
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(load(&path).unwrap_err(), ReportError::Read { .. }));
    }

    #[test]
    fn a_newer_schema_is_refused_whatever_else_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        fs::write(&path, "{\"schema_version\": 99, \"runs\": []}").unwrap();
        let error = load(&path).unwrap_err();
        assert!(matches!(error, ReportError::NewerSchema { found: 99, supported: SCHEMA_VERSION, .. }));
        let text = error.to_string();
        assert!(text.contains("run.json") && text.contains("99") && text.contains("update"), "{text}");
    }

    #[test]
    fn a_figure_that_json_cannot_carry_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut run = fixture::run();
        run.cells[0].samples[0].tasks_per_second = f64::NAN;
        assert!(matches!(write(&run, dir.path()).unwrap_err(), ReportError::NotFinite { .. }));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = write(&fixture::run(), &dir.path().join("file/run")).unwrap_err();
        assert!(matches!(&error, ReportError::Write { path, .. } if path.ends_with("file/run")), "{error}");
        let error = check_folder(&dir.path().join("file/run")).unwrap_err();
        assert!(matches!(&error, ReportError::Write { path, .. } if path.ends_with("file/run")), "{error}");
    }

    #[test]
    fn checking_a_folder_leaves_it_empty() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("deep/run");
        check_folder(&deep).unwrap();
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_run_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [(HTML_NAME, "<title>mine</title>"), (JSON_NAME, "{\"mine\": 1}"), (JSON_NAME, "mine")] {
            let file = dir.path().join(name);
            fs::write(&file, content).unwrap();
            for refused in [check_folder(dir.path()).unwrap_err(), write(&fixture::run(), dir.path()).unwrap_err()] {
                assert!(matches!(&refused, ReportError::NotAReport { path } if *path == file), "{refused}");
            }
            assert_eq!(fs::read_to_string(&file).unwrap(), content);
            fs::remove_file(&file).unwrap();
        }
        write(&fixture::run(), dir.path()).unwrap();
        check_folder(dir.path()).unwrap();
        // The run of a newer lab is a run as well.
        fs::write(dir.path().join(JSON_NAME), "{\"schema_version\": 999}").unwrap();
        check_folder(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_is_claimed_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = claim(dir.path()).unwrap();
        assert!(matches!(claim(dir.path()).unwrap_err(), ReportError::InUse { .. }));
        drop(first);
        claim(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_part_that_a_killed_process_of_the_same_number_has_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        for turn in 0..50 {
            fs::write(dir.path().join(format!(".{JSON_NAME}.{}-{turn}.part", std::process::id())), "").unwrap();
        }
        write(&fixture::run(), dir.path()).unwrap();
    }

    /// The run of a lab that stored warnings, evidence and reasons only as text.
    #[test]
    fn a_run_of_an_earlier_lab_is_read_and_understood() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/run-v1.json");
        let run = load(&path).unwrap();
        let before: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let after = serde_json::to_value(&run).unwrap();
        for part in ["host", "findings", "crossings", "efficiency", "cells", "inputs", "skipped"] {
            assert_eq!(before[part], after[part], "{part}");
        }
        assert_eq!(run.findings[2].evidence, Evidence::chart("scaling", "sha256"));
        let missing = |name: &str| run.overhead.iter().find(|row| row.name == name).unwrap().missing.clone();
        assert_eq!(missing("thread"), None);
        let reason = missing("loky").unwrap();
        assert!(!reason.is_wrong && reason.text.starts_with("python3 has no module loky"), "{reason:?}");
        let page = crate::render_html(&run).unwrap();
        assert!(page.contains("href=\"#scaling-sha256\"") && page.contains("the machine is busy: load"));
    }
}
