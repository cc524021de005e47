//! Standard input and output of the commands.

use std::{
    io::{self, ErrorKind, Read, Write},
    process::ExitCode,
};

use clap::ValueEnum;

use crate::error::LabError;

/// The format of what a command prints.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// The format of a table.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum TableFormat {
    Text,
    Markdown,
    Json,
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>() -> Result<T, LabError> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(LabError::file("read", "standard input"))?;
    serde_json::from_str(&text).map_err(|error| LabError::Sample(format!("invalid standard input: {error}")))
}

pub(super) fn print_json<T: serde::Serialize>(value: &T) -> Result<ExitCode, LabError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| LabError::Output(error.into()))?;
    print(format!("{text}\n").as_bytes())
}

/// Writes to standard output; a pipe that its reader has closed is not an error.
pub(super) fn print(bytes: &[u8]) -> Result<ExitCode, LabError> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(LabError::Output(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}
