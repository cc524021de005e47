//! The settings of the workload.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{paths, shown};

/// A list, and the command that is run for each of its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The program and its arguments, with placeholders.
    #[serde(with = "paths::many")]
    pub words: Vec<PathBuf>,
    /// The entries of the list.
    #[serde(with = "paths::many")]
    pub entries: Vec<PathBuf>,
    /// The files that each command writes, with placeholders.
    #[serde(with = "paths::many")]
    pub outputs: Vec<PathBuf>,
    /// Whether an entry that is a file is copied for its command, and not linked.
    pub copy: bool,
    /// Whether standard output is left out of the comparison.
    pub ignore_stdout: bool,
    /// The longest that one command may take, in seconds.
    pub timeout_s: u64,
    /// Whether a command that takes longer ends the run.
    pub ends_run: bool,
    /// The folder of all runs; empty until the workload has begun.
    #[serde(with = "paths::one")]
    pub folder: PathBuf,
}

impl Spec {
    /// The command as text.
    pub(super) fn line(&self) -> String {
        format!("`{}`", self.written_words().join(" "))
    }

    pub(super) fn written_words(&self) -> Vec<String> {
        self.words.iter().map(|word| shown(word)).collect()
    }
}
