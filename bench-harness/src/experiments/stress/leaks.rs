//! Leaks: threads, processes, files and memory that a pool may have left behind.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::watchdog;
use crate::runner::process_tree;

/// Set in the environment of every worker process to the id of the process that the pool is in.
const MARK: &str = "EXECUTOR_CORE_WORKER_OF";

/// Threads that belong to no pool, and end after some idle seconds or never.
const SERVICE: [&str; 2] = ["executor-callba", "executor-deadli"];
/// The most of them that may run callbacks.
const MOST_SERVICE: usize = 130;

/// The resources of the program at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::experiments) struct Inventory {
    /// Threads by name.
    threads: BTreeMap<String, usize>,
    /// Files by kind.
    files: BTreeMap<String, usize>,
    /// Children, zombies included, and orphans of a pool.
    processes: Vec<String>,
    service_threads: usize,
}

impl Inventory {
    /// The current resources. Only Linux reports them; elsewhere the inventory is empty.
    pub(in crate::experiments) fn take() -> Self {
        let mut this = Self { processes: processes(), ..Self::default() };
        for entry in entries("/proc/self/task") {
            let Ok(name) = fs::read_to_string(entry.join("comm")) else { continue };
            let name = name.trim();
            if name == watchdog::THREAD {
                continue;
            }
            if SERVICE.contains(&name) {
                this.service_threads += 1;
            } else {
                *this.threads.entry(name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()).or_default() += 1;
            }
        }
        for entry in entries("/proc/self/fd") {
            // The descriptor for reading the folder itself is closed by now.
            let Ok(target) = fs::read_link(&entry) else { continue };
            let target = target.to_string_lossy().into_owned();
            *this.files.entry(target.split(":[").next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        this
    }

    /// Resources that were not there before.
    fn beyond(&self, before: &Self) -> Vec<String> {
        let more = |what: &str, now: &BTreeMap<String, usize>, before: &BTreeMap<String, usize>| -> Vec<String> {
            now.iter()
                .filter_map(|(name, &count)| {
                    let had = before.get(name).copied().unwrap_or(0);
                    (count > had).then(|| format!("{what} {name}: {count}, before {had}"))
                })
                .collect()
        };
        let mut left = more("threads", &self.threads, &before.threads);
        left.extend(more("files", &self.files, &before.files));
        left.extend(self.processes.iter().map(|process| format!("process {process}")));
        if self.service_threads > MOST_SERVICE {
            left.push(format!("{} threads for callbacks", self.service_threads));
        }
        left
    }

    /// Called after the first pool, which has opened the files that exist once for the whole program: these count as there
    /// before.
    pub(in crate::experiments) fn accept_files(&mut self) {
        // Files of the pool's threads and workers are closed with these.
        self.wait_for(|now| now.files.clear());
        self.files = Self::take().files;
    }

    /// Resources that are left some time after all should be gone.
    pub(in crate::experiments) fn left(&self) -> Vec<String> {
        self.wait_for(|_| {})
    }

    /// Waits until only resources are left that were there before or do not count. Threads and processes end a little after
    /// their waiters are woken.
    fn wait_for(&self, without: impl Fn(&mut Self)) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let mut now = Self::take();
            without(&mut now);
            let left = now.beyond(self);
            if left.is_empty() || Instant::now() >= end {
                return left;
            }
            // The end of a detached thread is not signaled, so the loop polls.
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn entries(folder: &str) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn processes() -> Vec<String> {
    let this = std::process::id();
    let mark = format!("{MARK}={this}");
    let is_of_pool = |path: &Path| {
        fs::read(path.join("environ"))
            .is_ok_and(|text| text.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()))
    };
    let mut found = Vec::new();
    for path in entries("/proc") {
        let Some((state, parent)) = process_tree::parent_of(&path) else { continue };
        if path.ends_with("self") || path.ends_with("thread-self") {
            continue;
        }
        if parent == this || is_of_pool(&path) {
            found.push(format!("{} in state {state}, child of {parent}", path.display()));
        }
    }
    found
}

/// Memory of this process that counts, in KiB; 0 where the system does not report it.
pub(super) fn memory() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let field = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    field.and_then(|field| field.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// Memory at comparable points: after each round, when its pool is gone.
#[derive(Debug, Default)]
pub(super) struct Trend(Vec<u64>);

/// Fewer points than this are not compared.
const POINTS: usize = 24;
/// Memory that the allocator may keep, in KiB, roughly.
const SLACK: u64 = 24 * 1024;
/// The most that it keeps after a large round, in KiB.
const MOST_KEPT: u64 = 128 * 1024;

impl Trend {
    pub(super) fn note(&mut self) {
        self.0.push(memory());
    }

    /// Medians of the second, third and last quarter; the first quarter is warm-up.
    fn quarters(&self) -> Option<[u64; 3]> {
        if self.0.len() < POINTS {
            return None;
        }
        let quarter = self.0.len() / 4;
        let median = |number: usize| {
            let end = if number == 3 { self.0.len() } else { quarter * (number + 1) };
            let mut part = self.0[quarter * number..end].to_vec();
            part.sort_unstable();
            part[part.len() / 2]
        };
        Some([1, 2, 3].map(median))
    }

    /// Memory early and late, where there are enough points to compare.
    pub(super) fn ends(&self) -> Option<(u64, u64)> {
        self.quarters().map(|[early, _, late]| (early, late))
    }

    /// A leak: memory that keeps growing, or a growth that is too large for the allocator. A single step that stays is the
    /// allocator's: it keeps a heap for each of several threads, and each heap grows to the largest round that it has seen.
    pub(super) fn leak(&self) -> Option<String> {
        let [early, middle, late] = self.quarters()?;
        let grown = late.saturating_sub(early);
        let goes_on = |part: u64| part >= grown / 5;
        let only_grows = goes_on(middle.saturating_sub(early)) && goes_on(late.saturating_sub(middle));
        (grown > early / 4 + SLACK && only_grows || grown > early / 4 + MOST_KEPT)
            .then(|| format!("memory grew from {early} KiB over {middle} KiB to {late} KiB in {} rounds", self.0.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_a_file_too_many_are_found() {
        let before = Inventory::take();
        let (mut after, mut trend) = (before.clone(), Trend::default());
        assert!(after.beyond(&before).is_empty());
        *after.threads.entry("worker-".to_owned()).or_default() += 1;
        *after.files.entry("socket".to_owned()).or_default() += 2;
        assert_eq!(after.beyond(&before).len(), 2);
        trend.0 = (0..100).map(|round| 10_000 + round * 1_000).collect();
        assert!(trend.leak().is_some());
        trend.0 = (0..100).map(|round| 30_000 + round % 7 * 1_000).collect();
        assert_eq!(trend.leak(), None);
        trend.0 = (0..100).map(|round| if round < 60 { 50_000 } else { 110_000 } + round % 7 * 1_000).collect();
        assert_eq!(trend.leak(), None, "one step");
        trend.0 = (0..100).map(|round| if round < 60 { 50_000 } else { 250_000 }).collect();
        assert!(trend.leak().is_some(), "one step that is too large");
    }
}
