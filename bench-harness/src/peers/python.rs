//! CPython's own `concurrent.futures`, and loky, where there is a Python that has them.

use std::{process::Command, time::Duration};

use serde::{Deserialize, Serialize};

use crate::runner::child;

const SCRIPT: &str = include_str!("peer.py");
const LIMIT: Duration = Duration::from_secs(60);

/// An executor of Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Python {
    ThreadPool,
    ProcessPool,
    Loky,
}

impl Python {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ThreadPool => "CPython ThreadPoolExecutor",
            Self::ProcessPool => "CPython ProcessPoolExecutor",
            Self::Loky => "loky",
        }
    }

    /// Its name in the script.
    fn class(self) -> &'static str {
        match self {
            Self::ThreadPool => "ThreadPoolExecutor",
            Self::ProcessPool => "ProcessPoolExecutor",
            Self::Loky => "loky",
        }
    }

    /// A note on its figures.
    pub(crate) fn note(self, version: &str) -> String {
        let moved = if self == Self::ThreadPool { "; arguments are passed by reference, not copied" } else { "" };
        format!("Python {version}, by its own clock{moved}")
    }

    /// Runs the script, which measures `what` `rounds` times with `tasks` tasks each.
    pub(crate) fn measure(self, workers: usize, what: &str, count: u32, rounds: u32) -> Result<PythonFigures, String> {
        let mut command = Command::new("python3");
        command.args(["-", self.class(), &workers.to_string(), what, &count.to_string(), &rounds.to_string()]);
        let output = child::run_command(command, SCRIPT.as_bytes(), LIMIT).map_err(|error| match () {
            () if error.contains("No such file or directory") => {
                "there is no python3 on the PATH: install Python 3".to_owned()
            }
            () if error.contains("No module named 'loky'") => {
                "python3 has no module loky: python3 -m pip install loky".to_owned()
            }
            () => error,
        })?;
        serde_json::from_slice(&output).map_err(|error| format!("invalid output of the script: {error}"))
    }
}

/// The output of the script: one value per round, and the interpreter's version.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PythonFigures {
    pub(crate) version: String,
    pub(crate) values: Vec<f64>,
    /// Set for round trips only.
    #[serde(default)]
    pub(crate) p99: Vec<f64>,
}
