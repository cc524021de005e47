//! How a run is called, and where its files are.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{date::compact, stats::nanos};

/// A name that no other run has, on this machine or beside it: the second says when, and the end who.
pub(crate) fn name(started: Duration, kind: &str) -> String {
    let mut random = workloads::Random::new(nanos(started) ^ (u64::from(std::process::id()) << 32));
    format!("{}-{kind}-{:04x}", compact(started), random.next_u64() >> 48)
}

/// Where a run's files go by default.
pub(crate) fn default_folder(id: &str) -> PathBuf {
    Path::new("reports").join("out").join(id)
}

/// Where made input is kept between runs.
pub(crate) fn default_data() -> PathBuf {
    Path::new("target").join("lab-data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_that_begin_in_one_second_have_two_names() {
        let at = |nanos| name(Duration::new(1_795_532_048, nanos), "bench");
        assert!(at(0).starts_with("20261124T145408Z-bench-"));
        assert_ne!(at(0), at(1));
    }
}
