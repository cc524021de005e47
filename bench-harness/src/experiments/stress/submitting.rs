//! Tasks of many kinds, each with its expected outcome.

use std::time::Duration;

use executor_core::{CancelToken, TaskFuture, TaskOptions, partial};
use workloads::Random;

use super::{
    checks::{Expect, Plan},
    draw::below,
    driver::{Driver, StressSubject},
    maps,
    tasks::{self, answer},
    user_code::{self, Mood, UserValue},
};

impl<S: StressSubject> Driver<'_, S> {
    pub(super) fn submit_many(&mut self, random: &mut Random) {
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

    pub(super) fn payload(&mut self, random: &mut Random) {
        let size = if below(random, 8) == 0 { 3 << 20 } else { below(random, 100_000) };
        let bytes: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
        let expected: Vec<u8> = bytes.iter().map(|byte| !*byte).collect();
        match self.pool.submit(tasks::invert, bytes).map(TaskFuture::result) {
            Ok(Ok(answer)) => self.round.require(answer == expected, || format!("{size} bytes came back wrong")),
            Ok(Err(error)) => maps::check_error(self.round, &error),
            Err(error) => self.round.check_refusal(error, false),
        }
    }

    pub(super) fn partial(&mut self, random: &mut Random) {
        let offset = random.next_u64();
        let padding = vec![7; below(random, 10_000) as usize];
        let shift = offset.wrapping_add(padding.len() as u64);
        let task = partial(tasks::configured, tasks::Config { offset, padding });
        for x in 0..below(random, 12) {
            let outcome = self.pool.submit(task.clone(), x);
            self.hold(outcome, Expect::new(Plan::Answer, x.wrapping_add(shift)), false);
        }
    }

    pub(super) fn token(&mut self, random: &mut Random) {
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

    /// An argument whose own code misbehaves.
    pub(super) fn user_code_in_argument(&mut self, random: &mut Random) {
        let (x, mood) = (random.next_u64(), Mood::draw(random));
        let outcome = self.pool.submit(user_code::take, UserValue { x, mood });
        self.hold(outcome, Expect::new(Plan::UserCode(mood), x), false);
    }

    /// A result whose own code misbehaves.
    pub(super) fn user_code_in_result(&mut self, random: &mut Random) {
        let (x, mood) = (random.next_u64(), Mood::draw(random));
        match self.pool.submit(user_code::give, (x, mood)).map(TaskFuture::result) {
            Ok(outcome) => {
                self.round.check(&Expect::new(Plan::UserCode(mood), x), &outcome.map(|value| value.x));
            }
            Err(error) => self.round.check_refusal(error, false),
        }
    }

    /// A configuration of several tasks whose own code misbehaves; now and then one that ends the workers that read it.
    pub(super) fn user_code_in_configuration(&mut self, random: &mut Random) {
        let (shift, mut mood) = (random.next_u64(), Mood::draw(random));
        if self.round.hazards.kills && below(random, 4) == 0 {
            mood = Mood::AbortsWhenRead;
        }
        let task = partial(user_code::configured, UserValue { x: shift, mood });
        for x in 0..below(random, 6) {
            let outcome = self.pool.submit(task.clone(), x);
            self.hold(outcome, Expect::new(Plan::UserCode(mood), x.wrapping_add(shift)), false);
        }
    }

    /// The clock of a task starts even if the thread that takes the answer before it starts no other task.
    pub(super) fn limit_behind_waiter(&mut self, random: &mut Random) {
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
        // On a thread the task runs until it sees the token.
        token.cancel();
    }
}
