//! One sample of a workload in Python: a process of its own, to which the items go, and from which the answers come back.

use std::{env, ffi::OsString, fs, io, path::Path, process::Command, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{interpreter::Interpreter, output::beginning, pool::Python};
use crate::runner::child;

/// The modules, by the names under which worker processes import them.
const MODULES: [(&str, &str); 2] =
    [("lab_measure.py", include_str!("lab_measure.py")), ("lab_tasks.py", include_str!("lab_tasks.py"))];

/// The longest that a sample may take. A pool that hangs must not take all the time of a run.
const LIMIT: Duration = Duration::from_secs(30);

/// What Python is to do.
#[derive(Debug, Serialize)]
pub(crate) struct Request<'a> {
    /// Name of the pool's class, or `loop`.
    pool: &'static str,
    workers: u32,
    /// Name of the workload in the scripts.
    workload: &'a str,
    items: &'a [Value],
}

/// What Python has done.
#[derive(Debug, Deserialize)]
pub(crate) struct Reply {
    /// From the first submit until the last result, by Python's own clock.
    pub(crate) makespan_ns: u64,
    /// In the order of the items; empty if a task failed.
    pub(crate) answers: Vec<Value>,
    /// Number of tasks that failed, and the first error.
    #[serde(default)]
    pub(crate) failed: u64,
    #[serde(default)]
    pub(crate) error: String,
}

/// The modules in a folder that only this user can write, and that goes with the value.
#[derive(Debug)]
pub(crate) struct Scripts(tempfile::TempDir);

impl Scripts {
    pub(crate) fn write() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, text) in MODULES {
            fs::write(folder.path().join(name), text)?;
        }
        Ok(Self(folder))
    }

    /// Runs the tasks once, on a pool or, without one, in a loop. All processes that this takes end with it.
    pub(crate) fn run(
        &self,
        interpreter: &Interpreter,
        pool: Option<Python>,
        (workers, workload, items): (u32, &str, &[Value]),
    ) -> Result<Reply, String> {
        let request = Request { pool: pool.map_or("loop", Python::class), workers, workload, items };
        let request = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let mut command = Command::new(&interpreter.executable);
        command.arg(self.0.path().join(MODULES[0].0)).env("PYTHONPATH", self.python_path(env::var_os("PYTHONPATH")));
        let output = child::run_group(command, &request, LIMIT)?;
        let reply: Reply = serde_json::from_slice(&output)
            .map_err(|error| format!("its output is no answer ({error}): {}", beginning(&output)))?;
        if reply.failed > 0 {
            return Err(format!("{} of {} tasks: {}", reply.failed, items.len(), reply.error));
        }
        if reply.answers.len() != items.len() {
            return Err(format!("{} answers came back for {} tasks", reply.answers.len(), items.len()));
        }
        Ok(reply)
    }

    /// The folder, before those that the user has named: new processes and interpreters import the modules from there.
    fn python_path(&self, named: Option<OsString>) -> OsString {
        let named = named.filter(|paths| !paths.is_empty());
        let mut paths = vec![self.0.path().to_path_buf()];
        paths.extend(named.iter().flat_map(env::split_paths));
        env::join_paths(&paths).unwrap_or_else(|_| Path::new(self.0.path()).into())
    }
}
