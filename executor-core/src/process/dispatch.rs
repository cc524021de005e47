//! Who gets which task: the queue, the requests that stand with workers, and what comes back. All of it is under the pool's
//! lock; futures are woken after it is released, because that may run somebody else's code.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use super::shm::Loans;
use super::{
    job::{self, Answer, Bytes, Job, Location, ProcessTask, Request},
    shelf::{Shelf, Standing},
    transport::{Alert, Record, Reply, ReplyKind},
    wire::Malformed,
    worker_slot::Worker,
};
use crate::{codec, error::TaskError, executor::available_cpus, future::Task as CellTask, task::Items};

/// What stands with a worker should keep it busy for about this long, so that it does not have to wait for the parent ...
const AHEAD: f32 = 400_000.0;
/// ... and while it is less than this, in nanoseconds, waking another worker would take longer than waiting for this one.
const SPREAD: f32 = 5_000.0;
/// With tasks that take longer than this, in nanoseconds, nothing stands behind the one that runs.
const LONG: f32 = 1_000_000.0;

/// A task in the queue.
pub(super) struct Queued {
    pub(super) job: Job,
    pub(super) request: Request,
    pub(super) bytes: Bytes,
}

/// What changes when a task ends.
#[derive(Default)]
pub(super) struct Books {
    /// Tasks that stand with workers.
    pub(super) standing: usize,
    /// Tasks that are not done and that somebody may sleep for, or that have a time limit.
    wanted: usize,
    /// How long a task takes, in nanoseconds, by what was measured lately; 0 before.
    task_time: f32,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    /// Tasks that are done, and whose waiters are to be woken once the lock is released.
    to_wake: Vec<Job>,
}

impl Books {
    /// Ends a task that was just taken out of the queue or off a shelf.
    pub(super) fn end(&mut self, job: Job, outcome: Result<Answer, TaskError>) {
        if job.content().is_wanted() {
            self.wanted -= 1;
        }
        match &outcome {
            Ok(_) => self.done += 1,
            Err(TaskError::Cancelled) => self.cancelled += 1,
            Err(_) => self.failed += 1,
        }
        if job::end(&job, outcome.map_err(Box::new)) {
            self.to_wake.push(job);
        }
    }

    /// Takes a reply to what is at the front of a worker's shelf. The worker is not trusted. `is_killed`: the task was
    /// promised to be cancelled, and is, even if it came to its end before the signal.
    fn take_reply(
        &mut self,
        shelf: &mut Shelf,
        reply: Reply<'_>,
        is_killed: bool,
        #[cfg(target_os = "linux")] loans: &Loans,
    ) -> Result<(), Malformed> {
        let (number, front) = shelf.front_mut().ok_or(Malformed)?;
        if number as u32 != reply.number {
            return Err(Malformed);
        }
        #[cfg(target_os = "linux")]
        for (reference, file) in reply.attached {
            loans.attach(front.request.attached(), reference, file)?;
        }
        if front.request.is_chunk() {
            let left = front.request.items;
            match reply.kind {
                ReplyKind::Failed => {
                    let error = decode_error(&reply.bytes);
                    (0..left).for_each(|_| front.request.lose_item(error.clone()));
                }
                _ if !front.request.take_items(reply.items, &reply.bytes) => return Err(Malformed),
                // Otherwise it could send parts for ever.
                ReplyKind::Part if reply.items == 0 => return Err(Malformed),
                ReplyKind::Part => return Ok(()),
                ReplyKind::Done if front.request.items > 0 => return Err(Malformed),
                ReplyKind::Done => front.request.extras().chunk.ran_for += Duration::from_nanos(reply.elapsed.into()),
            }
        } else if reply.kind == ReplyKind::Part {
            return Err(Malformed);
        }
        let Some(Standing { job, request, .. }) = shelf.take_front() else { return Err(Malformed) };
        self.standing -= 1;
        if reply.elapsed > 0 {
            self.note_time(reply.elapsed as f32);
        }
        let outcome = match reply.kind {
            _ if is_killed => Err(TaskError::Cancelled),
            ReplyKind::Failed if !request.is_chunk() => Err(decode_error(&reply.bytes)),
            _ => Ok(request.into_answer(reply.bytes)),
        };
        self.end(job, outcome);
        Ok(())
    }

    /// Follows what was measured lately. A task that took much longer may have been preempted, so it counts for no more than
    /// four times what was known; a few such tasks in a row still change the picture.
    fn note_time(&mut self, time: f32) {
        self.task_time = match self.task_time {
            0.0 => time,
            known => known + (time.min(4.0 * known) - known) / 4.0,
        };
    }
}

fn decode_error(bytes: &[u8]) -> TaskError {
    codec::decode(bytes).unwrap_or_else(|cause| TaskError::decode("error", cause))
}

#[derive(Default)]
pub(super) struct State {
    /// In the order of submission. Those that were cancelled meanwhile stay as tombstones.
    pub(super) queue: VecDeque<Queued>,
    /// Tasks in the queue that are no tombstones.
    pub(super) queued: usize,
    pub(super) workers: BTreeMap<u32, Worker>,
    pub(super) next_worker: u32,
    /// Workers with which nothing stands; the one used last, whose caches are warm, comes last.
    pub(super) idle: Vec<u32>,
    /// The worker that was given something last.
    current: u32,
    pub(super) books: Books,
    /// Threads that look for answers.
    lookers: usize,
    alert: Alert,
    /// Whether the supervisor looks after requests that stand behind others.
    pub(super) is_watched: bool,
    /// Tasks that may wait for so long to be begun, and since when they wait.
    expiries: BTreeMap<(Instant, u64), (Job, Instant)>,
    next_expiry: u64,
    /// Of the process that workers are forked from, while there is one.
    pub(super) fork_server: Option<u32>,
    /// How many workers there should be; rises with demand.
    pub(super) wanted_workers: usize,
    /// Threads that wait until there are as many workers as there may be. Meanwhile none leaves because it is idle.
    pub(super) warming: usize,
    /// Why there are not as many, if the system has refused one meanwhile.
    pub(super) no_worker: Option<TaskError>,
    /// How many workers there may be.
    pub(super) most_workers: usize,
    pub(super) shut_down: bool,
    /// No worker is left and none will come.
    pub(super) ended: bool,
    pub(super) broken: Option<TaskError>,
    /// Workers that ended by themselves before they were ready, since one was.
    pub(super) failed_starts: u32,
    /// Workers that were killed before they were ready, since one was; and since when.
    pub(super) killed_starts: Option<(u32, Instant)>,
    /// How long a worker without work may stay.
    pub(super) idle_timeout: Option<Duration>,
    /// When the supervisor wakes up by itself.
    pub(super) supervisor_wakes: Option<Instant>,
    /// Workers that died and whose successor has not been started.
    pub(super) to_replace: usize,
    pub(super) died: u64,
    pub(super) respawned: u64,
    /// The supervisor has something to do.
    pub(super) needs_supervisor: bool,
}

/// Tasks whose waiters are to be woken. That is foreign code, so no lock may be held.
#[must_use]
pub(super) struct ToWake(Vec<Job>);

impl ToWake {
    pub(super) fn wake(self) {
        for job in self.0 {
            job.cell().wake();
        }
    }
}

impl State {
    pub(super) fn new(most_workers: usize, idle_timeout: Option<Duration>) -> Self {
        Self { most_workers, idle_timeout, ..Self::default() }
    }

    pub(super) fn take_to_wake(&mut self) -> ToWake {
        ToWake(std::mem::take(&mut self.books.to_wake))
    }

    /// Tasks that wait for a worker, also for the one that they stand with.
    pub(super) fn waiting(&self) -> usize {
        let busy = self.workers.values().filter(|worker| worker.shelf.live() > 0).count();
        self.queued + self.books.standing - busy
    }

    /// Takes a new task: straight to a worker where one has room for it and nobody is before it.
    pub(super) fn admit(&mut self, job: Job, request: Request, bytes: &mut Vec<u8>) {
        job.content().set_location(Location::Queue);
        let is_limited = request.time_limit().is_some();
        if is_limited && job.content().want() {
            self.books.wanted += 1;
        }
        if self.queue.is_empty()
            && let Some(number) = self.choose(&request, bytes.len())
        {
            self.stand(number, job, request, bytes);
            let behind = self.workers.get(&number).is_some_and(|worker| worker.shelf.live() > 1);
            self.ring(number);
            // The supervisor sleeps until the time that it knew of when it fell asleep.
            self.needs_supervisor |= is_limited || behind && !self.is_watched;
            self.is_watched |= behind;
            return;
        }
        let bytes = if bytes.len() > 4096 { std::mem::take(bytes).into() } else { Bytes::from(&bytes[..]) };
        self.enqueue(Queued { job, request, bytes }, false);
        // Where there is nothing to look for, the supervisor starts workers.
        self.needs_supervisor |= self.workers.len() < self.most_workers || is_limited;
        self.receive_all();
        self.refill();
    }

    /// Puts a task into the queue, at its head when it was before others already.
    pub(super) fn enqueue(&mut self, queued: Queued, first: bool) {
        queued.job.content().set_location(Location::Queue);
        if queued.request.is_heavy(&queued.bytes) {
            queued.job.content().set_heavy();
        }
        self.queued += 1;
        let priority = queued.request.priority();
        if first {
            self.queue.push_front(queued);
        } else if self.queue.back().is_none_or(|last| last.request.priority() >= priority) {
            self.queue.push_back(queued);
        } else {
            let place = self.queue.partition_point(|other| other.request.priority() >= priority);
            self.queue.insert(place, queued);
        }
    }

    /// The task ends when it has waited for so long and nobody has begun it.
    pub(super) fn expire_after(&mut self, limit: Duration, job: &Job) {
        let now = Instant::now();
        // A limit too large for the clock is none.
        let Some(end) = now.checked_add(limit) else { return };
        if self.expiries.len() > 2 * (self.queued + self.books.standing) + 64 {
            self.expiries.retain(|_, (job, _)| !job.cell().state().is_final());
        }
        let earliest = self.next_expiry().is_none_or(|next| end < next);
        self.expiries.insert((end, self.next_expiry), (job.clone(), now));
        self.next_expiry += 1;
        self.needs_supervisor |= earliest;
    }

    /// When the next task has waited for as long as it may.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first_key_value().map(|((end, _), _)| *end)
    }

    /// Ends tasks that have waited for as long as they may.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.next_expiry().is_some_and(|end| end <= now)
            && let Some((_, (job, since))) = self.expiries.pop_first()
        {
            self.take_away(&job, TaskError::Expired { waited: now - since });
        }
    }

    /// The next task in the queue that was not cancelled.
    fn next_queued(&mut self) -> Option<&Queued> {
        while self.queue.front().is_some_and(|queued| queued.job.content().location() != Location::Queue) {
            self.queue.pop_front();
        }
        self.queue.front()
    }

    /// How many requests may stand with a worker.
    fn depth(&self) -> usize {
        match self.books.task_time {
            // Nothing is known yet, or they are long.
            0.0 | LONG.. => 1,
            time => ((AHEAD / time) as usize).max(2),
        }
    }

    fn can_take(&self, worker: &Worker, request: &Request, bytes: usize) -> bool {
        worker.is_open()
            && worker.shelf.live() < self.depth().min(worker.channel.depth())
            && worker.channel.has_room(Worker::room_for(request, bytes))
    }

    /// Whether the worker used last has something to do, but so little that waking another one would take longer.
    fn current_is_best(&self, request: &Request, bytes: usize) -> bool {
        self.workers.get(&self.current).is_some_and(|worker| {
            worker.shelf.live() > 0
                && self.books.task_time > 0.0
                && worker.shelf.live() as f32 * self.books.task_time < SPREAD
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
                Some(worker) if worker.is_open() && worker.shelf.live() == 0 => {
                    // Nothing that it has not passed may be in the way.
                    worker.forget_revoked();
                    if worker.channel.has_room(Worker::room_for(request, bytes)) {
                        return Some(number);
                    }
                    break;
                }
                _ => drop(self.idle.pop()),
            }
        }
        let able = self.workers.iter().filter(|(_, worker)| self.can_take(worker, request, bytes));
        able.min_by_key(|(_, worker)| worker.shelf.live()).map(|(number, _)| *number)
    }

    /// Puts a task with a worker, which has room for it.
    fn stand(
        &mut self,
        number: u32,
        job: Job,
        #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "nothing is shared"))] mut request: Request,
        bytes: &[u8],
    ) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        #[cfg(target_os = "linux")]
        let settled = request.settle();
        #[cfg(target_os = "linux")]
        let bytes = settled.as_deref().unwrap_or(bytes);
        #[cfg(target_os = "linux")]
        if let Err(error) = worker.share(&request) {
            return self.books.end(job, Err(error));
        }
        let definition = match worker.define(&request) {
            Ok(definition) => definition,
            Err(error) => return self.books.end(job, Err(error)),
        };
        let request_number = worker.shelf.next_number();
        let place = worker.channel.push(Record::Run { definition, items: request.items, bytes });
        let kept = (!worker.channel.keeps(bytes.len())).then(|| bytes.to_vec());
        // What did not fit into a socket is sent by the supervisor.
        self.needs_supervisor |= worker.channel.control().wants_to_send();
        job.content().set_location(Location::Worker(number, request_number as u32));
        worker.shelf.push(Standing { job, request, place, kept, is_revoked: false });
        worker.tasks_left = worker.tasks_left.map(|left| left - 1);
        self.books.standing += 1;
        self.current = number;
        if worker.shelf.live() == 1 {
            match self.idle.last() {
                Some(last) if *last == number => drop(self.idle.pop()),
                _ => self.idle.retain(|idle| *idle != number),
            }
        }
    }

    /// Tells a worker of what was put with it.
    fn ring(&mut self, number: u32) {
        // Workers that have something to do; the caller has something to do as well.
        let look = self.workers.len() - self.idle.len() < available_cpus();
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.channel.ring(look);
            // What did not fit into the socket is sent there.
            self.needs_supervisor |= worker.channel.control().wants_to_send();
        }
    }

    /// Hands out what is in the queue, and sees to it that workers wake the parent when they have to.
    pub(super) fn refill(&mut self) {
        loop {
            self.hand_out_all();
            if !self.set_alert() {
                return;
            }
            // Workers may have answered before they could see the new alert; then it is for this thread to notice.
            self.receive_all();
        }
    }

    fn hand_out(&mut self) {
        let enough = self.depth() / 2;
        if self.queue.is_empty()
            || !self.workers.values().any(|worker| worker.is_open() && worker.shelf.live() <= enough)
        {
            return;
        }
        let mut given: Vec<u32> = Vec::new();
        while self.next_queued().is_some()
            && let Some(queued) = self.queue.pop_front()
        {
            let bytes = queued.bytes.as_slice();
            let Some(number) = self.choose(&queued.request, bytes.len()) else {
                self.queue.push_front(queued);
                break;
            };
            self.queued -= 1;
            let Queued { job, request, bytes } = queued;
            self.stand(number, job, request, bytes.as_slice());
            if !given.contains(&number) {
                given.push(number);
            }
        }
        for number in given {
            self.ring(number);
        }
    }

    /// Hands out, after a worker has become free.
    fn hand_out_all(&mut self) {
        self.hand_out();
        self.rebalance();
        self.hand_out();
    }

    /// Tells the workers when to wake the parent; `true` when some of them may have missed it.
    fn set_alert(&mut self) -> bool {
        let alert = if self.lookers > 0 {
            Alert::BeforeSleep
        } else if self.books.wanted > 0 {
            Alert::Always
        } else if self.queued > 0 {
            Alert::WhenEmpty
        } else {
            Alert::BeforeSleep
        };
        if alert == self.alert {
            return false;
        }
        let raised = alert > self.alert;
        self.alert = alert;
        for worker in self.workers.values_mut() {
            worker.channel.set_alert(alert);
        }
        raised
    }

    /// A worker that is ready for its first task.
    pub(super) fn add_ready(&mut self, number: u32) {
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.channel.set_alert(self.alert);
            worker.idle_since = Instant::now();
            self.idle.push(number);
        }
    }

    /// A thread begins to look for answers, and workers need not wake anybody.
    pub(super) fn begin_look(&mut self) {
        self.lookers += 1;
        self.set_alert();
    }

    /// A thread has looked enough.
    pub(super) fn end_look(&mut self) {
        self.lookers -= 1;
        self.refill();
    }

    /// Somebody is about to sleep until the task is done.
    pub(super) fn want(&mut self, task: &CellTask<ProcessTask>) {
        if task.content().want() {
            self.books.wanted += 1;
            self.refill();
        }
    }

    /// Takes all answers that have arrived.
    pub(super) fn receive_all(&mut self) {
        let Self { workers, books, idle, .. } = self;
        if idle.len() == workers.len() {
            return;
        }
        let mut leaver = false;
        for (number, worker) in workers {
            if worker.shelf.live() > 0 && !worker.is_insane {
                let rests = Self::receive_from(*number, worker, books, idle);
                // It is buried, or replaced, there.
                leaver |= worker.is_insane || rests && !worker.is_open();
            }
        }
        self.needs_supervisor |= leaver || self.is_supervisor_late();
    }

    /// Whether the supervisor has to learn of a worker that may have nothing to do any more: nobody else lets it go.
    fn is_supervisor_late(&self) -> bool {
        if self.shut_down {
            return true;
        }
        let Some(limit) = self.idle_timeout.filter(|_| self.warming == 0) else { return false };
        let last = self.idle.last().and_then(|number| self.workers.get(number));
        let leaves = last.and_then(|worker| worker.idle_since.checked_add(limit));
        leaves.is_some_and(|leaves| self.supervisor_wakes.is_none_or(|wakes| wakes > leaves))
    }

    /// Takes the answers of one worker.
    pub(super) fn receive(&mut self, number: u32) {
        if let Some(worker) = self.workers.get_mut(&number) {
            let rests = Self::receive_from(number, worker, &mut self.books, &mut self.idle);
            self.needs_supervisor |= worker.is_insane || rests && !worker.is_open();
            self.needs_supervisor |= rests && self.is_supervisor_late();
        }
    }

    /// What makes no sense is the end of the worker that sent it. Says whether it has nothing to do from now on.
    fn receive_from(number: u32, worker: &mut Worker, books: &mut Books, idle: &mut Vec<u32>) -> bool {
        let is_killed = worker.is_killed();
        #[cfg(target_os = "linux")]
        let Worker { channel, shelf, loans, .. } = worker;
        #[cfg(not(target_os = "linux"))]
        let Worker { channel, shelf, .. } = worker;
        let before = shelf.live();
        #[cfg(target_os = "linux")]
        let outcome = channel.receive(&mut |reply| books.take_reply(shelf, reply, is_killed, loans));
        #[cfg(not(target_os = "linux"))]
        let outcome = channel.receive(&mut |reply| books.take_reply(shelf, reply, is_killed));
        if let Some((number, place)) = shelf.take_released() {
            channel.release(number, place);
        }
        worker.is_insane |= outcome.is_err();
        let rests = before > 0 && worker.shelf.live() == 0;
        if rests {
            worker.rest();
            if worker.is_ready() {
                idle.push(number);
            }
        }
        rests
    }

    /// Cancels a task that no worker has begun; `true` when this call did it.
    pub(super) fn cancel(&mut self, task: &CellTask<ProcessTask>) -> bool {
        self.take_away(task, TaskError::Cancelled)
    }

    /// Ends a task that no worker has begun with an error; `true` when this call did it.
    fn take_away(&mut self, task: &CellTask<ProcessTask>, error: TaskError) -> bool {
        let job = match task.content().location() {
            Location::Nowhere => return false,
            Location::Queue => {
                // It leaves a tombstone, which is found by its location.
                if task.content().is_begun() {
                    return false;
                }
                self.queued -= 1;
                // ... unless that would hold much memory.
                if task.content().is_heavy() {
                    let is_it = |queued: &Queued| std::ptr::eq(queued.job.content(), task.content());
                    let at = self.queue.iter().position(is_it);
                    at.and_then(|at| self.queue.remove(at));
                }
                Job::of(task)
            }
            Location::Worker(number, request) => {
                let Some(standing) = self.revoke(number, request) else { return false };
                standing.job
            }
        };
        self.books.end(job, Err(error));
        true
    }

    /// Takes a request back that its worker has not claimed.
    fn revoke(&mut self, number: u32, request: u32) -> Option<Standing> {
        let worker = self.workers.get_mut(&number)?;
        let (full_number, standing) = worker.shelf.find(request)?;
        if standing.job.content().is_begun() || !worker.channel.revoke(full_number) {
            return None;
        }
        self.take_revoked(number, full_number)
    }

    fn take_revoked(&mut self, number: u32, request: u64) -> Option<Standing> {
        let worker = self.workers.get_mut(&number)?;
        let standing = worker.shelf.revoke(request)?;
        worker.tasks_left = worker.tasks_left.map(|left| left + 1);
        self.books.standing -= 1;
        if worker.shelf.live() == 0 && worker.is_ready() {
            worker.rest();
            self.idle.push(number);
            self.needs_supervisor |= self.is_supervisor_late();
        }
        Some(standing)
    }

    /// Takes back what `number` has not claimed, the last ones first and no more than `most`, and puts it at the head of the
    /// queue in its old order.
    pub(super) fn take_back(&mut self, number: u32, most: usize) {
        let Some(worker) = self.workers.get(&number) else { return };
        let last: Vec<u64> = worker.shelf.live_from_the_back().take(most).collect();
        for request in last {
            let Some(worker) = self.workers.get_mut(&number) else { return };
            if !worker.channel.revoke(request) {
                break;
            }
            if let Some(standing) = self.take_revoked(number, request) {
                self.put_back(number, standing);
            }
        }
    }

    /// Puts what stood with a worker at the head of the queue.
    fn put_back(&mut self, number: u32, standing: Standing) {
        let Standing { job, request, place, kept, .. } = standing;
        let bytes = match (kept, self.workers.get(&number)) {
            (Some(bytes), _) => bytes,
            (None, Some(worker)) => worker.channel.bytes(place),
            (None, None) => Vec::new(),
        };
        self.enqueue(Queued { job, request, bytes: bytes.into() }, true);
    }

    /// When a worker has nothing to do, and there is nothing in the queue: takes half of what stands with the one that has
    /// most, if that is worth it.
    pub(super) fn rebalance(&mut self) {
        if self.queued > 0 {
            return;
        }
        let Some(free) = self.free_worker() else { return };
        let most = self.workers.iter().max_by_key(|(_, worker)| worker.shelf.live());
        let Some((&number, live)) = most.map(|(number, worker)| (number, worker.shelf.live())) else { return };
        if live > 1 && live as f32 * self.books.task_time > SPREAD {
            self.take_back(number, live / 2);
            self.current = free;
        } else if live > 1 && !self.is_watched {
            // So little is not worth it, unless the first of them takes longer than it should.
            self.is_watched = true;
            self.needs_supervisor = true;
        }
    }

    /// A worker with which nothing stands.
    fn free_worker(&self) -> Option<u32> {
        let free = |number: &&u32| self.workers.get(number).is_some_and(|worker| worker.is_open());
        self.idle.iter().rev().find(free).copied()
    }

    /// Looks after requests that stand behind others: what stands behind one that has not ended since the last time goes to a
    /// worker that has nothing to do. Says whether this has to be done again soon.
    pub(super) fn relieve(&mut self) -> bool {
        let numbers: Vec<u32> = self.workers.keys().copied().collect();
        let mut behind = false;
        for number in numbers {
            let free = self.free_worker();
            let Some(worker) = self.workers.get_mut(&number) else { continue };
            let front = worker.shelf.front().map(|(front, _)| front);
            let stuck = front.is_some() && worker.seen_number == front;
            worker.seen_number = front;
            let live = worker.shelf.live();
            if live < 2 {
                continue;
            }
            match free {
                Some(free) if stuck => {
                    self.take_back(number, live.div_ceil(2));
                    self.current = free;
                    self.hand_out();
                }
                Some(_) => behind = true,
                None if self.workers.len() < self.most_workers => {
                    behind = true;
                    if stuck && !self.workers.values().any(Worker::is_starting) {
                        self.wanted_workers = self.wanted_workers.max(self.workers.len() + 1);
                    }
                }
                // Whoever has nothing more to do wakes the parent.
                None => {}
            }
        }
        behind
    }

    /// Takes what a dead worker has left: what it has not begun goes back to the queue, and the rest of a chunk that it has
    /// begun. The item that it was running gets `error`, unless it is to be run again. Says whether something was running.
    pub(super) fn inherit(&mut self, number: u32, error: &TaskError, stopped: bool) -> bool {
        let Some(worker) = self.workers.get_mut(&number) else { return false };
        let unfinished = worker.channel.unfinished();
        if let Some((_, front)) = worker.shelf.front_mut()
            && let Some((items, bytes)) = unfinished
        {
            front.request.take_items(items.min(front.request.items.saturating_sub(1)), &bytes);
        }
        let mut lost = false;
        let left: Vec<u64> = worker.shelf.live_from_the_back().collect();
        for request in left {
            let Some(worker) = self.workers.get_mut(&number) else { break };
            // The process is gone, so nobody claims anything any more. Of what it has claimed, all but the first one has been
            // answered, unless it was insane: then it may have run anything that it says.
            let claimed = worker.channel.is_claimed(request);
            let Some(standing) = worker.shelf.revoke(request) else { continue };
            self.books.standing -= 1;
            if claimed {
                lost = true;
                self.lose(number, standing, error, stopped);
            } else {
                self.put_back(number, standing);
            }
        }
        lost
    }

    /// Settles the request that a worker was running when it died.
    fn lose(&mut self, number: u32, mut standing: Standing, error: &TaskError, stopped: bool) {
        let again = !stopped && standing.request.retry();
        if again && !standing.request.is_chunk() {
            return self.put_back(number, standing);
        }
        if stopped || !standing.request.is_chunk() {
            return self.books.end(standing.job, Err(error.clone()));
        }
        let bytes = match (&standing.kept, self.workers.get(&number)) {
            (Some(bytes), _) => bytes.clone(),
            (None, Some(worker)) => worker.channel.bytes(standing.place),
            (None, None) => Vec::new(),
        };
        // What is answered is not run again.
        let rest = |items: u32| Some(Items(&bytes).last_ones(items as usize).to_vec());
        if again {
            standing.kept = rest(standing.request.items);
            standing.job.content().set_begun();
            return self.put_back(number, standing);
        }
        standing.request.lose_item(error.clone());
        if standing.request.items == 0 || self.broken.is_some() {
            while standing.request.items > 0 {
                standing.request.lose_item(error.clone());
            }
            if let Some(chunk) = standing.request.into_chunk() {
                self.books.end(standing.job, Ok(Answer::Chunk(chunk)));
            }
            return;
        }
        // The other items have not been run, and are not lost.
        standing.kept = rest(standing.request.items);
        standing.job.content().set_begun();
        self.put_back(number, standing);
    }

    /// A task that has all its answers without having been run.
    pub(super) fn end_unrun(&mut self, job: Job, request: Request) {
        if let Some(chunk) = request.into_chunk() {
            self.books.end(job, Ok(Answer::Chunk(chunk)));
        }
    }

    /// Whether something waits in the queue.
    pub(super) fn has_queue(&self) -> bool {
        self.queued > 0
    }

    /// Workers that have something to do.
    pub(super) fn busy(&self) -> usize {
        self.workers.len() - self.idle.len()
    }

    /// Tasks that run.
    pub(super) fn running(&self) -> usize {
        self.workers.values().filter(|worker| worker.is_running()).count()
    }

    /// A submitter waits for space: workers have to say when they have answered.
    pub(super) fn begin_wait_for_space(&mut self) {
        self.books.wanted += 1;
        self.refill();
    }

    pub(super) fn end_wait_for_space(&mut self) {
        self.books.wanted -= 1;
    }

    /// Cancels everything that no worker has begun; returns how many tasks that were.
    pub(super) fn cancel_all(&mut self) -> usize {
        let numbers: Vec<u32> = self.workers.keys().copied().collect();
        for number in numbers {
            self.take_back(number, usize::MAX);
        }
        let (begun, queue): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.queue).into_iter().partition(|queued| queued.job.content().is_begun());
        self.queue = begun;
        let mut cancelled = 0;
        for queued in queue {
            if queued.job.content().location() == Location::Queue {
                self.queued -= 1;
                cancelled += 1;
                self.books.end(queued.job, Err(TaskError::Cancelled));
            }
        }
        cancelled
    }

    /// Ends everything that waits in the queue.
    pub(super) fn fail_queue(&mut self, error: &TaskError) {
        for queued in std::mem::take(&mut self.queue) {
            if queued.job.content().location() == Location::Queue {
                self.queued -= 1;
                self.books.end(queued.job, Err(error.clone()));
            }
        }
    }
}
