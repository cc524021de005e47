//! The interface that every measurement of single tasks needs from an executor, of executor-core or of another project.

/// An executor under measurement.
pub(crate) trait Contender: Sync {
    /// A task that the contender has taken.
    type Ticket;

    /// Submits a task that returns its argument; `None` when it was not taken.
    fn submit(&self, number: u64) -> Option<Self::Ticket>;

    /// Submits a task that returns the length of its argument; `None` when it was not taken.
    fn submit_bytes(&self, bytes: Vec<u8>) -> Option<Self::Ticket>;

    /// The task's answer; `None` when it failed.
    fn wait(&self, ticket: Self::Ticket) -> Option<u64>;

    /// The sum of the answers.
    fn wait_all(&self, tickets: Vec<Self::Ticket>) -> u64 {
        tickets.into_iter().filter_map(|ticket| self.wait(ticket)).sum()
    }

    /// The most tasks that it can hold at the same time.
    fn in_flight(&self) -> u32 {
        u32::MAX
    }
}

/// An action on a contender of any type.
pub(crate) trait ContenderVisit {
    type Output;
    fn visit<C: Contender>(self, contender: &C) -> Self::Output;
}
