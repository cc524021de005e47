//! The executors that are compared: those of the lab, and those of each Python that was found.

use std::path::{Path, PathBuf};

use reports::model::{Interpreter as Described, PythonCell, Skipped};

use crate::{
    executors::Kind,
    peers::{Interpreter, Python},
};

/// One executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    Lab(Kind),
    Python {
        /// Number of the Python, in the order in which they were found.
        python: usize,
        /// `None` is a loop without any pool.
        pool: Option<Python>,
    },
}

impl Contender {
    /// The executor of the lab that does the same.
    pub(super) fn counterpart(self) -> Kind {
        match self {
            Self::Lab(kind) => kind,
            Self::Python { pool: None, .. } => Kind::Serial,
            // Interpreters are threads of one process.
            Self::Python { pool: Some(Python::ThreadPool | Python::InterpreterPool), .. } => Kind::Thread,
            Self::Python { pool: Some(Python::ProcessPool | Python::Loky), .. } => Kind::Process,
        }
    }

    /// Its number of workers, where pools have this many.
    pub(super) fn workers(self, of_pools: u32) -> u32 {
        if self.counterpart() == Kind::Serial { 1 } else { of_pools }
    }
}

/// One workload on one executor, while it is measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) contender: Contender,
    pub(super) cell: PythonCell,
}

/// The executors of the lab that have a counterpart in Python.
const OURS: [Contender; 3] =
    [Contender::Lab(Kind::Serial), Contender::Lab(Kind::Thread), Contender::Lab(Kind::Process)];

/// The Pythons of this machine.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Each with a name of its own.
    interpreters: Vec<(String, Interpreter)>,
    /// What is not there, with the cure.
    pub(super) missing: Vec<Skipped>,
}

impl Found {
    /// Asks each of these programs, or else `python3`.
    pub(super) fn of(programs: &[PathBuf]) -> Self {
        let default = [PathBuf::from("python3")];
        let mut found = Self::default();
        for program in if programs.is_empty() { &default } else { programs } {
            found.add(program);
        }
        found
    }

    fn add(&mut self, program: &Path) {
        let interpreter = match Interpreter::find(program) {
            Ok(interpreter) => interpreter,
            Err(reason) => return self.missing.push(Skipped { what: "Python".to_owned(), reason }),
        };
        if self.interpreters.iter().any(|(_, known)| known.executable == interpreter.executable) {
            return;
        }
        let mut name = interpreter.name();
        if self.interpreters.iter().any(|(known, _)| *known == name) {
            name = format!("{name} ({})", workloads::shown(&interpreter.executable));
        }
        for pool in Python::ALL {
            if let Some(reason) = interpreter.lacks(pool) {
                self.missing.push(Skipped { what: format!("{name}: {}", pool.class()), reason });
            }
        }
        self.interpreters.push((name, interpreter));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.interpreters.is_empty()
    }

    pub(super) fn count(&self) -> u32 {
        self.interpreters.len() as u32
    }

    pub(super) fn interpreter(&self, number: usize) -> &Interpreter {
        &self.interpreters[number].1
    }

    pub(super) fn described(&self) -> Vec<Described> {
        let described =
            |(name, interpreter): &(String, Interpreter)| Described { name: name.clone(), ..interpreter.described() };
        self.interpreters.iter().map(described).collect()
    }

    /// The executors that take this workload: none where no Python takes it.
    pub(super) fn contenders(&self, workload: &str) -> Vec<Contender> {
        let able = self.interpreters.iter().enumerate().filter(|(_, (_, it))| it.lacks_for(workload).is_none());
        let of_python = able.flat_map(|(python, (_, interpreter))| {
            let pools = Python::ALL.into_iter().filter(|pool| interpreter.lacks(*pool).is_none()).map(Some);
            [None].into_iter().chain(pools).map(move |pool| Contender::Python { python, pool })
        });
        let of_python: Vec<Contender> = of_python.collect();
        if of_python.is_empty() { Vec::new() } else { OURS.into_iter().chain(of_python).collect() }
    }

    /// The Pythons that cannot run the tasks of this workload.
    pub(super) fn missing_for(&self, workload: &str) -> Vec<Skipped> {
        let missing = self.interpreters.iter().filter_map(|(name, interpreter)| {
            let reason = interpreter.lacks_for(workload)?;
            Some(Skipped { what: format!("{workload} on {name}"), reason })
        });
        missing.collect()
    }

    /// The name in the report.
    pub(super) fn name(&self, contender: Contender) -> String {
        match contender {
            Contender::Lab(kind) => kind.name().to_owned(),
            Contender::Python { python, pool } => {
                format!("{}: {}", self.interpreters[python].0, pool.map_or("a loop", Python::class))
            }
        }
    }
}
