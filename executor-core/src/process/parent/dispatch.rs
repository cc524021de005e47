//! Which worker gets which task. All of it is under the pool's lock, and any thread that holds it may do it.

use std::time::{Duration, Instant};

use super::{
    queue::{AT_ONCE, Queued},
    sleep::Attention,
    spent::Spent,
    state::State,
    workers::{handle::WorkerHandle, in_flight::InFlightRequest},
};
#[cfg(target_os = "linux")]
use crate::portable::request::Settled;
use crate::{
    error::TaskError,
    future::Task as CellTask,
    portable::{
        bytes::{Bytes, LONGEST_COPY, Long, LongBytes},
        job::{Job, ProcessTask},
        location::Location,
        request::Request,
    },
    process::transport::Record,
    sys,
};

mod reclaim;
mod silent;
#[cfg(all(test, not(loom), target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "a test")]
mod simulation;
mod starts;
mod stop;

/// So many nanoseconds of work are in flight at a worker, so that it does not have to wait for the parent ...
const IN_FLIGHT_NS: f32 = 400_000.0;
/// ... and while it is less than this, waking another worker would take longer than waiting for this one ...
const SPREAD_ABOVE_NS: f32 = 5_000.0;
/// ... or, where no core is free for that one and the submitter needs its own, would only have the cores change hands.
const SPREAD_ABOVE_CROWDED_NS: f32 = 50_000.0;
/// With tasks that take longer than this nothing is in flight behind the one that runs.
const LONG_TASK_NS: f32 = 1_000_000.0;

/// Bytes that go to a worker, and may have to be kept.
trait Source {
    fn slice(&self) -> &[u8];

    /// Takes them out, or copies them where they are few.
    fn keep(&mut self) -> Bytes;

    /// Takes them out as shared bytes, which several may own: they are long.
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

/// The buffer in which an argument was encoded, which its thread uses again.
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

/// The memory of an argument that its thread gives away, so that it need not be copied.
const SCRATCH: usize = 4096;

impl State {
    /// Takes a new task: straight to a worker where one has room for it and no task is before it.
    pub(in crate::process) fn admit(&mut self, job: Job, mut request: Request, bytes: &mut Vec<u8>) {
        request.ticket = self.queue.next_ticket();
        if request.time_limit().is_some() {
            self.ledger.want_from_the_beginning(&job);
        }
        if self.queue.is_empty()
            && let Some(number) = self.choose(&request, bytes.len())
        {
            self.assign(number, job, request, bytes);
            self.notify(number);
            self.note_starts();
            return;
        }
        let bytes = bytes.keep();
        self.queue.push(Queued { job, request, bytes });
        // The supervisor starts a worker, unless there are as many as there may be.
        if !self.staffing.is_full {
            self.sleep.call();
        }
        self.receive_all();
        self.refill();
    }

    /// The task ends when it has waited for so long and no worker has begun it.
    pub(in crate::process) fn expire_after(&mut self, limit: Duration, job: &Job, request: &mut Request) {
        let attention = self.ledger.expire_after(limit, job, request);
        self.sleep.attend(attention);
    }

    /// Ends tasks that have waited for as long as they may.
    pub(super) fn expire(&mut self, now: Instant) {
        // The rest is due as well, and has the supervisor come back at once.
        for _ in 0..AT_ONCE {
            let Some((job, since)) = self.ledger.pop_expired(now) else { break };
            self.take_away(&job, TaskError::Expired { waited: now - since }, false);
            self.ledger.spend(Spent::Task(job));
        }
    }

    /// How many requests may be in flight at a worker.
    fn depth(&self) -> usize {
        match self.ledger.task_time() {
            // The length of tasks is not known yet, or they are long.
            0.0 | LONG_TASK_NS.. => 1,
            time => ((IN_FLIGHT_NS / time) as usize).max(2),
        }
    }

    fn can_take(&self, worker: &WorkerHandle, request: &Request, bytes: usize) -> bool {
        worker.is_open()
            && !worker.is_stuck()
            && worker.in_flight().len() < self.depth().min(worker.channel.depth())
            && worker.has_room(request, bytes)
    }

    /// Whether the worker used last has something to do, but so little that waking another one would take longer.
    fn current_is_best(&self, request: &Request, bytes: usize) -> bool {
        let is_crowded = self.workers.busy() + 1 >= sys::available_cpus();
        let spread_above = if is_crowded { SPREAD_ABOVE_CROWDED_NS } else { SPREAD_ABOVE_NS };
        let task_time = self.ledger.task_time();
        self.workers.get(self.workers.current()).is_some_and(|worker| {
            !worker.is_idle()
                && task_time > 0.0
                && worker.in_flight().len() as f32 * task_time < spread_above
                && self.can_take(worker, request, bytes)
        })
    }

    /// The worker that a task should go to now, if there is one.
    fn choose(&mut self, request: &Request, bytes: usize) -> Option<u32> {
        let current = self.workers.current();
        if self.workers.get(current).is_some_and(|worker| !worker.is_idle()) {
            if self.current_is_best(request, bytes) {
                return Some(current);
            }
            // Much of what is in flight there may have been answered already.
            self.receive(current);
            if self.current_is_best(request, bytes) {
                return Some(current);
            }
        }
        let idle = self.workers.idle_with_room(request, bytes);
        idle.or_else(|| self.workers.least_loaded(|worker| self.can_take(worker, request, bytes)))
    }

    /// Sends a task to a worker that has room for it.
    fn assign(
        &mut self,
        number: u32,
        job: Job,
        #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "nothing is shared"))] mut request: Request,
        source: &mut dyn Source,
    ) {
        let Some(worker) = self.workers.get_mut(number) else { return };
        #[cfg(target_os = "linux")]
        let (mut settled, large) = match request.settle() {
            None => (None, None),
            Some(Settled::Reference(bytes, large)) => {
                self.ledger.spend(Spent::Long(Long::Large(large)));
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
        let request_number = worker.in_flight().next_number();
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
        // Bytes that were sent at once need no memory any more, also where nothing else ever comes over the socket.
        if control.has_spent() {
            self.ledger.spend_all(control.take_spent().into_iter().map(Spent::Long));
        }
        // The supervisor sends the bytes that did not fit into a socket.
        let mut attention = Attention::now_if(control.wants_to_send());
        job.content().location().set(Location::Worker(number, request_number as u32));
        let is_behind = !worker.is_idle();
        attention |= self.workers.note_sent(number, InFlightRequest { job, request, place, kept });
        if is_behind && !self.watches.behind {
            self.watches.behind = true;
            attention = Attention::Now;
        }
        // Claims are watched also where this request is behind another one: when that one is answered, no other event begins the
        // watch.
        attention |= self.watch_claims();
        self.sleep.attend(attention);
    }

    /// Notifies a worker of what was sent to it.
    fn notify(&mut self, number: u32) {
        // The worker may spin only if a core is free: the calling thread needs one as well.
        let may_spin = self.workers.busy() < sys::available_cpus();
        if let Some(worker) = self.workers.get_mut(number) {
            worker.channel.notify(may_spin);
            // The supervisor sends what did not fit into the socket.
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
                self.watches.behind || self.workers.iter().all(|worker| worker.in_flight().len() < 2),
                "what is in flight behind something is watched"
            );
            if !self.set_notify_policy() {
                return;
            }
            // Workers may have answered before they could see the new policy; then this thread has to notice.
            self.receive_all();
        }
    }

    fn hand_out(&mut self) {
        let enough = self.depth() / 2;
        if self.queue.is_empty()
            || self.queue.is_held()
            || !self.workers.iter().any(|worker| worker.is_open() && worker.in_flight().len() <= enough)
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
            self.assign(number, job, request, &mut bytes);
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
        if self.queue.is_empty() && self.workers.in_flight() < 2 {
            return;
        }
        self.hand_out();
        self.rebalance();
        self.hand_out();
    }

    /// Tells the workers when to wake the parent; `true` when some of them may have missed it.
    fn set_notify_policy(&mut self) -> bool {
        self.workers.set_notify_policy(self.ledger.notify_policy(self.queue.is_empty()))
    }

    /// A thread begins to spin for answers, and workers need not wake any thread.
    pub(in crate::process) fn begin_spin(&mut self) {
        self.ledger.begin_spin();
        self.set_notify_policy();
    }

    /// A thread has spun enough.
    pub(in crate::process) fn end_spin(&mut self) {
        self.ledger.end_spin();
        self.refill();
    }

    /// A thread is about to sleep until the task is done.
    pub(in crate::process) fn want(&mut self, task: &CellTask<ProcessTask>) {
        if self.ledger.want(task) {
            self.refill();
        }
    }

    /// A submitter waits for space: workers have to say when they have answered.
    pub(in crate::process) fn begin_wait_for_space(&mut self) {
        self.ledger.begin_wait_for_space();
        self.refill();
    }

    /// Takes all answers that have arrived.
    pub(in crate::process) fn receive_all(&mut self) {
        let attention = self.workers.receive_all(&mut self.ledger);
        self.sleep.attend(attention);
        self.note_starts();
    }

    /// Takes the answers of one worker.
    pub(in crate::process) fn receive(&mut self, number: u32) {
        let attention = self.workers.receive(number, &mut self.ledger);
        self.sleep.attend(attention);
        self.note_starts();
    }
}
