//! What every measurement of single tasks needs from an executor, ours or somebody else's.

use executor_core::{Executor, TaskFuture};

use super::Subject;
use crate::{
    error::chain,
    executors::{Visit, with_executor},
    peers,
};

/// Takes a task that returns its argument, and gives the answer back.
pub(crate) trait Lane: Sync {
    /// A task that was taken.
    type Ticket;

    /// `None` when it was not taken.
    fn submit(&self, number: u64) -> Option<Self::Ticket>;

    /// A task that returns the length of its argument; `None` when it was not taken.
    fn submit_bytes(&self, bytes: Vec<u8>) -> Option<Self::Ticket>;

    /// `None` when the task failed.
    fn wait(&self, ticket: Self::Ticket) -> Option<u64>;

    /// The sum of the answers.
    fn wait_all(&self, tickets: Vec<Self::Ticket>) -> u64 {
        tickets.into_iter().filter_map(|ticket| self.wait(ticket)).sum()
    }

    /// The most tasks that it can be asked to hold.
    fn in_flight(&self) -> u32 {
        u32::MAX
    }
}

/// Something to do with a lane of any type.
pub(crate) trait LaneVisit {
    type Output;
    fn visit<L: Lane>(self, lane: &L) -> Self::Output;
}

/// Builds an executor with its workers ready, and shows it to `visit`.
pub(super) fn with_lane<V: LaneVisit>(subject: Subject, workers: usize, visit: V) -> Result<V::Output, String> {
    match subject {
        Subject::Ours(kind) => with_executor(kind, workers, AsLane(visit)).map_err(|error| chain(&error)),
        Subject::Peer(peer) => peers::with_peer(peer, workers, visit),
        Subject::Limit(limit) => Err(format!("{} takes no tasks", limit.name())),
    }
}

struct AsLane<V>(V);

impl<V: LaneVisit> Visit for AsLane<V> {
    type Output = V::Output;

    fn visit<E: Executor + Sync>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> V::Output {
        self.0.visit(&Ours(executor))
    }
}

/// Our executors, by the portable face that all of them have.
pub(super) struct Ours<'a, E>(pub(super) &'a E);

pub(super) fn echo(number: u64) -> u64 {
    number
}

fn length(bytes: Vec<u8>) -> u64 {
    bytes.len() as u64
}

impl<E: Executor + Sync> Lane for Ours<'_, E> {
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
