//! What a task is given, and what it returns.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::paths;

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The entry of the list, for messages.
    pub name: String,
    /// The program and its arguments.
    #[serde(with = "paths::many")]
    pub words: Vec<PathBuf>,
    /// The folder in which it starts.
    #[serde(with = "paths::one")]
    pub folder: PathBuf,
    /// Files that it must write, in or below the folder.
    #[serde(with = "paths::many")]
    pub outputs: Vec<PathBuf>,
    /// How long it may take, in seconds.
    pub timeout_s: u64,
    /// Whether a program that takes longer ends the run: those that have not started are not started.
    pub ends_run: bool,
}

/// A program has ended with exit code 0, and its output files are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The file with its standard output.
    #[serde(with = "paths::one")]
    pub stdout: PathBuf,
    /// Its output files.
    #[serde(with = "paths::many")]
    pub outputs: Vec<PathBuf>,
}

/// The name of the file beside a task's folder that has one of its streams.
pub(super) fn stream(folder: &std::path::Path, name: &str) -> PathBuf {
    folder.with_extension(name)
}
