//! CPython's own `concurrent.futures`, and loky, where there is a Python that has them.

mod interpreter;
mod measure;
mod output;
mod pool;

pub(crate) use interpreter::Interpreter;
pub(crate) use measure::Scripts;
pub(crate) use pool::Python;

use std::{process::Command, time::Duration};

use serde::Deserialize;

use crate::runner::child;

const SCRIPT: &str = include_str!("peer.py");
const LIMIT: Duration = Duration::from_secs(60);

impl Python {
    /// Runs the script, which measures `what` `rounds` times with `tasks` tasks each.
    pub(crate) fn measure(self, workers: usize, what: &str, count: u32, rounds: u32) -> Result<PythonFigures, String> {
        let mut command = Command::new("python3");
        command.args(["-", self.class(), &workers.to_string(), what, &count.to_string(), &rounds.to_string()]);
        let output = child::run_command(command, SCRIPT.as_bytes(), LIMIT).map_err(|error| match () {
            () if output::is_no_program(&error) => "there is no python3 on the PATH: install Python 3".to_owned(),
            () if error.contains("No module named 'loky'") => {
                "python3 has no module loky: python3 -m pip install loky".to_owned()
            }
            () if error.contains("has no attribute") && error.contains("InterpreterPoolExecutor") => {
                "python3 has no InterpreterPoolExecutor, which came with Python 3.14".to_owned()
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
