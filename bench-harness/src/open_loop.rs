//! Latency at a chosen load, measured in the process that was started for it.
//!
//! A closed loop sends the next request when the last one is answered: when the executor is slow, fewer requests are sent, and the
//! long waits are left out of the figures (Tene, "How NOT to Measure Latency", 2013, calls it coordinated omission). In an open
//! loop requests come at times of their own. They are drawn beforehand (exponential gaps: a Poisson process), and a latency begins
//! at the time that was drawn, even if the request was sent late.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, Payload, Shutdown, Task, TaskError};
use serde::{Deserialize, Serialize};
use workloads::Random;

use crate::{
    cell::CellSpec,
    error::LabError,
    executors::{AnyExecutor, Kind},
    stats::nanos,
};

/// A sample, as it is sent to the child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OpenLoopSpec {
    pub(crate) cell: CellSpec,
    /// Share of the closed loop's throughput.
    pub(crate) load: f64,
    pub(crate) seed: u64,
    /// The time of each loop.
    pub(crate) time: Duration,
}

/// The output of the child process. Latencies are in nanoseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OpenLoop {
    /// Requests per second of the closed loop.
    pub(crate) capacity_per_s: f64,
    pub(crate) closed: Vec<u64>,
    pub(crate) open: Vec<u64>,
    /// Mean number of requests in flight, as those that arrived have found them.
    pub(crate) in_flight: f64,
    /// What it must be by Little's law: the rate times the mean time from submit to end.
    pub(crate) in_flight_due: f64,
    pub(crate) failed: u64,
}

/// The most requests of one loop: each keeps its future.
const MOST: u64 = 100_000;

/// Runs both loops, with the items in turn.
pub(crate) fn measure<I, F, M>(
    spec: &OpenLoopSpec,
    task: F,
    items: Vec<I>,
    failure: impl Fn(&F::Output) -> bool + Sync,
) -> Result<OpenLoop, LabError>
where
    I: Payload,
    F: Task<I, M>,
    F::Output: Payload,
    M: 'static,
{
    if items.is_empty() {
        return Err(LabError::Sample("there is nothing to request".to_owned()));
    }
    // An item is requested many times, and need not be `Clone`. One that cannot be read back would be no request at all.
    let encode = |item: &I| {
        let refused = |error| LabError::Sample(format!("an item cannot be sent: {error}"));
        let bytes = postcard::to_stdvec(item).map_err(refused)?;
        postcard::from_bytes::<I>(&bytes).map_err(refused)?;
        Ok(bytes)
    };
    let items = items.iter().map(encode).collect::<Result<Vec<_>, LabError>>()?;
    let loops = Loops { spec, task: &task, items: &items, failure, marker: PhantomData };
    if !Kind::pools().any(|kind| kind == spec.cell.executor) {
        return Err(LabError::Sample(format!("{} keeps no workers", spec.cell.executor)));
    }
    Ok(loops.both(&AnyExecutor::start(spec.cell.executor, spec.cell.workers as usize)?))
}

struct Loops<'a, I, F, M, A> {
    spec: &'a OpenLoopSpec,
    task: &'a F,
    items: &'a [Vec<u8>],
    failure: A,
    marker: PhantomData<fn(I) -> M>,
}

impl<I, F, M, A> Loops<'_, I, F, M, A>
where
    I: Payload,
    F: Task<I, M>,
    F::Output: Payload,
    M: 'static,
    A: Fn(&F::Output) -> bool + Sync,
{
    fn both(&self, executor: &AnyExecutor) -> OpenLoop {
        // Workers start, connections are made, and every code path is taken once.
        self.closed(executor, self.spec.time / 10);
        let (closed, elapsed, failed) = self.closed(executor, self.spec.time);
        let capacity_per_s = closed.len() as f64 / elapsed.as_secs_f64();
        let open = self.open(executor, self.spec.load * capacity_per_s);
        OpenLoop { capacity_per_s, closed, failed: failed + open.failed, ..open }
    }

    /// `None` for an item that cannot be read back.
    fn item(&self, number: u64) -> Option<I> {
        postcard::from_bytes(&self.items[(number % self.items.len() as u64) as usize]).ok()
    }

    fn is_good<E>(&self, answer: &Result<Result<F::Output, TaskError>, E>) -> bool {
        matches!(answer, Ok(Ok(answer)) if !(self.failure)(answer))
    }

    /// One client for each worker. Returns the latencies, the time of all, and the number of failures.
    fn closed(&self, executor: &AnyExecutor, time: Duration) -> (Vec<u64>, Duration, u64) {
        // ORDERING: these counters publish no other data.
        let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        let start = Instant::now();
        let client = || {
            let mut latencies = Vec::new();
            while start.elapsed() < time || latencies.is_empty() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MOST {
                    break;
                }
                let Some(item) = self.item(number) else { break };
                let begin = Instant::now();
                let answer = executor.submit(self.task.clone(), item).map(|future| future.result());
                latencies.push(nanos(begin.elapsed()));
                failed.fetch_add(u64::from(!self.is_good(&answer)), Ordering::Relaxed);
            }
            latencies
        };
        let latencies = thread::scope(|scope| {
            let clients: Vec<_> = (0..executor.max_workers()).map(|_| scope.spawn(client)).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap_or_default()).collect()
        });
        (latencies, start.elapsed(), failed.into_inner())
    }

    /// Requests at times that are drawn before.
    fn open(&self, executor: &AnyExecutor, rate: f64) -> OpenLoop {
        let due = arrivals(rate, self.spec.time, self.spec.seed);
        let ends: Arc<[AtomicU64]> = due.iter().map(|_| AtomicU64::new(0)).collect();
        let in_flight = Arc::new(AtomicU64::new(0));
        let (mut futures, mut sent, mut found) = (Vec::new(), Vec::new(), 0);
        let start = Instant::now();
        for (number, due) in due.iter().enumerate() {
            let Some(item) = self.item(number as u64) else { break };
            thread::sleep(due.saturating_sub(start.elapsed()));
            // ORDERING: the counter publishes no other data.
            found += in_flight.load(Ordering::Relaxed);
            sent.push(nanos(start.elapsed()));
            let future = executor.submit(self.task.clone(), item);
            if let Ok(future) = &future {
                let counted = Counted::begin(&in_flight);
                let ends = Arc::clone(&ends);
                future.add_done_callback(move |_| {
                    // ORDERING: publishes no other data. That all are there is known by the shutdown, which waits for callbacks.
                    ends[number].store(nanos(start.elapsed()), Ordering::Relaxed);
                    drop(counted);
                });
            }
            futures.push(future);
        }
        let answers = futures.into_iter().map(|future| future.map(|future| future.result()));
        let failed = answers.filter(|answer| !self.is_good(answer)).count() as u64;
        executor.shutdown(Shutdown::Drain, None);
        let ends: Vec<u64> = ends.iter().map(|end| end.load(Ordering::Relaxed)).collect();
        let served = sent.iter().zip(&ends).map(|(sent, end)| end.saturating_sub(*sent)).sum::<u64>() as f64;
        OpenLoop {
            capacity_per_s: 0.0,
            closed: Vec::new(),
            // What was not taken has no end, and has failed.
            open: ends
                .iter()
                .zip(&due)
                .filter(|(end, _)| **end > 0)
                .map(|(end, due)| end.saturating_sub(nanos(*due)))
                .collect(),
            in_flight: found as f64 / due.len().max(1) as f64,
            in_flight_due: served / nanos(self.spec.time) as f64,
            failed,
        }
    }
}

/// A request in flight.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn begin(count: &Arc<AtomicU64>) -> Self {
        // ORDERING: the counter publishes no other data.
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The times of a Poisson process of `rate` per second, for so long.
fn arrivals(rate: f64, time: Duration, seed: u64) -> Vec<Duration> {
    let mut random = Random::new(seed);
    let mut at = 0.0;
    let times = std::iter::from_fn(|| {
        // Uniform in (0, 1]: its logarithm is finite.
        let uniform = (random.next_u64() >> 11) as f64 + 1.0;
        at -= (uniform / (1_u64 << 53) as f64).ln() / rate;
        (at < time.as_secs_f64()).then(|| Duration::from_secs_f64(at))
    });
    times.take(MOST as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{executors::Kind, work::Work};

    fn spec(executor: Kind, load: f64) -> OpenLoopSpec {
        let (work, data) = (Work::own("test"), std::path::PathBuf::new());
        let cell = CellSpec { work, executor, workers: 2, data, input: None };
        OpenLoopSpec { cell, load, seed: 1, time: Duration::from_millis(300) }
    }

    fn pause(millis: u64) -> u64 {
        thread::sleep(Duration::from_millis(millis));
        millis
    }

    #[test]
    fn arrivals_have_the_rate_and_the_gaps_of_a_poisson_process() {
        let time = Duration::from_secs(100);
        let times = arrivals(500.0, time, 3);
        assert!(times.is_sorted() && times.iter().all(|at| *at < time));
        assert!((times.len() as f64 / 50_000.0 - 1.0).abs() < 0.02, "{}", times.len());
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let longer = gaps.iter().filter(|gap| **gap > 2.0 / 500.0).count() as f64 / gaps.len() as f64;
        assert!(
            (longer - (-2.0_f64).exp()).abs() < 0.01,
            "an exponential gap is longer than two means in e^-2: {longer}"
        );
    }

    #[test]
    fn every_request_of_both_loops_has_a_latency_and_failures_are_counted() {
        let measured = measure(&spec(Kind::Thread, 0.5), pause, vec![1, 3], |answer| *answer == 3).unwrap();
        assert!(measured.closed.len() >= 2 && measured.open.len() >= 2, "{measured:?}");
        let least = measured.closed.iter().chain(&measured.open).min().unwrap();
        assert!(*least >= 1_000_000, "no request is answered before its task has run: {least}");
        let all = (measured.closed.len() + measured.open.len()) as u64;
        assert!(measured.failed >= all / 3 && measured.failed < all, "{} of {all}", measured.failed);
        assert!(measured.in_flight_due > 0.0);
    }

    #[test]
    fn of_more_than_an_executor_can_do_the_open_loop_shows_the_wait_and_the_closed_one_does_not() {
        let measured = measure(&spec(Kind::Thread, 4.0), pause, vec![2], |_| false).unwrap();
        // At four times the capacity three of four requests are still queued when the last one comes.
        let median =
            |latencies: &[u64]| crate::stats::median(&latencies.iter().map(|ns| *ns as f64).collect::<Vec<_>>());
        assert!(median(&measured.open) > 4.0 * median(&measured.closed), "{measured:?}");
    }

    #[test]
    fn nothing_to_request_is_an_error() {
        assert!(measure(&spec(Kind::Thread, 0.5), pause, Vec::new(), |_| false).is_err());
    }

    #[test]
    fn an_item_that_cannot_be_read_back_is_an_error_and_no_request() {
        /// A Boolean that writes itself as 7.
        #[derive(Deserialize)]
        struct Odd(#[serde(rename = "it")] bool);
        impl Serialize for Odd {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u8(7)
            }
        }
        let error = measure(&spec(Kind::Thread, 0.5), |odd: Odd| odd.0, vec![Odd(true)], |_| false).unwrap_err();
        assert!(error.to_string().contains("cannot be sent"), "{error}");
    }

    #[test]
    fn an_executor_that_keeps_no_workers_has_no_closed_loop() {
        let error = measure(&spec(Kind::Serial, 0.5), pause, vec![1], |_| false).unwrap_err();
        assert!(error.to_string().contains("serial"), "{error}");
    }
}
