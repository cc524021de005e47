//! What the kernel counts: CPU time, context switches, page faults, memory.

use serde::{Deserialize, Serialize};

/// Counters of a process and those of its children that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) user_cpu_ns: u64,
    pub(crate) system_cpu_ns: u64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
}

impl Counters {
    /// What has been added since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            user_cpu_ns: self.user_cpu_ns.saturating_sub(before.user_cpu_ns),
            system_cpu_ns: self.system_cpu_ns.saturating_sub(before.system_cpu_ns),
            voluntary_switches: self.voluntary_switches.saturating_sub(before.voluntary_switches),
            involuntary_switches: self.involuntary_switches.saturating_sub(before.involuntary_switches),
            minor_faults: self.minor_faults.saturating_sub(before.minor_faults),
            major_faults: self.major_faults.saturating_sub(before.major_faults),
        }
    }
}

/// Counters of this process, and of those of its children that have ended and been waited for. Zero where the system has no
/// `getrusage`.
#[cfg(unix)]
pub(crate) fn of_this_process_tree() -> Counters {
    use nix::sys::{
        resource::{Usage, UsageWho, getrusage},
        time::{TimeVal, TimeValLike},
    };
    let usages = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].map(|who| getrusage(who).ok());
    let number = |of: &dyn Fn(&Usage) -> i64| -> u64 {
        usages.iter().flatten().map(|usage| u64::try_from(of(usage)).unwrap_or(0)).sum()
    };
    let nanos = |time: TimeVal| time.num_microseconds() * 1000;
    Counters {
        user_cpu_ns: number(&|usage| nanos(usage.user_time())),
        system_cpu_ns: number(&|usage| nanos(usage.system_time())),
        voluntary_switches: number(&|usage| usage.voluntary_context_switches()),
        involuntary_switches: number(&|usage| usage.involuntary_context_switches()),
        minor_faults: number(&|usage| usage.minor_page_faults()),
        major_faults: number(&|usage| usage.major_page_faults()),
    }
}

#[cfg(not(unix))]
pub(crate) fn of_this_process_tree() -> Counters {
    Counters::default()
}

/// Proportional set size of this process and `workers` right now, or `None` where the system does not tell.
///
/// The system keeps no peak of it. Read while the workers still exist, right after the last answer, it comes close to the
/// peak, because memory that was used is seldom given back.
pub(crate) fn proportional_memory(workers: &[u32]) -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let others = workers.iter().filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok());
    Some(std::iter::once(own).chain(others).map(|text| number_after(&text, "Pss:") * 1024).sum())
}

/// The number behind `name` at the beginning of a line.
fn number_after(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_the_whole_name() {
        let text = "SwapPss:   3 kB\nPss:   12 kB\n";
        assert_eq!(number_after(text, "Pss:"), 12);
        assert_eq!(number_after(text, "Rss:"), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn work_is_counted() {
        let before = of_this_process_tree();
        let memory = vec![1_u8; 8 << 20];
        assert!(memory.iter().map(|byte| u64::from(*byte)).sum::<u64>() > 0);
        assert!(of_this_process_tree().since(&before).minor_faults > 0);
        assert!(proportional_memory(&[]).unwrap() > 8 << 20);
    }
}
