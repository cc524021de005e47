//! Tasks that may wait for only so long to be begun.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

#[cfg(any(test, debug_assertions))]
use crate::portable::location::Location;
use crate::{
    future::TypedRef,
    portable::{
        job::{Job, ProcessTask},
        request::{Expiry, Request},
    },
    process::parent::sleep::Attention,
};

/// A request knows its entry, which is taken out when the request ends.
#[derive(Default)]
pub(super) struct Expiries {
    /// The tasks, and since when they wait.
    tasks: BTreeMap<Expiry, (TypedRef<ProcessTask>, Instant)>,
    /// Makes the key of each of them unique.
    next_number: u64,
}

impl Expiries {
    pub(super) fn add(&mut self, limit: Duration, job: &Job, request: &mut Request) -> Attention {
        let now = Instant::now();
        // A limit too large for the clock is none.
        let Some(end) = now.checked_add(limit) else { return Attention::None };
        let expiry = (end, self.next_number);
        self.next_number += 1;
        request.extras().expiry = Some((expiry, now));
        self.tasks.insert(expiry, (job.pointer(), now));
        Attention::By(end)
    }

    /// Of a request that has ended.
    pub(super) fn remove(&mut self, request: &Request) {
        if let Some((expiry, _)) = request.extras.as_ref().and_then(|extras| extras.expiry) {
            self.tasks.remove(&expiry);
        }
    }

    /// When the first of them is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.tasks.first_key_value().map(|((end, _), _)| *end)
    }

    /// Takes out the first one, if it is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(TypedRef<ProcessTask>, Instant)> {
        self.next().filter(|end| *end <= now)?;
        self.tasks.pop_first().map(|(_, task)| task)
    }

    pub(super) fn clear(&mut self) {
        self.tasks.clear();
    }

    /// Whether each of them is in the queue or in flight.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn are_sound(&self) -> bool {
        self.tasks.values().all(|(job, _)| job.content().location().get() != Location::Nowhere)
    }
}
