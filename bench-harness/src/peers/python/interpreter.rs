//! A Python of this machine, and what it lacks.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use reports::model;
use serde::Deserialize;

use super::{
    output::{beginning, is_no_program},
    pool::Python,
};
use crate::runner::child;

const PROBE: &str = include_str!("probe.py");

/// Starting Python and importing what it has takes less than a second, and on a cold disk some.
const LIMIT: Duration = Duration::from_secs(20);

/// The oldest version that the scripts run on.
const OLDEST: (u32, u32) = (3, 8);

/// A Python, as it describes itself.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Interpreter {
    /// The program itself, not what leads to it: an environment's script would take a part of each sample.
    pub(crate) executable: PathBuf,
    implementation: String,
    version: String,
    major_minor: (u32, u32),
    gil: bool,
    #[serde(default)]
    start_method: String,
    #[serde(default)]
    pools: Vec<String>,
    #[serde(default)]
    sqlite: Option<String>,
    #[serde(default)]
    loky: Option<String>,
}

impl Interpreter {
    /// Asks a program what it is. The error says what is missing, with the cure.
    pub(crate) fn find(program: &Path) -> Result<Self, String> {
        let shown = workloads::shown(program);
        let cure = format!("install Python {} or later, or name one by --python", version(OLDEST));
        let mut command = Command::new(program);
        command.arg("-");
        let output = child::run_group(command, PROBE.as_bytes(), LIMIT).map_err(|error| match () {
            () if is_no_program(&error) && program.components().count() == 1 => {
                format!("there is no {shown} on the PATH: {cure}")
            }
            () if is_no_program(&error) => format!("there is no program {shown}: {cure}"),
            () => format!("{shown} does not work ({error}): {cure}"),
        })?;
        let mut found: Self = serde_json::from_slice(&output)
            .map_err(|error| format!("{shown} is no Python: it answered {} ({error}): {cure}", beginning(&output)))?;
        if found.major_minor < OLDEST {
            return Err(format!("{shown} is Python {}, which is too old: {cure}", found.version));
        }
        if found.executable.as_os_str().is_empty() {
            found.executable = program.to_path_buf();
        }
        Ok(found)
    }

    /// `CPython 3.14.0`, with what tells it apart from another build of this version.
    pub(crate) fn name(&self) -> String {
        let build = if self.gil { "" } else { " without GIL" };
        format!("{} {}{build}", self.implementation, self.version)
    }

    /// Why it does not have this pool, with the cure.
    pub(crate) fn lacks(&self, pool: Python) -> Option<String> {
        let program = workloads::shown(&self.executable);
        let has = |name: &str| self.pools.iter().any(|pool| pool == name);
        match pool {
            Python::Loky => {
                self.loky.is_none().then(|| format!("it has no module loky: {program} -m pip install loky"))
            }
            Python::InterpreterPool if !has(pool.class()) => {
                Some("it came with Python 3.14: name one by --python".to_owned())
            }
            _ => (!has(pool.class()))
                .then(|| "its concurrent.futures does not have it: install a complete Python".to_owned()),
        }
    }

    /// Why it cannot run the tasks of a workload, with the cure.
    pub(crate) fn lacks_for(&self, workload: &str) -> Option<String> {
        (workload == "sqlite" && self.sqlite.is_none())
            .then(|| "it has no module sqlite3: name a Python by --python that was built with SQLite".to_owned())
    }

    /// Its description in the report.
    pub(crate) fn described(&self) -> model::Interpreter {
        model::Interpreter {
            name: self.name(),
            executable: workloads::shown(&self.executable),
            gil: self.gil,
            start_method: self.start_method.clone(),
            sqlite: self.sqlite.clone().unwrap_or_default(),
            loky: self.loky.clone().unwrap_or_default(),
        }
    }
}

fn version((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}
