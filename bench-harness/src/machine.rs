//! The host, and whether it is quiet enough to benchmark.

use std::{collections::BTreeMap, fs};

use reports::model::{Host, Warning};

use crate::{late_start::LateStart, noise::Noise, runner::counters::ticks_of_all_cores};

/// Inspects the machine. Facts that it does not provide are left out.
pub(crate) fn inspect() -> Host {
    let cpu = read("/proc/cpuinfo");
    let field = |name: &str| {
        cpu.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let cpu_model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let os = format!("{} {kernel}", std::env::consts::OS).trim().to_owned();
    let rustc = env!("LAB_RUSTC").to_owned();

    let mut facts = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut fact = |name: &str, value: String| {
        if !value.trim().is_empty() {
            facts.insert(name.to_owned(), value.trim().to_owned());
        }
    };
    let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    if !governor.is_empty() && governor.trim() != "performance" {
        warnings.push(Warning::Governor(governor.trim().to_owned()));
    }
    fact("governor", governor);
    if cpu.lines().any(|line| line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor")) {
        fact("hypervisor", "yes".to_owned());
        warnings.push(Warning::VirtualMachine);
    }
    let load = read("/proc/loadavg");
    let one_minute: f64 = load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    if one_minute > 0.5 * f64::from(cores) {
        warnings.push(Warning::Busy { load: one_minute, cores });
    }
    fact("load average", load.split_whitespace().take(3).collect::<Vec<_>>().join(" "));
    let steal = steal_percent(&read("/proc/stat"));
    if steal > 1.0 {
        warnings.push(Warning::Stolen { percent: steal });
    }
    fact("steal since boot", format!("{steal:.2}%"));
    let noise = Noise::watch();
    fact("interruptions of a core", noise.fact());
    warnings.extend(noise.warning());
    if let Some(late) = LateStart::look(cores) {
        fact("start of a woken thread", late.fact());
        warnings.extend(late.warning());
    }
    // The kernel answers in one word: "notsupported", "notimplemented".
    fact("SMT", read("/sys/devices/system/cpu/smt/control").replacen("not", "not ", 1));
    fact("turbo disabled", read("/sys/devices/system/cpu/intel_pstate/no_turbo"));
    fact("transparent huge pages", chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")));
    fact("cgroup CPU quota", read("/sys/fs/cgroup/cpu.max"));
    fact("CPU pressure", pressure(&read("/proc/pressure/cpu")));
    fact("ASLR", read("/proc/sys/kernel/randomize_va_space"));
    if cores < 4 {
        warnings.push(Warning::FewCores(cores));
    }
    if cfg!(debug_assertions) {
        warnings.push(Warning::Unoptimized);
    }
    let memory_kib: u64 = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let fingerprint = format!("{cpu_model} x{cores}, {kernel}, {rustc}");
    Host { fingerprint, cpu_model, cores, memory_bytes: memory_kib * 1024, os, rustc, facts, warnings }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> String {
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or_else(String::new, |(word, _)| word.to_owned())
}

/// Reads the first line of `/proc/pressure/cpu`: `some avg10=90.41 avg60=...`.
fn pressure(text: &str) -> String {
    text.strip_prefix("some avg10=")
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .map_or_else(String::new, |percent: f64| format!("{percent:.0}% of the last 10 s"))
}

/// The share of all time since boot that the host of a virtual machine took, by `/proc/stat`.
fn steal_percent(stat: &str) -> f64 {
    let Some(ticks @ [.., steal]) = ticks_of_all_cores(stat) else { return 0.0 };
    match ticks.iter().sum::<u64>() {
        0 => 0.0,
        total => 100.0 * steal as f64 / total as f64,
    }
}

/// Revision of the sources that this lab was built from, with `-dirty` when they had changes; `None` where they were in no
/// checkout. (The folder in which the lab runs may belong to another project.)
pub(crate) fn revision() -> Option<String> {
    option_env!("LAB_REVISION").map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_number() {
        assert_eq!(steal_percent("cpu  10 0 10 70 0 0 0 10 0 0\n"), 10.0);
        assert_eq!(steal_percent(""), 0.0);
    }

    #[test]
    fn pressure_is_that_of_the_last_ten_seconds() {
        let text = "some avg10=90.41 avg60=49.02 avg300=58.19 total=16505032780\nfull avg10=0.00";
        assert_eq!(pressure(text), "90% of the last 10 s");
        assert_eq!(pressure(""), "");
    }

    #[test]
    fn the_word_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen(""), "");
    }
}
