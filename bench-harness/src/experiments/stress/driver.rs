//! A driver: one thread that performs the operations on an executor that its seed gives, and checks their outcomes.

use std::sync::Arc;

use executor_core::{Executor, SubmitError, TaskFuture};
use workloads::Random;

use super::{
    checks::{Expect, Round, Tally},
    draw::below,
    watchdog::Heartbeat,
};
use crate::error::LabError;

/// A task whose result is still to be asked for.
pub(super) type Held = (Expect, TaskFuture<u64>);
/// A pool built for one round.
pub(super) struct Built<S> {
    pub(super) pool: S,
    pub(super) round: Arc<Round>,
    /// Set where the pool has an observer.
    pub(super) tally: Option<Arc<Tally>>,
    pub(super) about: String,
}

/// An executor under stress.
pub(super) trait StressSubject: Executor + Send + Sync + Sized + 'static {
    /// `submit` runs the task.
    const RUNS_AT_ONCE: bool = false;

    /// Tells apart executors of one type.
    type Variant: Copy;

    /// Builds a new executor with random settings.
    fn build(variant: Self::Variant, random: &mut Random) -> Result<Built<Self>, LabError>;

    /// Performs an operation that only this executor has.
    fn special(driver: &mut Driver<'_, Self>, random: &mut Random);

    /// More about its state, for the report of a hang.
    fn details(&self) -> String {
        String::new()
    }
}

pub(super) struct Driver<'a, S: StressSubject> {
    pub(super) pool: &'a Arc<S>,
    pub(super) round: &'a Arc<Round>,
    pub(super) heartbeat: Heartbeat,
    pub(super) held: Vec<Held>,
}

impl<S: StressSubject> Driver<'_, S> {
    pub(super) fn hold(&mut self, outcome: Result<TaskFuture<u64>, SubmitError>, expect: Expect, may_be_full: bool) {
        match outcome {
            Ok(future) => self.held.push((expect, future)),
            Err(error) => self.round.check_refusal(error, may_be_full),
        }
    }

    pub(super) fn settle(&self, (expect, future): Held) {
        self.round.check(&expect, &future.result());
    }

    pub(super) fn settle_last(&mut self) {
        if let Some(held) = self.held.pop() {
            self.settle(held);
        }
    }

    /// Takes out a random held task.
    pub(super) fn take(&mut self, random: &mut Random) -> Option<Held> {
        let place = below(random, self.held.len() as u64) as usize;
        (!self.held.is_empty()).then(|| self.held.swap_remove(place))
    }

    /// Takes out the last few held tasks.
    pub(super) fn take_some(&mut self, random: &mut Random) -> Vec<Held> {
        let count = below(random, 16) as usize;
        self.held.split_off(self.held.len().saturating_sub(count))
    }
}
