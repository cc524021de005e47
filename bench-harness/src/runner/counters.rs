//! Counters of the kernel: CPU time, context switches, page faults, memory.

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
    /// The increase since `before`.
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

/// Proportional set size of one process.
pub(crate) fn proportional_memory_of(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(number_after(&text, "Pss:") * 1024)
}

/// Resident memory of this process.
pub(crate) fn resident_memory() -> Option<u64> {
    // Exact, unlike the figure in `status`, which the kernel collects from each CPU only now and then.
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    Some(number_after(&text, "Rss:") * 1024)
}

/// Memory that can be allocated without swapping.
pub(crate) fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some(number_after(&text, "MemAvailable:") * 1024)
}

/// Context switches and CPU time in nanoseconds of all threads of a process, with or without its main thread.
pub(crate) fn scheduling_of(pid: u32, without_main: bool) -> Option<(u64, u64)> {
    let mut sum = (0, 0);
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let thread = thread.ok()?;
        if without_main && thread.file_name().to_str() == Some(&pid.to_string()) {
            continue;
        }
        // A thread that has ended meanwhile has no counters.
        let Ok(status) = std::fs::read_to_string(thread.path().join("status")) else { continue };
        let times = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        sum.0 += number_after(&status, "voluntary_ctxt_switches:");
        sum.0 += number_after(&status, "nonvoluntary_ctxt_switches:");
        sum.1 += times.split_whitespace().next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
    }
    Some(sum)
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
        assert!(proportional_memory_of(std::process::id()).unwrap() > 8 << 20);
        assert!(resident_memory().unwrap() > 8 << 20 && available_memory().unwrap() > 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_sleeps_shows_as_switches_and_one_that_is_left_out_does_not() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || receiver.recv());
        std::thread::sleep(std::time::Duration::from_millis(20));
        let pid = std::process::id();
        let (all, others) = (scheduling_of(pid, false).unwrap(), scheduling_of(pid, true).unwrap());
        assert!(all.0 >= others.0 && others.0 > 0 && all.1 > 0, "{all:?} {others:?}");
        drop(sender);
        assert!(thread.join().unwrap().is_err());
    }
}
