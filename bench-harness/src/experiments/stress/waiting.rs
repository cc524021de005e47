//! Operations on held tasks: waits, cancellations, kills and callbacks.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use executor_core::{ReturnWhen, as_completed, wait, wait_until};
use workloads::Random;

use super::{
    draw::below,
    driver::{Driver, StressSubject},
    tasks,
};

impl<S: StressSubject> Driver<'_, S> {
    pub(super) fn cancel(&mut self, random: &mut Random) {
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

    pub(super) fn kill(&mut self, random: &mut Random) {
        let Some((mut expect, future)) = self.take(random) else { return };
        expect.may_be_cancelled = true;
        expect.is_killed |= future.kill();
        self.held.push((expect, future));
    }

    pub(super) fn wait_shortly(&mut self, random: &mut Random) {
        let Some((expect, future)) = self.take(random) else { return };
        match future.result_timeout(Duration::from_micros(below(random, 3000))) {
            Ok(outcome) => self.round.check(&expect, &outcome),
            Err(future) => self.held.push((expect, future)),
        }
    }

    pub(super) fn wait_for_some(&mut self, random: &mut Random) {
        let some = self.take_some(random);
        let count = some.len();
        let timeout = (below(random, 3) > 0).then(|| Duration::from_micros(below(random, 5000)));
        let when = [ReturnWhen::FirstCompleted, ReturnWhen::FirstError, ReturnWhen::AllCompleted];
        let when = when[below(random, 3) as usize];
        let waited = match below(random, 4) {
            0 => wait_until(some, timeout, |(expect, _)| expect.argument.is_multiple_of(3)),
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

    pub(super) fn as_completed(&mut self, random: &mut Random) {
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

    pub(super) fn callback(&mut self, random: &mut Random) {
        let Some((expect, future)) = self.take(random) else { return };
        let (round, called) = (Arc::clone(self.round), AtomicBool::new(false));
        let (kind, weak, id) = (below(random, 8), Arc::downgrade(self.pool), future.id());
        self.round.callbacks.add();
        future.add_done_callback(move |completed| {
            round.require(!called.swap(true, Ordering::SeqCst), || "a callback was called twice".to_owned());
            round.require(completed.id() == id, || "a callback was told of another task".to_owned());
            round.callbacks.called();
            match kind {
                // This may have to wait for space, or find the pool ended.
                0 => drop(weak.upgrade().map(|pool| pool.submit(tasks::quick, 1).map(drop))),
                1 => panic!("stress: a callback that panics"),
                // The delay is the scenario.
                2 => thread::sleep(Duration::from_millis(3)),
                _ => {}
            }
        });
        self.held.push((expect, future));
    }

    pub(super) fn on_result(&mut self, random: &mut Random) {
        let Some((expect, future)) = self.take(random) else { return };
        let round = Arc::clone(self.round);
        self.round.callbacks.add();
        future.on_result(move |outcome| {
            round.check(&expect, &outcome);
            round.callbacks.called();
        });
    }

    pub(super) fn await_one(&mut self, random: &mut Random) {
        let Some((expect, mut future)) = self.take(random) else { return };
        match below(random, 4) {
            // Polled once, and then waited for by other means or dropped.
            0 => match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => self.round.check(&expect, &outcome),
                Poll::Pending => self.held.push((expect, future)),
            },
            _ => self.round.check(&expect, &block_on(future)),
        }
    }
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
