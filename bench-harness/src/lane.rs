//! What every measurement of single tasks needs from an executor, ours or somebody else's.

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
