//! The executors of Python, by name.

use serde::{Deserialize, Serialize};

/// An executor of Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Python {
    ThreadPool,
    ProcessPool,
    InterpreterPool,
    Loky,
}

impl Python {
    pub(crate) const ALL: [Self; 4] = [Self::ThreadPool, Self::ProcessPool, Self::InterpreterPool, Self::Loky];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ThreadPool => "CPython ThreadPoolExecutor",
            Self::ProcessPool => "CPython ProcessPoolExecutor",
            Self::InterpreterPool => "CPython InterpreterPoolExecutor",
            Self::Loky => "loky",
        }
    }

    /// Its name in the scripts.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::ThreadPool => "ThreadPoolExecutor",
            Self::ProcessPool => "ProcessPoolExecutor",
            Self::InterpreterPool => "InterpreterPoolExecutor",
            Self::Loky => "loky",
        }
    }

    /// A note on its figures.
    pub(crate) fn note(self, version: &str) -> String {
        let moved = if self == Self::ThreadPool { "; arguments are passed by reference, not copied" } else { "" };
        format!("Python {version}, by its own clock{moved}")
    }
}
