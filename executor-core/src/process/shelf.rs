//! The requests that stand with one worker, in the order in which it gets to them.

use std::{collections::VecDeque, time::Instant};

use super::{job::Job, request::Request, transport::Place};

/// A request that stands with a worker.
pub(super) struct Standing {
    pub(super) job: Job,
    pub(super) request: Request,
    pub(super) place: Place,
    /// The argument, where the transport does not keep it.
    pub(super) kept: Option<Vec<u8>>,
    pub(super) is_revoked: bool,
}

/// What stands with a worker, the oldest first. The first one that is not revoked is what it runs, or will run next.
#[derive(Default)]
pub(super) struct Shelf {
    standing: VecDeque<Standing>,
    /// The number of the first of them.
    first_number: u64,
    /// How many of them are not revoked.
    live: usize,
    /// Since when the front has been the front, if it has a time limit.
    front_since: Option<Instant>,
    /// Up to where everything was taken out, since somebody last asked.
    released: Option<(u64, Place)>,
}

impl Shelf {
    /// How many there are that are not revoked.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// The number that the next one will have.
    pub(super) fn next_number(&self) -> u64 {
        self.first_number + self.standing.len() as u64
    }

    pub(super) fn push(&mut self, standing: Standing) {
        self.standing.push_back(standing);
        self.live += 1;
        self.note_front();
    }

    /// The first one that is not revoked, and its number.
    pub(super) fn front(&self) -> Option<(u64, &Standing)> {
        let index = self.standing.iter().position(|standing| !standing.is_revoked)?;
        Some((self.first_number + index as u64, &self.standing[index]))
    }

    pub(super) fn front_mut(&mut self) -> Option<(u64, &mut Standing)> {
        let index = self.standing.iter().position(|standing| !standing.is_revoked)?;
        Some((self.first_number + index as u64, &mut self.standing[index]))
    }

    /// Takes the front out, and what was revoked before it.
    pub(super) fn take_front(&mut self) -> Option<Standing> {
        while let Some(standing) = self.standing.pop_front() {
            self.released = Some((self.first_number, standing.place));
            self.first_number += 1;
            if !standing.is_revoked {
                self.live -= 1;
                self.front_since = None;
                self.note_front();
                return Some(standing);
            }
        }
        None
    }

    /// Up to where the transport's memory is free again, since this was last asked.
    pub(super) fn take_released(&mut self) -> Option<(u64, Place)> {
        self.released.take()
    }

    /// When nothing is left but what was revoked, forgets that as well.
    pub(super) fn forget_revoked(&mut self) {
        if self.live == 0 {
            self.first_number += self.standing.len() as u64;
            self.standing.clear();
        }
    }

    /// The one with a number that ends with these bits, unless it is not here any more.
    pub(super) fn find(&self, number: u32) -> Option<(u64, &Standing)> {
        let index = number.wrapping_sub(self.first_number as u32) as usize;
        let standing = self.standing.get(index)?;
        (!standing.is_revoked).then_some((self.first_number + index as u64, standing))
    }

    /// Numbers of those that are not revoked, the last one first.
    pub(super) fn live_from_the_back(&self) -> impl Iterator<Item = u64> {
        let (first, last) = (self.first_number, self.next_number());
        let live: Vec<u64> =
            (first..last).rev().filter(|number| !self.standing[(number - first) as usize].is_revoked).collect();
        live.into_iter()
    }

    /// Takes one out that was revoked with the transport, but leaves its place.
    pub(super) fn revoke(&mut self, number: u64) -> Option<Standing> {
        let was_front = self.front().is_some_and(|(front, _)| front == number);
        let standing = self.standing.get_mut((number - self.first_number) as usize)?;
        let tombstone = Standing {
            job: standing.job.clone(),
            request: standing.request.tombstone(),
            place: standing.place,
            kept: None,
            is_revoked: true,
        };
        let standing = std::mem::replace(standing, tombstone);
        self.live -= 1;
        if was_front {
            self.front_since = None;
            self.note_front();
        }
        Some(standing)
    }

    fn note_front(&mut self) {
        if self.front_since.is_none()
            && self.live > 0
            && self.front().is_some_and(|(_, front)| front.request.time_limit().is_some())
        {
            self.front_since = Some(Instant::now());
        }
    }

    /// Since when the front, which has a time limit, has been the front.
    pub(super) fn front_since(&self) -> Option<Instant> {
        self.front_since
    }

    /// When the front has to be stopped.
    pub(super) fn limit(&self) -> Option<Instant> {
        let limit = self.front()?.1.request.time_limit()?;
        self.front_since?.checked_add(limit)
    }
}
