//! The name of a run, and the places of its files.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{date::compact, stats::nanos};

/// A name that no other run has, on this machine or on another one that shares the folder: it begins with the second in which the
/// run started, and its end depends on the process too.
pub(crate) fn name(started: Duration, kind: &str) -> String {
    let mut random = workloads::Random::new(nanos(started) ^ (u64::from(std::process::id()) << 32));
    format!("{}-{kind}-{:04x}", compact(started), random.next_u64() >> 48)
}

/// The default folder of a run's files.
pub(crate) fn default_folder(id: &str) -> PathBuf {
    Path::new("reports").join("out").join(id)
}

/// The folder in which made input is kept between runs.
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
