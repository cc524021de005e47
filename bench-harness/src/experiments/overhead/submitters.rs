//! 16 threads that submit at once, against one thread: the cost of contention for a task.

use std::{sync::Barrier, thread, time::Instant};

use reports::{model::Reason, overhead::Unit};

use super::{
    Sizes,
    contenders::with_contender,
    measurement::{Probe, Reading},
    throughput::{speed, submit_then_collect},
};
use crate::contender::{Contender, ContenderVisit};

const THREADS: u32 = 16;
pub(super) const QUANTITY: &str = "16 threads / 1 thread, time per task";

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let (one, many) = with_contender(probe.subject, probe.workers, Rounds(probe.sizes))??;
    let per_task = |rates: &[f64]| rates.iter().map(|rate| 1e9 / rate).collect::<Vec<_>>();
    let ratios = one.iter().zip(&many).map(|(one, many)| one / many).collect();
    Ok(vec![
        Reading::new(probe.subject, "1 thread, per task", Unit::Nanoseconds, per_task(&one)),
        Reading::new(probe.subject, "16 threads, per task", Unit::Nanoseconds, per_task(&many)),
        Reading::new(probe.subject, QUANTITY, Unit::Ratio, ratios),
    ])
}

struct Rounds(Sizes);

impl ContenderVisit for Rounds {
    type Output = Result<(Vec<f64>, Vec<f64>), Reason>;

    fn visit<C: Contender>(self, contender: &C) -> Self::Output {
        let sizes = self.0;
        // Equally many tasks for each thread, and their sum for the one thread.
        let each = (sizes.tasks(speed(contender)?) / THREADS).max(1);
        let (mut one, mut many) = (Vec::new(), Vec::new());
        for round in 0..sizes.rounds {
            // The order changes from round to round.
            if round % 2 == 0 {
                one.push(submit_then_collect(contender, each * THREADS)?);
                many.push(at_once(contender, each)?);
            } else {
                many.push(at_once(contender, each)?);
                one.push(submit_then_collect(contender, each * THREADS)?);
            }
        }
        Ok((one, many))
    }
}

/// Tasks per second of all threads together. Each thread collects the results of its own tasks.
fn at_once<C: Contender>(contender: &C, each: u32) -> Result<f64, Reason> {
    let (start, end) = (Barrier::new(THREADS as usize + 1), Barrier::new(THREADS as usize + 1));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let outcome = submit_then_collect(contender, each);
                    end.wait();
                    outcome
                })
            })
            .collect();
        start.wait();
        let begun = Instant::now();
        end.wait();
        let elapsed = begun.elapsed();
        for thread in threads {
            thread.join().map_err(|_| "a submitting thread panicked".to_owned())??;
        }
        Ok(f64::from(each * THREADS) / elapsed.as_secs_f64())
    })
}
