//! Who gets which task: the queue, the requests that stand with workers, and what comes back. All of it is under the pool's
//! lock; futures are woken after it is released, because that may run somebody else's code.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::{Duration, Instant},
};

use super::{
    in_flight::InFlightRequest,
    queue::{Queue, Queued},
    sleep::Sleep,
    spent::Spent,
    worker_handle::WorkerHandle,
};
#[cfg(target_os = "linux")]
use crate::process::task::request::Settled;
use crate::{
    error::TaskError,
    future::{Task as CellTask, callbacks::drop_elsewhere},
    process::{
        task::{
            bytes::{Bytes, LONGEST_COPY, Long, LongBytes},
            job::{Job, ProcessTask},
            location::Location,
            request::Request,
        },
        transport::{NotifyPolicy, Record},
    },
    sys,
};

pub(in crate::process) mod events;
mod ledger;
mod reclaim;
mod silent;
#[cfg(all(test, not(loom), target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "a test")]
mod simulation;
mod starts;
mod stop;

use events::Events;
pub(in crate::process) use events::Untold;
use ledger::Ledger;

/// What stands with a worker should keep it busy for about this long, so that it does not have to wait for the parent ...
const AHEAD: f32 = 400_000.0;
/// ... and while it is less than this, in nanoseconds, waking another worker would take longer than waiting for this one ...
const SPREAD: f32 = 5_000.0;
/// ... or, where no pool is free for that one and the submitter needs its own, would only have the cores change hands.
const SPREAD_CROWDED: f32 = 50_000.0;
/// With tasks that take longer than this, in nanoseconds, nothing stands behind the one that runs.
const LONG: f32 = 1_000_000.0;

/// So many tasks are ended under the lock before others get their turn.
const AT_ONCE: usize = 512;

/// Bytes that go to a worker, and may have to be kept.
trait Source {
    fn slice(&self) -> &[u8];

    /// Takes them out, or copies them where they are few.
    fn keep(&mut self) -> Bytes;

    /// Takes them out as those that several may own: they are long.
    fn take_long(&mut self) -> LongBytes;
}

impl Source for Bytes {
    fn slice(&self) -> &[u8] {
        self.as_slice()
    }

    fn keep(&mut self) -> Bytes {
        self.take()
    }

    fn take_long(&mut self) -> LongBytes {
        self.take_long()
    }
}

/// Where an argument was encoded: memory that its thread uses again.
impl Source for Vec<u8> {
    fn slice(&self) -> &[u8] {
        self
    }

    fn keep(&mut self) -> Bytes {
        if self.len() > SCRATCH { std::mem::take(self).into() } else { Bytes::from(&self[..]) }
    }

    fn take_long(&mut self) -> LongBytes {
        std::mem::take(self).into()
    }
}

/// What an argument's thread gives away rather than have it copied.
const SCRATCH: usize = 4096;

/// The system has no descriptors, processes or memory left for a worker, for a moment.
#[derive(Debug, Clone, Copy)]
pub(in crate::process) struct Refused {
    pub(in crate::process) since: Instant,
    pub(in crate::process) pause: Duration,
    pub(in crate::process) again: Instant,
    /// It was a new worker that has said so. Then others that start are no better off, and are tried one at a time.
    pub(in crate::process) by_worker: bool,
}

#[derive(Default)]
pub(in crate::process) struct State {
    queue: Queue,
    /// The ticket of the next task.
    next_ticket: u64,
    /// So many shutdowns are cancelling what is in the queue: nothing in there is begun any more.
    pub(in crate::process) closing: usize,
    /// What all that is in the queue ends with. The supervisor sees to it, and nothing in there is begun meanwhile.
    doom: Option<TaskError>,
    pub(in crate::process) workers: BTreeMap<u32, WorkerHandle>,
    next_worker: u32,
    /// Workers with which nothing stands; the one used last, whose caches are warm, comes last.
    pub(in crate::process) idle: Vec<u32>,
    /// The worker that was given something last.
    current: u32,
    pub(in crate::process) ledger: Ledger,
    /// Threads that look for answers.
    spinners: usize,
    notify_policy: NotifyPolicy,
    /// Whether the supervisor looks after requests that stand behind others, as it does whenever there are any.
    pub(super) is_watched: bool,
    /// Whether an observer is to be told of the start of something that has not started yet.
    pub(super) is_start_awaited: bool,
    next_expiry: u64,
    /// Submitters that wait for space in the queue.
    waiting_for_space: usize,
    /// Of the process that workers are forked from, while there is one.
    pub(in crate::process) fork_server: Option<u32>,
    /// How many workers there should be; rises with demand.
    pub(in crate::process) wanted_workers: usize,
    /// Threads that wait until there are as many workers as there may be. Meanwhile none leaves because it is idle.
    pub(in crate::process) warming: usize,
    /// Why there are not as many, if the system has refused one meanwhile.
    pub(in crate::process) no_worker: Option<TaskError>,
    /// When the first of those who wait for all workers began to, and how many successors had been started by then.
    pub(in crate::process) warming_from: Option<(Instant, u64)>,
    /// How many workers may have tasks, or may get some.
    pub(super) most_workers: usize,
    /// No more workers may be started as things are; the supervisor is called where that changes.
    pub(super) is_full: bool,
    /// When the supervisor looks whether the first request in flight is claimed.
    claims_due: Option<Instant>,
    pub(in crate::process) shut_down: bool,
    /// No worker is left and none will come.
    pub(in crate::process) ended: bool,
    pub(in crate::process) broken: Option<TaskError>,
    /// When the supervisor may try again to start a worker, after the system has refused one for a moment; how long it waits
    /// then, and since when none could be had.
    pub(in crate::process) refused: Option<Refused>,
    /// For tests of what a panic of the supervisor costs: so many it has.
    #[cfg(test)]
    pub(in crate::process) panics: usize,
    /// Workers that ended by themselves before they were ready, since one was.
    pub(super) failed_starts: u32,
    /// Workers that were killed before they were ready, since one was; and since when.
    pub(super) killed_starts: Option<(u32, Instant)>,
    pub(in crate::process) sleep: Sleep,
    /// Workers that died and whose successor has not been started.
    pub(super) to_replace: usize,
    pub(in crate::process) died: u64,
    pub(in crate::process) respawned: u64,
}

/// Tasks whose waiters are to be woken. That is foreign code, so no lock may be held.
///
/// What is not woken when this is dropped, because a thread has panicked, is woken by another one.
#[must_use]
pub(in crate::process) struct ToWake(Vec<Job>);

impl Drop for ToWake {
    fn drop(&mut self) {
        for job in self.0.drain(..) {
            job.cell().wake_elsewhere();
            // The lock may be held, and this may be the last to hold on to the task.
            drop_elsewhere(job);
        }
    }
}

impl ToWake {
    pub(in crate::process) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::process) fn wake(mut self) {
        for job in std::mem::take(&mut self.0) {
            job.cell().wake();
        }
    }

    /// The same for the supervisor: foreign code could hold up the time limits of others, or end the pool and wait for it.
    pub(in crate::process) fn wake_elsewhere(mut self) {
        for job in std::mem::take(&mut self.0) {
            job.cell().wake_elsewhere();
            // Who was woken may be through with the task before this lets go of it.
            job.let_go_elsewhere();
        }
    }
}

impl State {
    pub(in crate::process) fn new(most_workers: usize, idle_timeout: Option<Duration>, is_observed: bool) -> Self {
        let ledger = Ledger { events: Events::new(is_observed), ..Ledger::default() };
        Self { most_workers, sleep: Sleep::new(idle_timeout), ledger, ..Self::default() }
    }

    pub(in crate::process) fn take_to_wake(&mut self) -> ToWake {
        ToWake(std::mem::take(&mut self.ledger.to_wake))
    }

    /// A new worker, which gets a number that no other one has.
    pub(super) fn add_worker(&mut self, worker: WorkerHandle) -> u32 {
        loop {
            let number = self.next_worker;
            self.next_worker = (number + 1) % Location::WORKERS;
            if let Entry::Vacant(place) = self.workers.entry(number) {
                place.insert(worker);
                return number;
            }
        }
    }

    /// Tasks that wait for a worker, also for the one that they stand with.
    pub(in crate::process) fn waiting(&self) -> usize {
        let busy = self.workers.values().filter(|worker| worker.in_flight.live() > 0).count();
        self.queued() + self.ledger.standing - busy
    }

    /// Takes a new task: straight to a worker where one has room for it and nobody is before it.
    pub(in crate::process) fn admit(&mut self, job: Job, mut request: Request, bytes: &mut Vec<u8>) {
        request.ticket = self.next_ticket;
        self.next_ticket += 1;
        if request.time_limit().is_some() {
            job.content().location().begin_wanted();
            self.ledger.wanted += 1;
        }
        if self.queue.is_empty()
            && let Some(number) = self.choose(&request, bytes.len())
        {
            self.stand(number, job, request, bytes);
            self.notify(number);
            self.note_starts();
            return;
        }
        let bytes = bytes.keep();
        self.queue.push(Queued { job, request, bytes });
        // Where there is nothing to look for, the supervisor starts workers.
        if !self.is_full {
            self.sleep.call();
        }
        self.receive_all();
        self.refill();
    }

    /// Whether so many tasks have somebody who may sleep for them.
    #[cfg(test)]
    pub(in crate::process) fn is_awaited(&self, tasks: usize) -> bool {
        self.ledger.wanted >= tasks
    }

    /// For tests of what a panic costs: what somebody has in the hands.
    #[cfg(test)]
    pub(in crate::process) fn take_one(&mut self) -> Option<Queued> {
        self.queue.pop()
    }

    /// Tasks in the queue.
    pub(in crate::process) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The task ends when it has waited for so long and nobody has begun it.
    pub(in crate::process) fn expire_after(&mut self, limit: Duration, job: &Job, request: &mut Request) {
        let now = Instant::now();
        // A limit too large for the clock is none.
        let Some(end) = now.checked_add(limit) else { return };
        let expiry = (end, self.next_expiry);
        self.next_expiry += 1;
        request.extras().expiry = Some((expiry, now));
        self.ledger.expiries.insert(expiry, (job.pointer(), now));
        self.sleep.call_by(end);
    }

    /// When the next task has waited for as long as it may.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.ledger.expiries.first_key_value().map(|((end, _), _)| *end)
    }

    /// Ends tasks that have waited for as long as they may.
    pub(in crate::process) fn expire(&mut self, now: Instant) {
        // The rest is due as well, and has the supervisor come back at once.
        for _ in 0..AT_ONCE {
            if self.next_expiry().is_none_or(|end| end > now) {
                break;
            }
            if let Some((_, (job, since))) = self.ledger.expiries.pop_first() {
                self.take_away(&job, TaskError::Expired { waited: now - since }, false);
                self.ledger.spent.push(Spent::Task(job));
            }
        }
    }

    /// How many requests may stand with a worker.
    fn depth(&self) -> usize {
        match self.ledger.task_time {
            // Nothing is known yet, or they are long.
            0.0 | LONG.. => 1,
            time => ((AHEAD / time) as usize).max(2),
        }
    }

    fn can_take(&self, worker: &WorkerHandle, request: &Request, bytes: usize) -> bool {
        worker.is_open()
            && !worker.is_stuck()
            && worker.in_flight.live() < self.depth().min(worker.channel.depth())
            && worker.channel.has_room(WorkerHandle::room_for(request, bytes))
    }

    /// Whether the worker used last has something to do, but so little that waking another one would take longer.
    fn current_is_best(&self, request: &Request, bytes: usize) -> bool {
        let spread = if self.busy() + 1 < sys::available_cpus() { SPREAD } else { SPREAD_CROWDED };
        self.workers.get(&self.current).is_some_and(|worker| {
            worker.in_flight.live() > 0
                && self.ledger.task_time > 0.0
                && worker.in_flight.live() as f32 * self.ledger.task_time < spread
                && self.can_take(worker, request, bytes)
        })
    }

    /// The worker that a task should go to now, if there is one.
    fn choose(&mut self, request: &Request, bytes: usize) -> Option<u32> {
        if self.current_is_best(request, bytes) {
            return Some(self.current);
        }
        // Much of what stands with it may have been answered already.
        self.receive(self.current);
        if self.current_is_best(request, bytes) {
            return Some(self.current);
        }
        while let Some(&number) = self.idle.last() {
            match self.workers.get_mut(&number) {
                Some(worker) if worker.is_open() && worker.in_flight.live() == 0 => {
                    // Nothing that it has not passed may be in the way.
                    worker.forget_revoked();
                    if worker.channel.has_room(WorkerHandle::room_for(request, bytes)) {
                        return Some(number);
                    }
                    break;
                }
                _ => drop(self.idle.pop()),
            }
        }
        let able = self.workers.iter().filter(|(_, worker)| self.can_take(worker, request, bytes));
        able.min_by_key(|(_, worker)| worker.in_flight.live()).map(|(number, _)| *number)
    }

    /// Puts a task with a worker, which has room for it.
    fn stand(
        &mut self,
        number: u32,
        job: Job,
        #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "nothing is shared"))] mut request: Request,
        source: &mut dyn Source,
    ) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        #[cfg(target_os = "linux")]
        let (mut settled, large) = match request.settle() {
            None => (None, None),
            Some(Settled::Reference(bytes, large)) => {
                self.ledger.spent.push(Spent::Long(Long::Large(large)));
                (Some(bytes), None)
            }
            Some(Settled::Plain(bytes, large)) => (Some(bytes), Some(Long::Large(large))),
        };
        #[cfg(not(target_os = "linux"))]
        let large = None;
        #[cfg(target_os = "linux")]
        let source = settled.as_mut().map_or(source, |settled| settled as &mut dyn Source);
        #[cfg(target_os = "linux")]
        if let Err(error) = worker.share(&request) {
            return self.ledger.end(job, request, Err(error));
        }
        let definition = match worker.define(&request) {
            Ok(definition) => definition,
            Err(error) => return self.ledger.end(job, request, Err(error)),
        };
        let request_number = worker.in_flight.next_number();
        let items = request.items();
        let run = |bytes| Record::Run { definition, items, bytes };
        let (place, kept) = if large.is_some() {
            // The request has what would have to be kept.
            (worker.channel.push_with(run(source.slice()), large), None)
        } else if source.slice().len() > LONGEST_COPY {
            let long = source.take_long();
            let place = worker.channel.push_with(run(&[]), Some(Long::Argument(long.clone())));
            (place, Some(Bytes::Long(long)))
        } else {
            let bytes = source.slice();
            let place = worker.channel.push(run(bytes));
            (place, (!worker.channel.keeps(bytes.len())).then(|| source.keep()))
        };
        let control = worker.channel.control();
        // What was sent at once needs no memory any more, also where nothing else ever comes over the socket.
        if control.has_spent() {
            self.ledger.spent.extend(control.take_spent().into_iter().map(Spent::Long));
        }
        // What did not fit into a socket is sent by the supervisor.
        if control.wants_to_send() {
            self.sleep.call();
        }
        job.content().location().set(Location::Worker(number, request_number as u32));
        worker.in_flight.push(InFlightRequest { job, request, place, kept }, &mut self.sleep);
        worker.tasks_left = worker.tasks_left.map(|left| left - 1);
        if worker.is_used_up() {
            // Its successor can get ready meanwhile.
            self.sleep.call();
        }
        self.ledger.standing += 1;
        self.current = number;
        if worker.in_flight.live() == 1 {
            match self.idle.last() {
                Some(last) if *last == number => drop(self.idle.pop()),
                _ => self.idle.retain(|idle| *idle != number),
            }
        } else {
            self.watch();
        }
        // Also what stands behind something: when that is answered, nobody else begins to watch.
        self.watch_claims();
    }

    /// Tells a worker of what was put with it.
    fn notify(&mut self, number: u32) {
        // The caller has something to do as well.
        let look = self.busy() < sys::available_cpus();
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.channel.notify(look);
            // What did not fit into the socket is sent there.
            if worker.channel.control().wants_to_send() {
                self.sleep.call();
            }
        }
    }

    /// Hands out what is in the queue, and sees to it that workers wake the parent when they have to.
    pub(in crate::process) fn refill(&mut self) {
        loop {
            self.hand_out_all();
            debug_assert!(
                self.is_watched || self.workers.values().all(|worker| worker.in_flight.live() < 2),
                "what stands behind something is watched"
            );
            if !self.set_notify_policy() {
                return;
            }
            // Workers may have answered before they could see the new policy; then it is for this thread to notice.
            self.receive_all();
        }
    }

    fn hand_out(&mut self) {
        let enough = self.depth() / 2;
        if self.queue.is_empty()
            || self.closing > 0
            || self.doom.is_some()
            || !self.workers.values().any(|worker| worker.is_open() && worker.in_flight.live() <= enough)
        {
            return;
        }
        let mut given: Vec<u32> = Vec::new();
        while let Some(queued) = self.queue.pop() {
            let Some(number) = self.choose(&queued.request, queued.bytes.as_slice().len()) else {
                self.queue.push(queued);
                break;
            };
            let Queued { job, request, mut bytes } = queued;
            self.stand(number, job, request, &mut bytes);
            if !given.contains(&number) {
                given.push(number);
            }
        }
        for number in given {
            self.notify(number);
        }
    }

    /// Hands out, after a worker has become free.
    fn hand_out_all(&mut self) {
        self.hand_out();
        self.rebalance();
        self.hand_out();
    }

    /// Tells the workers when to wake the parent; `true` when some of them may have missed it.
    fn set_notify_policy(&mut self) -> bool {
        let notify_policy = if self.spinners > 0 {
            NotifyPolicy::BeforeSleep
        } else if self.ledger.wanted > 0 {
            NotifyPolicy::Always
        } else if !self.queue.is_empty() {
            NotifyPolicy::WhenEmpty
        } else {
            NotifyPolicy::BeforeSleep
        };
        if notify_policy == self.notify_policy {
            return false;
        }
        let raised = notify_policy > self.notify_policy;
        self.notify_policy = notify_policy;
        for worker in self.workers.values_mut() {
            worker.channel.set_notify_policy(notify_policy);
        }
        raised
    }

    /// Lets workers that are ready have tasks, as many as may. Says whether there are any new ones.
    pub(super) fn open_held(&mut self) -> bool {
        let mut places = self.workers.values().filter(|worker| worker.is_ready() && !worker.is_held).count();
        let held = self.workers.iter_mut().filter(|(_, worker)| worker.is_ready() && worker.is_held);
        let mut opened = Vec::new();
        for (number, worker) in held {
            if places >= self.most_workers {
                break;
            }
            places += 1;
            worker.is_held = false;
            opened.push(*number);
        }
        debug_assert!(places <= self.most_workers, "more workers may get tasks than there are to be");
        opened.iter().for_each(|number| self.add_ready(*number));
        !opened.is_empty()
    }

    /// A worker that is ready for its first task.
    pub(super) fn add_ready(&mut self, number: u32) {
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.channel.set_notify_policy(self.notify_policy);
            worker.idle_since = Instant::now();
            self.idle.push(number);
        }
    }

    /// A thread begins to look for answers, and workers need not wake anybody.
    pub(in crate::process) fn begin_spin(&mut self) {
        self.spinners += 1;
        self.set_notify_policy();
    }

    /// A thread has looked enough.
    pub(in crate::process) fn end_spin(&mut self) {
        self.spinners -= 1;
        self.refill();
    }

    /// Somebody is about to sleep until the task is done.
    pub(in crate::process) fn want(&mut self, task: &CellTask<ProcessTask>) {
        if task.content().location().want() {
            self.ledger.wanted += 1;
            self.refill();
        }
    }

    /// Takes all answers that have arrived.
    pub(in crate::process) fn receive_all(&mut self) {
        let Self { workers, ledger, idle, sleep, .. } = self;
        if idle.len() == workers.len() {
            return;
        }
        for (number, worker) in workers {
            if worker.in_flight.live() > 0 && !worker.violated_protocol {
                Self::receive_from(*number, worker, ledger, idle, sleep);
            }
        }
        self.note_starts();
    }

    /// Takes the answers of one worker.
    pub(in crate::process) fn receive(&mut self, number: u32) {
        if let Some(worker) = self.workers.get_mut(&number) {
            Self::receive_from(number, worker, &mut self.ledger, &mut self.idle, &mut self.sleep);
            self.note_starts();
        }
    }

    /// What makes no sense is the end of the worker that sent it.
    fn receive_from(
        number: u32,
        worker: &mut WorkerHandle,
        ledger: &mut Ledger,
        idle: &mut Vec<u32>,
        sleep: &mut Sleep,
    ) {
        let is_killed = worker.is_killed();
        #[cfg(target_os = "linux")]
        let WorkerHandle { channel, in_flight, loans, .. } = worker;
        #[cfg(not(target_os = "linux"))]
        let WorkerHandle { channel, in_flight, .. } = worker;
        let before = in_flight.live();
        #[cfg(target_os = "linux")]
        let outcome = channel.receive(&mut |reply| ledger.take_reply(in_flight, reply, is_killed, sleep, loans));
        #[cfg(not(target_os = "linux"))]
        let outcome = channel.receive(&mut |reply| ledger.take_reply(in_flight, reply, is_killed, sleep));
        if let Some((number, place)) = in_flight.take_released() {
            channel.release(number, place);
            worker.definitions.passed(number);
        }
        worker.violated_protocol |= outcome.is_err();
        let rests = before > 0 && worker.in_flight.live() == 0;
        if rests {
            worker.rest(sleep);
            if worker.is_ready() {
                idle.push(number);
            }
        }
        // It is buried, or replaced, or its frames are taken, by the supervisor alone.
        let has_kept = worker.channel.control().wants_to_send();
        if worker.violated_protocol || rests && !worker.is_open() || worker.has_pending_frames() || has_kept {
            sleep.call();
        }
    }

    /// Has the supervisor look after requests that stand behind others.
    fn watch(&mut self) {
        if !self.is_watched {
            self.is_watched = true;
            self.sleep.call();
        }
    }

    /// When something about a task or a worker is due: a limit, the end of a grace time or of a wait, a worker that leaves.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let workers = self.workers.values().filter_map(WorkerHandle::next_deadline);
        workers.chain(self.next_expiry()).chain(self.next_leave()).chain(self.claims_due).min()
    }

    /// When a worker will have had nothing to do for as long as it may.
    fn next_leave(&self) -> Option<Instant> {
        let limit = self.sleep.idle_timeout().filter(|_| self.warming == 0)?;
        let idle = self.workers.values().filter(|worker| worker.is_open() && worker.in_flight.live() == 0);
        idle.filter_map(|worker| worker.idle_since.checked_add(limit)).min()
    }

    /// Whether the supervisor wakes up in time for everything that is due some time.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn is_sleep_covered(&self) -> bool {
        self.sleep.covers(self.next_deadline())
    }

    /// A task that has all its answers without having been run.
    pub(in crate::process) fn end_unrun(&mut self, job: Job, request: Request) {
        self.ledger.end_chunk(job, request);
    }

    /// What whoever releases the lock is to drop, if there is anything.
    #[inline]
    pub(in crate::process) fn take_spent(&mut self) -> Option<Vec<Spent>> {
        if let Some(pages) = self.queue.take_spent() {
            self.ledger.spent.push(Spent::Pages(pages));
        }
        if self.ledger.spent.is_empty() { None } else { Some(std::mem::take(&mut self.ledger.spent)) }
    }

    /// Whether every task is in one place, the one that it says, and whether the counts are those of what they count.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn is_consistent(&self) -> bool {
        let all_in_flight = self.workers.values().map(|worker| &worker.in_flight);
        let standing = all_in_flight.clone().map(crate::process::parent::in_flight::InFlight::live).sum::<usize>();
        let are_there = self.workers.iter().all(|(number, worker)| {
            worker.in_flight.lives().all(|(request, standing)| {
                standing.job.content().location().get() == Location::Worker(*number, request as u32)
            })
        });
        let wanted = all_in_flight
            .flat_map(crate::process::parent::in_flight::InFlight::lives)
            .filter(|(_, standing)| standing.job.content().location().is_wanted())
            .count()
            + self.queue.iter().filter(|queued| queued.job.content().location().is_wanted()).count();
        let expiries = self.ledger.expiries.values();
        let awaited = expiries.clone().all(|(job, _)| job.content().location().get() != Location::Nowhere);
        self.queue.is_sound()
            && are_there
            && awaited
            && self.ledger.standing == standing
            && self.ledger.wanted == wanted + self.waiting_for_space
    }

    /// The pool has ended: lets go of tasks that are done, and that were to be come across later. Each holds on to the pool.
    pub(super) fn forget_done(&mut self) {
        debug_assert!(self.queue.is_empty(), "a pool has ended with tasks in its queue");
        self.ledger.expiries.clear();
    }

    /// Whether something waits in the queue.
    pub(super) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Workers that have something to do.
    pub(in crate::process) fn busy(&self) -> usize {
        self.workers.len() - self.idle.len()
    }

    /// Tasks that run.
    pub(in crate::process) fn running(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_running()).count()
    }

    /// A submitter waits for space: workers have to say when they have answered.
    pub(in crate::process) fn begin_wait_for_space(&mut self) {
        self.waiting_for_space += 1;
        self.ledger.wanted += 1;
        self.refill();
    }

    pub(in crate::process) fn end_wait_for_space(&mut self) {
        self.waiting_for_space -= 1;
        self.ledger.wanted -= 1;
    }
}
