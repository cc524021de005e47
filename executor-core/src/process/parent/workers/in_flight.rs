//! The requests that are in flight at one worker, in the order in which it gets to them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    portable::{bytes::Bytes, job::Job, request::Request},
    process::{parent::sleep::Attention, transport::RecordOffset},
};

/// A request that was sent to a worker, and is neither answered nor taken back.
pub(in crate::process) struct InFlightRequest {
    pub(in crate::process) job: Job,
    pub(in crate::process) request: Request,
    pub(in crate::process) place: RecordOffset,
    /// The argument, where the transport does not keep it.
    pub(in crate::process) kept: Option<Bytes>,
}

/// One of them, or the place of one that was revoked: its worker has not passed it.
enum Entry {
    Live(InFlightRequest),
    Revoked(RecordOffset),
}

/// How far a request with a time limit is. Of a chunk the limit is each item's, and that one has ended is seen only by looking.
#[derive(Clone, Copy)]
struct Progress {
    /// Since when the request has been the front; of a chunk, since when its current item has been known to run.
    since: Instant,
    /// Items that had not ended then; 0 for a single task.
    left: u32,
    looked: Instant,
}

/// Within a time limit, the pool looks so many times whether an item of a chunk has ended ...
const LIMIT_CHECKS: u32 = 8;
/// ... but not more often than this.
const LEAST_CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// The requests in flight at a worker, the oldest first. The worker runs the first one that is not revoked, or will run it next.
#[derive(Default)]
pub(in crate::process) struct InFlight {
    entries: VecDeque<Entry>,
    /// How many were revoked before the first one that is not.
    revoked_first: usize,
    /// The number of the first of them.
    first_number: u64,
    /// How many of them are not revoked.
    live: usize,
    /// If the front has a time limit: how far it is.
    progress: Option<Progress>,
    /// Up to where everything was taken out, since this was last asked for.
    released: Option<(u64, RecordOffset)>,
}

impl InFlight {
    /// How many there are that are not revoked.
    pub(in crate::process) fn len(&self) -> usize {
        self.live
    }

    /// The number that the next one will have.
    pub(in crate::process) fn next_number(&self) -> u64 {
        self.first_number + self.entries.len() as u64
    }

    /// Whether the worker has passed any request, answered or taken back.
    pub(in crate::process::parent) fn has_passed_any(&self) -> bool {
        self.first_number > 0
    }

    pub(super) fn push(&mut self, request: InFlightRequest) -> Attention {
        self.entries.push_back(Entry::Live(request));
        self.live += 1;
        self.note_front()
    }

    /// The first one that is not revoked, and its number.
    pub(in crate::process) fn front(&self) -> Option<(u64, &InFlightRequest)> {
        match self.entries.get(self.revoked_first)? {
            Entry::Live(request) => Some((self.first_number + self.revoked_first as u64, request)),
            Entry::Revoked(_) => None,
        }
    }

    pub(in crate::process) fn front_mut(&mut self) -> Option<(u64, &mut InFlightRequest)> {
        match self.entries.get_mut(self.revoked_first)? {
            Entry::Live(request) => Some((self.first_number + self.revoked_first as u64, request)),
            Entry::Revoked(_) => None,
        }
    }

    /// Takes the front out, and what was revoked before it.
    pub(in crate::process::parent) fn take_front(&mut self) -> Option<(InFlightRequest, Attention)> {
        while let Some(entry) = self.entries.pop_front() {
            let place = match &entry {
                Entry::Live(request) => request.place,
                Entry::Revoked(place) => *place,
            };
            self.released = Some((self.first_number, place));
            self.first_number += 1;
            self.revoked_first = self.revoked_first.saturating_sub(1);
            if let Entry::Live(request) = entry {
                self.live -= 1;
                self.progress = None;
                self.skip_revoked();
                let attention = self.note_front();
                return Some((request, attention));
            }
        }
        None
    }

    /// Takes out all that are not revoked.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = InFlightRequest> + use<> {
        (self.live, self.revoked_first, self.progress) = (0, 0, None);
        std::mem::take(&mut self.entries).into_iter().filter_map(|entry| match entry {
            Entry::Live(request) => Some(request),
            Entry::Revoked(_) => None,
        })
    }

    fn skip_revoked(&mut self) {
        while let Some(Entry::Revoked(_)) = self.entries.get(self.revoked_first) {
            self.revoked_first += 1;
        }
    }

    /// Up to where the transport's memory is free again, since this was last asked.
    pub(super) fn take_released(&mut self) -> Option<(u64, RecordOffset)> {
        self.released.take()
    }

    /// When nothing is left but what was revoked, forgets that as well.
    pub(super) fn forget_revoked(&mut self) {
        if self.live == 0 {
            self.first_number += self.entries.len() as u64;
            self.entries.clear();
            self.revoked_first = 0;
        }
    }

    fn live_at(&self, index: usize) -> Option<&InFlightRequest> {
        match self.entries.get(index)? {
            Entry::Live(request) => Some(request),
            Entry::Revoked(_) => None,
        }
    }

    /// The one with a number that ends with these bits, unless it is not here any more.
    pub(in crate::process) fn find(&self, number: u32) -> Option<(u64, &InFlightRequest)> {
        let index = number.wrapping_sub(self.first_number as u32) as usize;
        Some((self.first_number + index as u64, self.live_at(index)?))
    }

    /// Those that are not revoked.
    #[cfg(any(test, debug_assertions))]
    pub(in crate::process) fn iter(&self) -> impl Iterator<Item = (u64, &InFlightRequest)> {
        (0..self.entries.len()).filter_map(|index| Some((self.first_number + index as u64, self.live_at(index)?)))
    }

    /// Numbers of those that are not revoked, the last one first.
    pub(in crate::process::parent) fn live_from_the_back(&self) -> impl Iterator<Item = u64> {
        let indices = (0..self.entries.len()).rev().filter(|index| self.live_at(*index).is_some());
        let live: Vec<u64> = indices.map(|index| self.first_number + index as u64).collect();
        live.into_iter()
    }

    /// Takes one out that was revoked with the transport, but leaves its place.
    pub(in crate::process) fn revoke(&mut self, number: u64) -> Option<(InFlightRequest, Attention)> {
        let was_front = self.front().is_some_and(|(front, _)| front == number);
        let entry = self.entries.get_mut(number.checked_sub(self.first_number)? as usize)?;
        let place = match entry {
            Entry::Live(request) => request.place,
            Entry::Revoked(_) => return None,
        };
        let Entry::Live(request) = std::mem::replace(entry, Entry::Revoked(place)) else { return None };
        self.live -= 1;
        let mut attention = Attention::None;
        if was_front {
            self.progress = None;
            self.skip_revoked();
            attention = self.note_front();
        }
        Some((request, attention))
    }

    /// The method that makes a task the front starts its clock, and has the supervisor keep the time.
    fn note_front(&mut self) -> Attention {
        if self.progress.is_none()
            && let Some((_, front)) = self.front()
            && front.request.time_limit().is_some()
        {
            let now = Instant::now();
            self.progress = Some(Progress { since: now, left: front.request.items(), looked: now });
            return Attention::by(self.next_look());
        }
        Attention::None
    }

    /// Looks how far the front is, whose worker says that it has finished so many items beyond those it has answered.
    pub(super) fn note_progress(&mut self, open_items: u32, now: Instant) {
        let items = self.front().map_or(0, |(_, front)| front.request.items());
        if let Some(progress) = &mut self.progress {
            progress.looked = now;
            // A worker can say that an item has ended only as often as there are items.
            let left = items.saturating_sub(open_items);
            if left < progress.left {
                progress.left = left;
                progress.since = now;
            }
        }
    }

    /// Whether the item of the front whose clock runs has ended, and its worker, which says that it has finished so many items beyond
    /// those it has answered, has gone on to the next one.
    pub(in crate::process::parent) fn has_gone_on(&self, open_items: u32) -> bool {
        let items = self.front().map_or(0, |(_, front)| front.request.items());
        self.progress.is_some_and(|progress| items.saturating_sub(open_items) < progress.left)
    }

    /// Since when the front, or the item of it that runs, has been known to run, if it has a time limit.
    pub(in crate::process::parent) fn front_since(&self) -> Option<Instant> {
        Some(self.progress?.since)
    }

    /// When the front has to be stopped, unless an item of it ends before.
    pub(in crate::process) fn limit(&self) -> Option<Instant> {
        let limit = self.front()?.1.request.time_limit()?;
        self.front_since()?.checked_add(limit)
    }

    /// When the front has to be looked at.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let (progress, end) = (self.progress?, self.limit()?);
        let limit = self.front()?.1.request.time_limit()?;
        // The last item ends with the chunk.
        let look = if progress.left < 2 {
            None
        } else {
            progress.looked.checked_add((limit / LIMIT_CHECKS).max(LEAST_CHECK_INTERVAL))
        };
        Some(look.map_or(end, |look| end.min(look)))
    }
}
