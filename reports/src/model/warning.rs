//! Reasons to interpret figures of a machine with care.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A disturbance of the measuring.
///
/// In JSON it is the sentence that people read, as in runs of all versions. Reading it back gives [`Told`](Self::Told), since
/// only the lab that measures asks which one it is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// The clock speed follows the load.
    Governor(String),
    /// The machine is a virtual one, and its host may have other guests.
    VirtualMachine,
    /// Other programs are running.
    Busy {
        /// The load average of one minute.
        load: f64,
        /// CPUs that this process may use.
        cores: u32,
    },
    /// The host of a virtual machine took CPU time from it.
    Stolen {
        /// Percentage of the time since boot.
        percent: f64,
    },
    /// A core that does nothing else is interrupted so often that it shows in tails.
    Interrupted {
        /// Interruptions per second.
        per_second: f64,
        /// Median length of an interruption.
        length_ns: u64,
        /// Share of all short tasks that is hit.
        share: f64,
    },
    /// A thread that is woken starts late although a core is idle, if the one that has woken it computes on.
    LateStart {
        /// Median time from the wake-up.
        late_ns: u64,
    },
    /// Too few cores to measure how executors scale.
    FewCores(u32),
    /// The lab was built without optimization.
    Unoptimized,
    /// A core had another speed at the end of the run than at its start.
    OtherSpeed {
        /// Change of the speed; negative if it is slower.
        percent: f64,
    },
    /// The text of a warning in a run that was read.
    Told(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Governor(name) => write!(f, "the CPU governor is \"{name}\": clock speed follows the load"),
            Self::VirtualMachine => {
                f.write_str("this is a virtual machine: other guests of its host may take CPU time")
            }
            Self::Busy { load, cores } => write!(f, "the machine is busy: load {load} on {cores} cores"),
            Self::Stolen { percent } => {
                write!(f, "{percent:.1}% of the CPU time since boot was taken by the host")
            }
            Self::Interrupted { per_second, length_ns, share } => write!(
                f,
                "a core is interrupted {per_second:.0} times a second, for {:.1} µs (median): about {:.0}% of all tasks of \
                 1 µs on two cores are hit, so their 99th percentile is the machine's",
                *length_ns as f64 / 1e3,
                100.0 * share
            ),
            Self::LateStart { late_ns } => write!(
                f,
                "a woken thread starts {} late (median) if the one that has woken it computes on, though another core is idle: \
                 batches of a few milliseconds may take twice their time on every executor",
                crate::format::duration(*late_ns as f64)
            ),
            Self::FewCores(cores) => {
                write!(f, "only {cores} cores: too few to measure how executors scale")
            }
            Self::Unoptimized => f.write_str("this lab was built without optimization: use --release"),
            Self::OtherSpeed { percent } => write!(
                f,
                "one core computed {:.0}% {} at the end of the run than at its start: another program was using it, or its \
                 clock changed",
                percent.abs(),
                if *percent > 0.0 { "faster" } else { "slower" }
            ),
            Self::Told(text) => f.write_str(text),
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Warning {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::Told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_json_it_is_the_sentence() {
        let busy = Warning::Busy { load: 5.12, cores: 2 };
        let json = serde_json::to_value(&busy).unwrap();
        assert_eq!(json, "the machine is busy: load 5.12 on 2 cores");
        let told: Warning = serde_json::from_value(json).unwrap();
        assert_eq!(told.to_string(), busy.to_string());
    }
}
