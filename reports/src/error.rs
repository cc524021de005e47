//! Errors of reading, rendering and writing a run.

use std::io;
use std::path::PathBuf;

/// Why a report could not be read, rendered or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// There is no results file at this place.
    #[error("no results file at `{}`: name a folder or a `run.json` that a finished run has written", path.display())]
    Missing {
        /// The path that was tried.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The results file is there and cannot be read.
    #[error("cannot read `{}`: check its permissions and its encoding (UTF-8)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not JSON, or only the beginning of it.
    #[error("`{}` is not valid JSON: it is cut short or not a results file; take another copy, or measure again", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where the parser stopped.
        source: serde_json::Error,
    },
    /// The file was written by a newer version of the lab.
    #[error(
        "`{}` has results schema {found}, and this version reads up to {supported}: update the lab to open it",
        path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Schema version in the file.
        found: u64,
        /// Newest version that this crate can read.
        supported: u32,
    },
    /// The file does not name its schema, so it is JSON of another kind.
    #[error("`{}` is JSON without a usable `schema_version`, so not a results file: name the `run.json` of a run", path.display())]
    NotARun {
        /// The file.
        path: PathBuf,
    },
    /// The file claims a schema that this crate knows, and does not follow it.
    #[error("`{}` does not follow results schema {version}: it was edited or damaged; take another copy, or measure again", path.display())]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// Schema version in the file.
        version: u64,
        /// The first field that does not fit.
        source: serde_json::Error,
    },
    /// The run holds a number that JSON cannot carry, so the file could never be loaded again.
    #[error(
        "run `{run}` holds a figure that is infinite or not a number: leave the estimate out (`None`) where there is none"
    )]
    NotFinite {
        /// Name of the run.
        run: String,
        /// The error of reading the JSON back.
        source: serde_json::Error,
    },
    /// The run could not be turned into JSON.
    #[error("cannot turn run `{run}` into JSON")]
    Encode {
        /// Name of the run.
        run: String,
        /// The encoder's error.
        source: serde_json::Error,
    },
    /// A file that is not of a report has the name of one.
    #[error("`{}` is not of the lab and would be replaced: name another folder, or move it away", path.display())]
    NotAReport {
        /// The file.
        path: PathBuf,
    },
    /// Another lab writes into the same folder.
    #[error("another lab is measuring for `{}`: name another folder, or wait until it ends", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder of the report could not be written.
    #[error("cannot write `{}`: check free space and permissions of its folder", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A chart could not be drawn.
    #[error("cannot draw chart `{chart}`: please report this with the run's `run.json`")]
    Chart {
        /// Anchor of the chart.
        chart: String,
        /// The plotting library's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The page could not be rendered.
    #[error("cannot render the page: please report this with the run's `run.json`")]
    Page {
        /// The template engine's error.
        source: askama::Error,
    },
}
