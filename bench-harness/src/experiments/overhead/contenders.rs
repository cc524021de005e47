//! The executors of executor-core as contenders, beside those of other projects.

use executor_core::{Executor, TaskFuture};

use super::measurement::Subject;
use crate::{
    contender::{Contender, ContenderVisit},
    error::chain,
    executors::{Visit, with_pool},
    peers,
};

/// Builds an executor with its workers ready, and passes it to `visit`.
pub(super) fn with_contender<V: ContenderVisit>(
    subject: Subject,
    workers: usize,
    visit: V,
) -> Result<V::Output, String> {
    match subject {
        Subject::Lab(kind) => with_pool(kind, workers, AsContender(visit)).map_err(|error| chain(&error)),
        Subject::Peer(peer) => peers::with_peer(peer, workers, visit),
        Subject::Baseline(baseline) => Err(format!("{} takes no tasks", baseline.name())),
    }
}

struct AsContender<V>(V);

impl<V: ContenderVisit> Visit for AsContender<V> {
    type Output = V::Output;

    fn visit<E: Executor + Sync>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> V::Output {
        self.0.visit(&LabExecutor(executor))
    }
}

/// An executor of executor-core, by the portable interface that all of them have.
pub(super) struct LabExecutor<'a, E>(pub(super) &'a E);

pub(super) fn echo(number: u64) -> u64 {
    number
}

fn length(bytes: Vec<u8>) -> u64 {
    bytes.len() as u64
}

impl<E: Executor + Sync> Contender for LabExecutor<'_, E> {
    type Ticket = TaskFuture<u64>;

    fn submit(&self, number: u64) -> Option<Self::Ticket> {
        self.0.submit(echo, number).ok()
    }

    fn submit_bytes(&self, bytes: Vec<u8>) -> Option<Self::Ticket> {
        self.0.submit(length, bytes).ok()
    }

    fn wait(&self, ticket: Self::Ticket) -> Option<u64> {
        ticket.result().ok()
    }
}
