//! How late a thread starts that another one wakes and then computes on.
//!
//! Where a core is idle, it should start there at once. But the scheduler may put it behind the thread that woke it, and move it no
//! sooner than at its next look at the balance of the cores, some milliseconds later: on guests of a hypervisor an idle core looks as
//! if its host had taken it. Then a batch of a few milliseconds takes up to twice its time on every executor.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use reports::model::Warning;

use crate::stats::nanos;

const LOOKS: usize = 15;
/// Both threads sleep before each look, and the one that wakes the other computes for no longer than this.
const SLEEP: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(20);
/// Later than waking an idle core takes anywhere.
const LATE_NS: u64 = 500_000;

/// The median over some looks, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LateStart(u64);

impl LateStart {
    /// `None` on one core, where a thread has to wait.
    pub(crate) fn look(cores: u32) -> Option<Self> {
        if cores < 2 {
            return None;
        }
        let (wake, woken) = mpsc::channel::<Instant>();
        let (tell, told) = mpsc::channel::<u64>();
        let mut late: Vec<u64> = thread::scope(|scope| {
            scope.spawn(move || {
                while let Ok(at) = woken.recv() {
                    if tell.send(nanos(at.elapsed())).is_err() {
                        break;
                    }
                }
            });
            let look = |_| {
                thread::sleep(SLEEP);
                let at = Instant::now();
                wake.send(at).ok()?;
                while at.elapsed() < LONGEST {
                    if let Ok(late) = told.try_recv() {
                        return Some(late);
                    }
                    std::hint::spin_loop();
                }
                // It may start now.
                told.recv().ok()
            };
            let late = (0..LOOKS).filter_map(look).collect();
            drop(wake);
            late
        });
        late.sort_unstable();
        late.get(late.len() / 2).copied().map(Self)
    }

    pub(crate) fn warning(self) -> Option<Warning> {
        (self.0 >= LATE_NS).then_some(Warning::LateStart { late_ns: self.0 })
    }

    pub(crate) fn fact(self) -> String {
        format!("{} after the wake-up (median)", reports::format::duration(self.0 as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_start_is_warned_of_and_a_usual_one_is_not() {
        let warning = LateStart(2_310_000).warning().unwrap().to_string();
        assert!(warning.contains("2.31 ms") && warning.contains("though another core is idle"), "{warning}");
        assert_eq!(
            (LateStart(60_000).warning(), LateStart(60_000).fact()),
            (None, "60.0 µs after the wake-up (median)".into())
        );
    }

    #[test]
    fn one_core_is_not_looked_at_and_two_give_a_figure() {
        assert_eq!(LateStart::look(1), None);
        assert!(LateStart::look(2).is_some_and(|late| late.0 > 0));
    }
}
