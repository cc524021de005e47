//! The local server as a process of its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use crate::PrepareError;

/// A server process. It ends when this is dropped, and by itself when this process dies.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: String,
}

impl ServerProcess {
    /// Starts `command`, which must call [`serve`](super::serve), and waits for its address.
    ///
    /// # Errors
    ///
    /// [`PrepareError::Server`] when it does not start, or prints no address.
    pub fn start(mut command: Command) -> Result<Self, PrepareError> {
        let failed = |reason: String| PrepareError::Server { reason };
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| failed(error.to_string()))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            // Reading ends with the line, or with the process: a server that cannot listen exits.
            let _ = BufReader::new(output).read_line(&mut line);
        }
        match line.trim_end().strip_prefix("listening on ") {
            Some(address) => {
                let address = address.to_owned();
                Ok(Self { child, address })
            }
            None => {
                let _ = child.kill();
                let ended = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(failed(format!("it printed {line:?} instead of its address, and ended with {ended}")))
            }
        }
    }

    /// Its address: `http://127.0.0.1:1234`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // This fails only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
