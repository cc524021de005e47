//! Counters of the kernel: CPU time, context switches, page faults, memory.

use serde::{Deserialize, Serialize};

/// Counters of a process tree, and of the machine while it ran. The increase between two readings is what counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) user_cpu_ns: u64,
    pub(crate) system_cpu_ns: u64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    /// Time in which threads of the tree were ready to run and had no core. Threads and processes that have ended are not in it.
    pub(crate) run_queue_delay_ns: Option<u64>,
    /// Time in which any thread of the machine was ready to run and had no core (`some` of the kernel's pressure stall
    /// information).
    pub(crate) cpu_pressure_ns: Option<u64>,
    /// CPU time that the host of a virtual machine took from all of its cores together.
    pub(crate) stolen_ns: Option<u64>,
}

impl Counters {
    /// The increase since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let of = |field: fn(&Self) -> u64| field(self).saturating_sub(field(before));
        let known = |field: fn(&Self) -> Option<u64>| Some(field(self)?.saturating_sub(field(before)?));
        Self {
            user_cpu_ns: of(|it| it.user_cpu_ns),
            system_cpu_ns: of(|it| it.system_cpu_ns),
            voluntary_switches: of(|it| it.voluntary_switches),
            involuntary_switches: of(|it| it.involuntary_switches),
            minor_faults: of(|it| it.minor_faults),
            major_faults: of(|it| it.major_faults),
            run_queue_delay_ns: known(|it| it.run_queue_delay_ns),
            cpu_pressure_ns: known(|it| it.cpu_pressure_ns),
            stolen_ns: known(|it| it.stolen_ns),
        }
    }
}

/// Counters of this process, of those of its children that have ended and been waited for, and of the living `workers`. Zero, or
/// `None`, where the system has no such counter.
///
/// CPU times of living workers are in ticks of the kernel, which are 10 ms: those of ended children are exact.
pub(crate) fn of_tree(workers: &[u32]) -> Counters {
    let mut sum = of_this_process_tree();
    let ticks = nanos_per_tick();
    for worker in workers {
        let Some(stat) = stat_of(&read(&format!("/proc/{worker}/stat"))) else { continue };
        sum.user_cpu_ns += stat.user_ticks * ticks;
        sum.system_cpu_ns += stat.system_ticks * ticks;
        sum.minor_faults += stat.minor_faults;
        sum.major_faults += stat.major_faults;
        for status in of_threads(*worker, "status") {
            sum.voluntary_switches += number_after(&status, "voluntary_ctxt_switches:");
            sum.involuntary_switches += number_after(&status, "nonvoluntary_ctxt_switches:");
        }
    }
    let tree = workers.iter().copied().chain([std::process::id()]);
    sum.run_queue_delay_ns = tree.map(run_queue_delay_of).sum();
    sum.cpu_pressure_ns = pressure_ns(&read("/proc/pressure/cpu"));
    sum.stolen_ns = ticks_of_all_cores(&read("/proc/stat")).map(|[.., stolen]| stolen * ticks);
    sum
}

pub(super) fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A file of each thread of a process. A thread that has ended meanwhile has none.
fn of_threads(pid: u32, file: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| std::fs::read_to_string(thread.path().join(file)).ok()).collect()
}

/// `None` where the kernel does not count it.
fn run_queue_delay_of(pid: u32) -> Option<u64> {
    let threads = of_threads(pid, "schedstat");
    let delays = threads.iter().map(|times| times.split_whitespace().nth(1)?.parse::<u64>().ok());
    (!threads.is_empty()).then(|| delays.sum()).flatten()
}

/// Reads the first line of `/proc/pressure/cpu`, whose total is in microseconds.
fn pressure_ns(text: &str) -> Option<u64> {
    let total = text.lines().find(|line| line.starts_with("some "))?.split_once("total=")?.1;
    Some(total.split_whitespace().next()?.parse::<u64>().ok()? * 1000)
}

/// What all cores together have done, in ticks: user, nice, system, idle, iowait, irq, softirq, steal. The first line of `/proc/stat`.
pub(crate) fn ticks_of_all_cores(text: &str) -> Option<[u64; 8]> {
    let times = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    times.map(|time| time.parse().ok()).collect::<Option<Vec<u64>>>()?.try_into().ok()
}

#[cfg(target_os = "linux")]
pub(crate) fn nanos_per_tick() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn nanos_per_tick() -> u64 {
    0
}

/// What `/proc/<pid>/stat` counts of a whole process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    minor_faults: u64,
    major_faults: u64,
    user_ticks: u64,
    system_ticks: u64,
}

fn stat_of(text: &str) -> Option<Stat> {
    // The name, in parentheses, may have spaces in it. The first field behind it is the third of the line.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse().ok();
    Some(Stat {
        minor_faults: number(10)?,
        major_faults: number(12)?,
        user_ticks: number(14)?,
        system_ticks: number(15)?,
    })
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
        ..Counters::default()
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

    #[test]
    fn each_file_of_the_kernel_is_read_at_the_right_place() {
        let stat = "12 (a name) with (x) S 1 12 12 0 -1 4194304 301 22 4 55 17 9 1 2 20 0 3 0 6789";
        let expected = Stat { minor_faults: 301, major_faults: 4, user_ticks: 17, system_ticks: 9 };
        assert_eq!(stat_of(stat), Some(expected));
        assert_eq!(stat_of("12 (short) S 1 2"), None);
        let pressure = "some avg10=0.10 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.00 total=5\n";
        assert_eq!((pressure_ns(pressure), pressure_ns("")), (Some(1_234_000), None));
        let ticks = ticks_of_all_cores("cpu  10 0 10 70 0 0 0 42 0 0\ncpu0 1 1\n");
        assert_eq!(ticks, Some([10, 0, 10, 70, 0, 0, 0, 42]));
        assert_eq!((ticks_of_all_cores("cpu  10 0"), ticks_of_all_cores("")), (None, None));
    }

    #[test]
    fn what_one_of_two_readings_lacks_has_no_increase() {
        let with = |delay, faults| Counters { run_queue_delay_ns: delay, minor_faults: faults, ..Counters::default() };
        assert_eq!(with(Some(9), 5).since(&with(Some(4), 2)), with(Some(5), 3));
        assert_eq!(with(Some(9), 5).since(&with(None, 7)), with(None, 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn living_workers_are_counted_beside_this_process() {
        let script = "x=$(head -c 4194304 /dev/zero | tr '\\0' x); echo ready; read -r _";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        let own = stat_of(&read(&format!("/proc/{}/stat", child.id()))).unwrap().minor_faults;
        let (alone, both) = (of_tree(&[]).minor_faults, of_tree(&[child.id()]).minor_faults);
        assert!(own > 100 && both >= alone + own, "{own} {alone} {both}");
        drop(child.stdin.take());
        child.wait().unwrap();
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
