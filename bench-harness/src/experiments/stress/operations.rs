//! The operations of a driver.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use executor_core::{SubmitError, TaskOptions};
use workloads::Random;

use super::{
    checks::{Expect, Plan},
    draw::{below, mix, shutdown},
    driver::{Driver, Held, StressSubject},
    maps, shared, tasks,
};

/// Above this number of held tasks, the oldest are asked for their results.
const MOST_HELD: usize = 64;
#[derive(Debug, Clone, Copy)]
enum Operation {
    Submit,
    SubmitAndWait,
    SubmitMany,
    SubmitIfRoom,
    WithTimeLimit,
    WithQueueLimit,
    WithPriority,
    Panic,
    Payload,
    Partial,
    Token,
    Map,
    MapUnordered,
    IntoVec,
    TryMap,
    Cancel,
    Kill,
    WaitShortly,
    WaitForSome,
    AsCompleted,
    Callback,
    OnResult,
    Await,
    Drop,
    Settle,
    Stats,
    UserCodeInArgument,
    UserCodeInResult,
    UserCodeInConfiguration,
    LimitBehindWaiter,
    SharedBytes,
    Special,
    End,
}

use Operation as O;

/// Operations are drawn from this list, so each is as likely as it is frequent here; `End` is drawn apart, where the round
/// allows it.
const OPERATIONS: &[Operation] = &[
    O::Submit,
    O::Submit,
    O::Submit,
    O::Submit,
    O::SubmitAndWait,
    O::SubmitMany,
    O::SubmitMany,
    O::SubmitIfRoom,
    O::WithTimeLimit,
    O::WithQueueLimit,
    O::WithPriority,
    O::Panic,
    O::Payload,
    O::Partial,
    O::Token,
    O::Map,
    O::Map,
    O::MapUnordered,
    O::IntoVec,
    O::TryMap,
    O::Cancel,
    O::Cancel,
    O::Kill,
    O::WaitShortly,
    O::WaitForSome,
    O::AsCompleted,
    O::Callback,
    O::Callback,
    O::OnResult,
    O::Await,
    O::Await,
    O::Drop,
    O::Settle,
    O::Stats,
    O::UserCodeInArgument,
    O::UserCodeInResult,
    O::UserCodeInConfiguration,
    O::LimitBehindWaiter,
    O::SharedBytes,
    O::SharedBytes,
    O::Special,
    O::Special,
    O::Special,
    O::Special,
    O::Special,
];
impl<S: StressSubject> Driver<'_, S> {
    /// Performs `operations` operations, or as many as there is time for. Returns the tasks that it still holds at the end.
    /// Each operation has random numbers of its own, so that the outcome of one does not change those after it.
    pub(super) fn run(mut self, seed: u64, operations: u64, ends_early: bool, until: Instant) -> Vec<Held> {
        for number in 0..operations {
            if Instant::now() >= until || self.round.is_wrong() {
                break;
            }
            let mut random = Random::new(mix(seed, number));
            let ends = ends_early && below(&mut random, operations * 2) == 0;
            let operation = OPERATIONS[below(&mut random, OPERATIONS.len() as u64) as usize];
            let operation = if ends { O::End } else { operation };
            self.heartbeat.step(format!("operation {number}, {operation:?}"));
            self.perform(operation, &mut random);
            self.round.operations.fetch_add(1, Ordering::Relaxed);
            while self.held.len() > MOST_HELD {
                let oldest = self.held.swap_remove(0);
                self.settle(oldest);
            }
        }
        self.held
    }

    fn perform(&mut self, operation: Operation, random: &mut Random) {
        let x = random.next_u64();
        match operation {
            O::Submit => {
                let outcome = match below(random, 4) {
                    0 | 1 => self.pool.submit(tasks::quick, x),
                    2 => self.pool.submit(tasks::busy, x),
                    _ => self.pool.submit(tasks::nap, x),
                };
                self.hold(outcome, Expect::new(Plan::Answer, x), false);
            }
            O::SubmitAndWait => {
                let outcome = self.pool.submit(tasks::quick, x);
                self.hold(outcome, Expect::new(Plan::Answer, x), false);
                self.settle_last();
            }
            O::SubmitMany => self.submit_many(random),
            O::SubmitIfRoom => self.submit_if_room(x, random),
            O::WithTimeLimit => {
                let options = TaskOptions::new().timeout(Duration::from_millis(1 + below(random, 20)));
                let outcome = self.pool.submit_with(tasks::long, x, options);
                self.hold(outcome, Expect::new(Plan::Answer, x).timing_out(), false);
            }
            O::WithQueueLimit => {
                let options = TaskOptions::new().queue_timeout(Duration::from_micros(below(random, 4000)));
                let outcome = self.pool.submit_with(tasks::nap, x, options);
                self.hold(outcome, Expect::new(Plan::Answer, x).expiring(), false);
            }
            O::WithPriority => self.with_priority(x, random),
            O::Panic => {
                let outcome = self.pool.submit(tasks::panics, x);
                self.hold(outcome, Expect::new(Plan::Panic, x), false);
            }
            O::Payload => self.payload(random),
            O::Partial => self.partial(random),
            O::Token => self.token(random),
            O::Map => maps::in_order(self.pool, self.round, random),
            O::MapUnordered => maps::unordered(self.pool, self.round, random),
            O::IntoVec => maps::into_vec(self.pool, self.round, random),
            O::TryMap => maps::try_map(self.pool, self.round, random),
            O::Cancel => self.cancel(random),
            O::Kill => self.kill(random),
            O::WaitShortly => self.wait_shortly(random),
            O::WaitForSome => self.wait_for_some(random),
            O::AsCompleted => self.as_completed(random),
            O::Callback => self.callback(random),
            O::OnResult => self.on_result(random),
            O::Await => self.await_one(random),
            // Dropping detaches the tasks, which continue.
            O::Drop => drop(self.held.split_off(self.held.len() / 2)),
            O::Settle => {
                for held in std::mem::take(&mut self.held) {
                    self.settle(held);
                }
            }
            O::Stats => {
                let stats = self.pool.stats();
                self.round.require(stats.workers < 1000 && self.pool.max_workers() > 0, || format!("{stats:?}"));
            }
            O::UserCodeInArgument => self.user_code_in_argument(random),
            O::UserCodeInResult => self.user_code_in_result(random),
            O::UserCodeInConfiguration => self.user_code_in_configuration(random),
            O::LimitBehindWaiter => self.limit_behind_waiter(random),
            O::SharedBytes => shared::round_trip(self, random),
            O::Special => S::special(self, random),
            O::End => self.end(x, random),
        }
    }

    fn submit_if_room(&mut self, x: u64, random: &mut Random) {
        for number in 0..below(random, 40) {
            let (x, limit) = (x.wrapping_add(number), Duration::from_micros(below(random, 2000)));
            let outcome = match number % 4 {
                0 => self.pool.submit_timeout(tasks::quick, x, limit),
                _ => self.pool.try_submit(tasks::busy, x),
            };
            self.hold(outcome, Expect::new(Plan::Answer, x), true);
        }
    }

    fn with_priority(&mut self, x: u64, random: &mut Random) {
        for number in 0..below(random, 8) {
            let x = x.wrapping_add(number);
            let options = TaskOptions::new().priority(below(random, 5) as i32 - 2);
            let outcome = self.pool.submit_with(tasks::busy, x, options);
            self.hold(outcome, Expect::new(Plan::Answer, x), false);
        }
    }

    /// Ends the pool while other drivers still work with it.
    fn end(&self, x: u64, random: &mut Random) {
        let how = shutdown(random);
        self.round.begin_end(how);
        self.pool.shutdown(how, Some(Duration::from_millis(below(random, 20))));
        let refused = self.pool.submit(tasks::quick, x);
        self.round.require(matches!(refused, Err(SubmitError::ShutDown)), || {
            format!("a task was taken after a shutdown: {refused:?}")
        });
    }
}
