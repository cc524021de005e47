//! A workload with its settings, without its type: the form that is sent to the process that takes a sample.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workloads::Workload;

use crate::error::LabError;

/// The work of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Work {
    name: String,
    waits: bool,
    /// The longest that a sample may take, where the lab's own limit may be too short.
    limit: Option<Duration>,
    settings: Value,
}

impl Work {
    pub(crate) fn new<W: Workload>(workload: &W) -> Result<Self, LabError> {
        let settings = serde_json::to_value(workload).map_err(|error| LabError::Sample(error.to_string()))?;
        Ok(Self { name: W::NAME.to_owned(), waits: W::WAITS, limit: workload.time_limit(), settings })
    }

    /// A function of this program, which has no settings.
    pub(crate) fn own(name: &str) -> Self {
        // Nothing is known of how long it takes; what hangs is stopped in the end.
        let limit = Some(Duration::from_secs(900));
        Self { name: name.to_owned(), waits: false, limit, settings: Value::Null }
    }

    /// Reads the workload back.
    pub(crate) fn open<W: Workload>(&self) -> Result<W, LabError> {
        W::deserialize(&self.settings)
            .map_err(|error| LabError::Sample(format!("invalid settings of {}: {error}", W::NAME)))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Whether its tasks mostly wait, so that more workers than cores can help.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }
}
