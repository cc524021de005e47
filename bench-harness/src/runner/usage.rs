//! CPU time of the whole machine, and that of this program.

use super::{
    counters::{nanos_per_tick, of_this_process_tree, read, ticks_of_all_cores},
    process_tree::children_of,
};

/// CPU time that all programs of the machine have used, and that this one has with the processes that it has started, in
/// nanoseconds. `None` where the system does not tell.
pub(crate) fn used_by_all_and_own() -> Option<(u64, u64)> {
    let ticks = nanos_per_tick();
    let all = used_ticks(&read("/proc/stat"))? * ticks;
    let own = of_this_process_tree();
    let living = children_of(std::process::id());
    let living = living.into_iter().filter_map(|child| ticks_with_children(&read(&format!("/proc/{child}/stat"))));
    Some((all, own.user_cpu_ns + own.system_cpu_ns + living.sum::<u64>() * ticks))
}

fn used_ticks(stat: &str) -> Option<u64> {
    let [user, nice, system, _, _, irq, softirq, _] = ticks_of_all_cores(stat)?;
    Some(user + nice + system + irq + softirq)
}

/// CPU time of a process and of those of its children that it has waited for, in ticks.
fn ticks_with_children(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(14 - 3).take(4);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_and_stolen_time_are_not_used() {
        assert_eq!(used_ticks("cpu  1 2 4 1000 2000 8 16 4000 0 0\ncpu0 ...\n"), Some(31));
        assert_eq!(used_ticks("intr 5"), None);
        let stat = "7 (a b) c) R 1 2 3 4 5 6 7 8 9 10 100 20 3 4 5";
        assert_eq!(ticks_with_children(stat), Some(127));
    }
}
