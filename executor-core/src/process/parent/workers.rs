//! The workers of the pool: which of them are idle, what is in flight at them, and which of them may get more.
//!
//! The list of idle workers and the number of requests in flight are kept here and nowhere else: what changes them is a method of
//! [`Workers`], and what is in flight at one worker can be changed only from here.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use super::{ledger::Ledger, sleep::Attention};
use crate::{
    portable::{location::Location, request::Request},
    process::transport::NotifyPolicy,
};

mod definitions;
pub(in crate::process) mod handle;
pub(super) mod in_flight;
#[cfg(target_os = "linux")]
pub(super) mod leases;
#[cfg(all(test, not(loom), target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "a test")]
mod leases_model;
pub(super) mod life;
pub(super) mod peer;
mod retirement;
mod sending;

use handle::WorkerHandle;
use in_flight::InFlightRequest;
use retirement::Retirement;

#[derive(Default)]
pub(in crate::process) struct Workers {
    table: BTreeMap<u32, WorkerHandle>,
    next_number: u32,
    /// Workers at which nothing is in flight; the one used last, whose caches are warm, comes last.
    idle: Vec<u32>,
    /// The one that was given something last.
    current: u32,
    /// Requests in flight at all of them.
    in_flight: usize,
    notify_policy: NotifyPolicy,
    /// So many may have tasks, or get some.
    most_open: usize,
    retirement: Retirement,
}

impl Workers {
    pub(super) fn new(most_open: usize, idle_timeout: Option<Duration>) -> Self {
        Self { most_open, retirement: Retirement::new(idle_timeout), ..Self::default() }
    }

    /// Adds a worker, which gets a number that no other one has.
    pub(super) fn add(&mut self, worker: WorkerHandle) -> u32 {
        loop {
            let number = self.next_number;
            self.next_number = (number + 1) % Location::WORKERS;
            if let Entry::Vacant(place) = self.table.entry(number) {
                place.insert(worker);
                return number;
            }
        }
    }

    /// Takes out a worker that has ended, at which nothing is in flight any more.
    pub(super) fn remove(&mut self, number: u32) -> Option<WorkerHandle> {
        let worker = self.table.remove(&number)?;
        debug_assert_eq!(worker.in_flight.len(), 0, "what was in flight at a dead worker is settled");
        self.leave_idle(number);
        Some(worker)
    }

    /// Takes all workers out, with what is in flight at them.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = WorkerHandle> + use<> {
        self.idle.clear();
        self.in_flight = 0;
        std::mem::take(&mut self.table).into_values()
    }

    pub(in crate::process) fn len(&self) -> usize {
        self.table.len()
    }

    pub(in crate::process) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(in crate::process) fn get(&self, number: u32) -> Option<&WorkerHandle> {
        self.table.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut WorkerHandle> {
        self.table.get_mut(&number)
    }

    pub(in crate::process) fn iter(&self) -> impl Iterator<Item = &WorkerHandle> {
        self.table.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut WorkerHandle)> {
        self.table.iter_mut().map(|(number, worker)| (*number, worker))
    }

    /// The numbers of the workers for which this holds.
    pub(super) fn numbers(&self, is: impl Fn(&WorkerHandle) -> bool) -> Vec<u32> {
        self.table.iter().filter_map(|(number, worker)| is(worker).then_some(*number)).collect()
    }

    pub(in crate::process) fn count(&self, is: impl Fn(&WorkerHandle) -> bool) -> usize {
        self.table.values().filter(|worker| is(worker)).count()
    }

    /// How many have nothing to do.
    pub(in crate::process) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// How many have something to do.
    pub(in crate::process) fn busy(&self) -> usize {
        self.table.len() - self.idle.len()
    }

    /// Requests in flight at all of them.
    pub(in crate::process) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many may have tasks, or get some.
    pub(super) fn most_open(&self) -> usize {
        self.most_open
    }

    /// The worker that was given something last, or is to be given the next.
    pub(super) fn current(&self) -> u32 {
        self.current
    }

    pub(super) fn prefer(&mut self, number: u32) {
        self.current = number;
    }

    /// An idle worker that may be given something.
    pub(super) fn free(&self) -> Option<u32> {
        let free = |number: &&u32| self.table.get(number).is_some_and(WorkerHandle::is_open);
        self.idle.iter().rev().find(free).copied()
    }

    /// The idle worker that was used last, if it has room for this.
    pub(super) fn idle_with_room(&mut self, request: &Request, bytes: usize) -> Option<u32> {
        while let Some(&number) = self.idle.last() {
            match self.table.get_mut(&number) {
                Some(worker) if worker.is_open() && worker.in_flight.len() == 0 => {
                    // Nothing that it has not passed may be in the way.
                    worker.forget_revoked();
                    return worker.has_room(request, bytes).then_some(number);
                }
                _ => drop(self.idle.pop()),
            }
        }
        None
    }

    /// Of those that can take more by this function, the one with the fewest requests in flight.
    pub(super) fn least_loaded(&self, can_take: impl Fn(&WorkerHandle) -> bool) -> Option<u32> {
        let able = self.table.iter().filter(|(_, worker)| can_take(worker));
        able.min_by_key(|(_, worker)| worker.in_flight.len()).map(|(number, _)| *number)
    }

    /// The one with the most requests in flight, and how many.
    pub(super) fn most_loaded(&self) -> Option<(u32, usize)> {
        let most = self.table.iter().max_by_key(|(_, worker)| worker.in_flight.len())?;
        Some((*most.0, most.1.in_flight.len()))
    }

    /// A request was sent to this worker.
    pub(super) fn note_sent(&mut self, number: u32, request: InFlightRequest) -> Attention {
        let Some(worker) = self.table.get_mut(&number) else { return Attention::None };
        let mut attention = worker.in_flight.push(request);
        worker.use_up_one();
        // Its successor can get ready meanwhile.
        attention |= Attention::now_if(worker.is_used_up());
        let is_first = worker.in_flight.len() == 1;
        self.in_flight += 1;
        self.current = number;
        if is_first {
            match self.idle.last() {
                Some(last) if *last == number => drop(self.idle.pop()),
                _ => self.leave_idle(number),
            }
        }
        attention
    }

    /// Takes out a request that its worker will not run: the transport has taken it back, or the worker is dead.
    pub(super) fn take_out(&mut self, number: u32, request: u64) -> Option<(InFlightRequest, Attention)> {
        let worker = self.table.get_mut(&number)?;
        let out = worker.in_flight.revoke(request)?;
        self.in_flight -= 1;
        Some(out)
    }

    /// Takes back a request that the transport has taken back: its worker is alive, and may be idle now.
    pub(super) fn take_back(&mut self, number: u32, request: u64) -> Option<(InFlightRequest, Attention)> {
        let (taken, mut attention) = self.take_out(number, request)?;
        if let Some(worker) = self.table.get_mut(&number) {
            worker.give_back_one();
            if worker.in_flight.len() == 0 && worker.is_ready() {
                attention |= worker.become_idle(&self.retirement);
                if worker.is_ready() {
                    self.idle.push(number);
                } else {
                    attention = Attention::Now;
                }
            }
        }
        Some((taken, attention))
    }

    /// Takes all answers that have arrived.
    pub(super) fn receive_all(&mut self, ledger: &mut Ledger) -> Attention {
        let mut attention = Attention::None;
        if self.idle.len() == self.table.len() {
            return attention;
        }
        for (number, worker) in &mut self.table {
            if worker.in_flight.len() > 0 && !worker.violated_protocol {
                let received = worker.receive(ledger, &self.retirement);
                self.in_flight -= received.ended;
                self.idle.extend(received.is_idle.then_some(*number));
                attention |= received.attention;
            }
        }
        attention
    }

    /// Takes the answers of one worker.
    pub(super) fn receive(&mut self, number: u32, ledger: &mut Ledger) -> Attention {
        let Some(worker) = self.table.get_mut(&number) else { return Attention::None };
        let received = worker.receive(ledger, &self.retirement);
        self.in_flight -= received.ended;
        self.idle.extend(received.is_idle.then_some(number));
        received.attention
    }

    /// Tells the workers when to wake the parent; `true` when some of them may have missed it.
    pub(super) fn set_notify_policy(&mut self, policy: NotifyPolicy) -> bool {
        if policy == self.notify_policy {
            return false;
        }
        let is_raised = policy > self.notify_policy;
        self.notify_policy = policy;
        for worker in self.table.values_mut() {
            worker.channel.set_notify_policy(policy);
        }
        is_raised
    }

    /// Lets workers that are ready have tasks, as many as may. Says whether there are any new ones.
    pub(super) fn open_held(&mut self) -> bool {
        let mut places = self.count(|worker| worker.is_ready() && !worker.is_held());
        let held = self.numbers(|worker| worker.is_ready() && worker.is_held());
        let mut is_any = false;
        for number in held {
            if places >= self.most_open {
                break;
            }
            let Some(worker) = self.table.get_mut(&number) else { continue };
            places += 1;
            is_any = true;
            worker.open(self.notify_policy);
            self.idle.push(number);
        }
        debug_assert!(places <= self.most_open, "more workers may get tasks than there are to be");
        is_any
    }

    /// The worker has nothing to do, and is not to be given anything.
    pub(super) fn leave_idle(&mut self, number: u32) {
        self.idle.retain(|idle| *idle != number);
    }

    /// A silent worker that has passed what was taken back may be given something again.
    pub(super) fn end_silence(&mut self, number: u32) -> Attention {
        let Some(worker) = self.table.get_mut(&number) else { return Attention::None };
        let attention = worker.end_silence(&self.retirement);
        if worker.is_open() {
            self.idle.push(number);
        }
        attention
    }

    /// No more tasks will come: each worker that becomes idle is to leave.
    pub(in crate::process) fn note_end(&mut self) -> Attention {
        self.retirement.begin_end()
    }

    /// How long an idle worker may stay.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        self.retirement.idle_timeout()
    }

    #[cfg(test)]
    pub(super) fn leave_only(&mut self, number: u32) {
        self.table.retain(|other, _| *other == number);
        self.idle.retain(|other| *other == number);
    }

    #[cfg(test)]
    pub(super) fn number_from(&mut self, number: u32) {
        self.next_number = number;
    }

    /// Whether the counts are those of what they count.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn is_consistent(&self) -> bool {
        let in_flight = self.table.values().map(|worker| worker.in_flight.len()).sum::<usize>();
        let know_their_place = self.table.iter().all(|(number, worker)| {
            worker.in_flight.iter().all(|(request, in_flight)| {
                in_flight.job.content().location().get() == Location::Worker(*number, request as u32)
            })
        });
        in_flight == self.in_flight && know_their_place
    }
}
