//! The local HTTP server of the lab.

use std::process::Command;

use workloads::fetch::{ServerConfig, ServerProcess};

use crate::error::LabError;

/// Starts the local HTTP server as a process of this binary.
pub(crate) fn start(config: &ServerConfig) -> Result<ServerProcess, LabError> {
    let program = std::env::current_exe().map_err(LabError::file("find", "this program"))?;
    let mut command = Command::new(program);
    let config = serde_json::to_string(config).map_err(|error| LabError::Sample(error.to_string()))?;
    command.args(["serve", &config]);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(ServerProcess::start(command)?)
}
