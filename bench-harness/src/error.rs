//! The errors of the lab, and the code with which it exits for each.

use std::{error::Error, io, path::PathBuf, process::ExitCode};

/// An error before, after or around the measuring. An error in a cell is that cell's verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabError {
    #[error("failed to {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error(transparent)]
    Prepare(#[from] workloads::PrepareError),
    #[error(transparent)]
    Report(#[from] reports::ReportError),
    #[error("the executor could not be built")]
    Build(#[from] executor_core::BuildError),
    #[error("{0}")]
    Sample(String),
    /// A mistake that clap cannot see: arguments that are valid by themselves and not together.
    #[error("{0}")]
    Usage(String),
    #[error("these runs cannot be compared: {0}")]
    NotComparable(String),
    #[error("failed to write the output")]
    Output(#[source] io::Error),
    #[error("failed to handle Ctrl-C")]
    Signal(#[from] ctrlc::Error),
}

impl LabError {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Prepare(workloads::PrepareError::Usage { .. }) => ExitCode::from(2),
            Self::NotComparable(_) => ExitCode::from(4),
            _ => ExitCode::FAILURE,
        }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { action, path, cause }
    }
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
