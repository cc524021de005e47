//! An actor: one thread that does to an executor what its seed says, and checks what comes of it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use executor_core::{
    CancelToken, ReturnWhen, Shutdown, SubmitError, TaskFuture, TaskOptions, as_completed, partial, wait,
    wait_until_any,
};
use workloads::Random;

use super::{
    checks::{Expect, Plan, Round},
    foreign::{self, Foreign, Mood},
    maps, shared,
    subject::Subject,
    tasks::{self, answer},
    watch::Post,
};

/// A task that nobody has asked for its result yet.
pub(super) type Held = (Expect, TaskFuture<u64>);

/// More than this and the oldest are asked for their results.
const MOST_HELD: usize = 64;

/// A number below `limit`, which is small.
pub(super) fn below(random: &mut Random, limit: u64) -> u64 {
    random.next_u64() % limit.max(1)
}

/// A seed below another one.
pub(super) fn mix(seed: u64, number: u64) -> u64 {
    answer(seed ^ answer(number))
}

pub(super) struct Actor<'a, S: Subject> {
    pub(super) pool: &'a Arc<S>,
    pub(super) round: &'a Arc<Round>,
    pub(super) post: Post,
    pub(super) held: Vec<Held>,
}

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
    Foreign,
    ForeignBack,
    ForeignConfig,
    LimitBehindWaiter,
    SharedBytes,
    Special,
    End,
}

use Operation as O;

/// Each as often as it is here; `End` only where the round allows it.
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
    O::Foreign,
    O::ForeignBack,
    O::ForeignConfig,
    O::LimitBehindWaiter,
    O::SharedBytes,
    O::SharedBytes,
    O::Special,
    O::Special,
    O::Special,
    O::Special,
    O::Special,
];

impl<S: Subject> Actor<'_, S> {
    /// Does so many operations, or as many as there is time for; what it still holds at the end. Each has random numbers of
    /// its own, so that what happens in one changes nothing in those after it.
    pub(super) fn run(mut self, seed: u64, operations: u64, ends_early: bool, until: Instant) -> Vec<Held> {
        for number in 0..operations {
            if Instant::now() >= until || self.round.is_wrong() {
                break;
            }
            let mut random = Random::new(mix(seed, number));
            let ends = ends_early && below(&mut random, operations * 2) == 0;
            let operation = OPERATIONS[below(&mut random, OPERATIONS.len() as u64) as usize];
            let operation = if ends { O::End } else { operation };
            self.post.step(format!("operation {number}, {operation:?}"));
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
            O::SubmitIfRoom => {
                for number in 0..below(random, 40) {
                    let (x, limit) = (x.wrapping_add(number), Duration::from_micros(below(random, 2000)));
                    let outcome = match number % 4 {
                        0 => self.pool.submit_timeout(tasks::quick, x, limit),
                        _ => self.pool.try_submit(tasks::busy, x),
                    };
                    self.hold(outcome, Expect::new(Plan::Answer, x), true);
                }
            }
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
            O::WithPriority => {
                for number in 0..below(random, 8) {
                    let x = x.wrapping_add(number);
                    let options = TaskOptions::new().priority(below(random, 5) as i32 - 2);
                    let outcome = self.pool.submit_with(tasks::busy, x, options);
                    self.hold(outcome, Expect::new(Plan::Answer, x), false);
                }
            }
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
            // Detaches the tasks, which go on.
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
            O::Foreign => self.foreign(random),
            O::ForeignBack => self.foreign_back(random),
            O::ForeignConfig => self.foreign_config(random),
            O::LimitBehindWaiter => self.limit_behind_waiter(random),
            O::SharedBytes => shared::round_trip(self, random),
            O::Special => S::special(self, random),
            O::End => {
                let how = shutdown(random);
                self.round.begin_end(how);
                self.pool.shutdown(how, Some(Duration::from_millis(below(random, 20))));
                let refused = self.pool.submit(tasks::quick, x);
                self.round.require(matches!(refused, Err(SubmitError::ShutDown)), || {
                    format!("a task was taken after a shutdown: {refused:?}")
                });
            }
        }
    }

    pub(super) fn hold(&mut self, outcome: Result<TaskFuture<u64>, SubmitError>, expect: Expect, may_be_full: bool) {
        match outcome {
            Ok(future) => self.held.push((expect, future)),
            Err(error) => self.round.check_refusal(error, may_be_full),
        }
    }

    fn settle(&self, (expect, future): Held) {
        self.round.check(&expect, &future.result());
    }

    pub(super) fn settle_last(&mut self) {
        if let Some(held) = self.held.pop() {
            self.settle(held);
        }
    }

    /// Takes one of those held out.
    fn take(&mut self, random: &mut Random) -> Option<Held> {
        let place = below(random, self.held.len() as u64) as usize;
        (!self.held.is_empty()).then(|| self.held.swap_remove(place))
    }

    /// Takes the last few out.
    fn take_some(&mut self, random: &mut Random) -> Vec<Held> {
        let count = below(random, 16) as usize;
        self.held.split_off(self.held.len().saturating_sub(count))
    }

    fn submit_many(&mut self, random: &mut Random) {
        let first = random.next_u64();
        let count = below(random, 100);
        let args = || (0..count).map(|number| first.wrapping_add(number));
        let outcome = match below(random, 3) {
            0 => self.pool.submit_many(tasks::quick, args()),
            _ => self.pool.submit_many(tasks::busy, args()),
        };
        match outcome {
            Ok(futures) => {
                self.round.require(futures.len() as u64 == count, || "submit_many lost a future".to_owned());
                self.held.extend(args().map(|x| Expect::new(Plan::Answer, x)).zip(futures));
            }
            Err(error) => self.round.check_refusal(error, false),
        }
    }

    fn payload(&mut self, random: &mut Random) {
        let size = if below(random, 8) == 0 { 3 << 20 } else { below(random, 100_000) };
        let bytes: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
        let expected: Vec<u8> = bytes.iter().map(|byte| !*byte).collect();
        match self.pool.submit(tasks::invert, bytes).map(TaskFuture::result) {
            Ok(Ok(answer)) => self.round.require(answer == expected, || format!("{size} bytes came back wrong")),
            Ok(Err(error)) => maps::check_error(self.round, &error),
            Err(error) => self.round.check_refusal(error, false),
        }
    }

    fn partial(&mut self, random: &mut Random) {
        let offset = random.next_u64();
        let padding = vec![7; below(random, 10_000) as usize];
        let shift = offset.wrapping_add(padding.len() as u64);
        let task = partial(tasks::configured, tasks::Config { offset, padding });
        for x in 0..below(random, 12) {
            let outcome = self.pool.submit(task.clone(), x);
            self.hold(outcome, Expect::new(Plan::Answer, x.wrapping_add(shift)), false);
        }
    }

    fn token(&mut self, random: &mut Random) {
        let x = random.next_u64();
        let token = CancelToken::new();
        if S::RUNS_AT_ONCE {
            token.cancel();
        }
        let outcome = self.pool.submit(tasks::until_cancelled, (token.child(), x));
        token.cancel();
        match outcome.map(TaskFuture::result) {
            Ok(Ok(seen)) => self.round.require(seen == Some(answer(x)), || format!("a token was not seen: {seen:?}")),
            Ok(Err(error)) => maps::check_error(self.round, &error),
            Err(error) => self.round.check_refusal(error, false),
        }
    }

    /// An argument that gets in the way.
    fn foreign(&mut self, random: &mut Random) {
        let (x, mood) = (random.next_u64(), Mood::draw(random));
        let outcome = self.pool.submit(foreign::take, Foreign { x, mood });
        self.hold(outcome, Expect::new(Plan::Foreign(mood), x), false);
    }

    /// A result that gets in the way.
    fn foreign_back(&mut self, random: &mut Random) {
        let (x, mood) = (random.next_u64(), Mood::draw(random));
        match self.pool.submit(foreign::give, (x, mood)).map(TaskFuture::result) {
            Ok(outcome) => {
                self.round.check(&Expect::new(Plan::Foreign(mood), x), &outcome.map(|foreign| foreign.x));
            }
            Err(error) => self.round.check_refusal(error, false),
        }
    }

    /// A configuration that gets in the way, of several tasks; now and then one that ends the workers that read it.
    fn foreign_config(&mut self, random: &mut Random) {
        let (shift, mut mood) = (random.next_u64(), Mood::draw(random));
        if self.round.hazards.kills && below(random, 4) == 0 {
            mood = Mood::AbortsWhenRead;
        }
        let task = partial(foreign::configured, Foreign { x: shift, mood });
        for x in 0..below(random, 6) {
            let outcome = self.pool.submit(task.clone(), x);
            self.hold(outcome, Expect::new(Plan::Foreign(mood), x.wrapping_add(shift)), false);
        }
    }

    /// The clock of a task starts although the thread that takes the answer before it starts nothing else.
    fn limit_behind_waiter(&mut self, random: &mut Random) {
        if S::RUNS_AT_ONCE {
            return;
        }
        let x = random.next_u64();
        for number in 0..below(random, 4) {
            let outcome = self.pool.submit(tasks::quick, number);
            self.hold(outcome, Expect::new(Plan::Answer, number), false);
            self.settle_last();
        }
        let before = self.pool.submit(tasks::busy, x);
        let token = CancelToken::new();
        let options = TaskOptions::new().timeout(Duration::from_millis(below(random, 6)));
        let limited = self.pool.submit_with(tasks::until_cancelled, (token.child(), x), options);
        self.hold(before, Expect::new(Plan::Answer, x), false);
        self.settle_last();
        match limited.map(TaskFuture::result) {
            Ok(Ok(seen)) => self.round.wrong(format!("a time limit was not kept: {seen:?}")),
            Ok(Err(error)) => {
                let expect = Expect::new(Plan::Answer, x).timing_out();
                self.round.require(self.round.explains(&expect, &error), || format!("for no reason: {error:?}"));
            }
            Err(error) => self.round.check_refusal(error, false),
        }
        // On a thread it goes on until it is told.
        token.cancel();
    }

    fn cancel(&mut self, random: &mut Random) {
        for _ in 0..=below(random, 4) {
            let Some((mut expect, future)) = self.take(random) else { return };
            expect.may_be_cancelled = true;
            if future.cancel() {
                expect.is_cancelled = true;
                self.round.require(future.done() && future.cancelled(), || "a cancelled future is not done".to_owned());
            }
            self.held.push((expect, future));
        }
    }

    fn kill(&mut self, random: &mut Random) {
        let Some((mut expect, future)) = self.take(random) else { return };
        expect.may_be_cancelled = true;
        expect.is_killed |= future.kill();
        self.held.push((expect, future));
    }

    fn wait_shortly(&mut self, random: &mut Random) {
        let Some((expect, future)) = self.take(random) else { return };
        match future.result_timeout(Duration::from_micros(below(random, 3000))) {
            Ok(outcome) => self.round.check(&expect, &outcome),
            Err(future) => self.held.push((expect, future)),
        }
    }

    fn wait_for_some(&mut self, random: &mut Random) {
        let some = self.take_some(random);
        let count = some.len();
        let timeout = (below(random, 3) > 0).then(|| Duration::from_micros(below(random, 5000)));
        let when = [ReturnWhen::FirstCompleted, ReturnWhen::FirstError, ReturnWhen::AllCompleted];
        let when = when[below(random, 3) as usize];
        let waited = match below(random, 4) {
            0 => wait_until_any(some, timeout, |(expect, _)| expect.argument.is_multiple_of(3)),
            _ => wait(some, timeout, when),
        };
        let (done, not_done) = (waited.done, waited.not_done);
        self.round.require(done.len() + not_done.len() == count, || "wait lost a future".to_owned());
        self.round.require(timeout.is_some() || count == 0 || !done.is_empty(), || {
            "wait without a limit returned with nothing done".to_owned()
        });
        for held in done {
            self.round.require(held.1.done(), || "wait says that a future is done, and it is not".to_owned());
            self.settle(held);
        }
        self.held.extend(not_done);
    }

    fn as_completed(&mut self, random: &mut Random) {
        let mut some = self.take_some(random);
        let total = some.len();
        let late = some.pop();
        let timeout = (below(random, 3) > 0).then(|| Duration::from_micros(below(random, 5000)));
        let mut done = as_completed(some, timeout);
        if let Some(late) = late {
            done.add(late);
        }
        let mut yielded = 0;
        for next in done.by_ref() {
            let Ok(held) = next else { break };
            yielded += 1;
            self.round.require(held.1.done(), || "as_completed yields a future that is not done".to_owned());
            self.round.check(&held.0, &held.1.result());
        }
        let pending = done.into_pending();
        self.round.require(yielded + pending.len() == total, || "as_completed lost a future".to_owned());
        self.round.require(timeout.is_some() || pending.is_empty(), || "as_completed ended too soon".to_owned());
        self.held.extend(pending);
    }

    fn callback(&mut self, random: &mut Random) {
        let Some((expect, future)) = self.take(random) else { return };
        let (round, called) = (Arc::clone(self.round), AtomicBool::new(false));
        let (kind, weak, id) = (below(random, 8), Arc::downgrade(self.pool), future.id());
        self.round.callbacks.add();
        future.add_done_callback(move |completed| {
            round.require(!called.swap(true, Ordering::SeqCst), || "a callback was called twice".to_owned());
            round.require(completed.id() == id, || "a callback was told of another task".to_owned());
            round.callbacks.called();
            match kind {
                // May have to wait for space, or find the pool ended.
                0 => drop(weak.upgrade().map(|pool| pool.submit(tasks::quick, 1).map(drop))),
                1 => panic!("stress: a callback that panics"),
                // Slow: that is the scenario.
                2 => thread::sleep(Duration::from_millis(3)),
                _ => {}
            }
        });
        self.held.push((expect, future));
    }

    fn on_result(&mut self, random: &mut Random) {
        let Some((expect, future)) = self.take(random) else { return };
        let round = Arc::clone(self.round);
        self.round.callbacks.add();
        future.on_result(move |outcome| {
            round.check(&expect, &outcome);
            round.callbacks.called();
        });
    }

    fn await_one(&mut self, random: &mut Random) {
        let Some((expect, mut future)) = self.take(random) else { return };
        match below(random, 4) {
            // Polled, and then waited for in another way or dropped.
            0 => match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => self.round.check(&expect, &outcome),
                Poll::Pending => self.held.push((expect, future)),
            },
            _ => self.round.check(&expect, &block_on(future)),
        }
    }
}

/// One of the ways to end a pool.
pub(super) fn shutdown(random: &mut Random) -> Shutdown {
    [Shutdown::Drain, Shutdown::CancelQueued, Shutdown::Kill][below(random, 3) as usize]
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest async runtime.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
