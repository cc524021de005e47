//! A worker process as the pool sees it: its process, its channel, and its life.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use super::loans::Loans;
use super::{definitions::Definitions, in_flight::InFlight, sleep::Sleep};
#[cfg(target_os = "linux")]
use crate::{
    codec::limits::MAX_ENCODED,
    shm::{Reference, Segment},
};
use crate::{
    error::{TaskError, WorkerExit},
    process::{
        task::{
            bytes::{LONGEST_COPY, Long},
            function_id::FunctionId,
            request::Request,
        },
        transport::{Load, ParentEnd, Record},
    },
    sys::{self, WorkerProcess},
};

/// What is known of a worker that does not claim.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silent {
    pub(in crate::process) since: Instant,
    /// When it is looked at again.
    pub(in crate::process) look: Instant,
    pub(super) kill_at: Option<Instant>,
}

/// A request that was first and not claimed, and at how many looks.
pub(super) type Unclaimed = (u64, u32);

pub(in crate::process) struct WorkerHandle {
    pub(in crate::process) process: WorkerProcess,
    pub(in crate::process) channel: Box<dyn ParentEnd>,
    pub(in crate::process) watched: Arc<Watched>,
    pub(in crate::process) life: Life,
    /// The functions that it knows.
    pub(in crate::process) definitions: Definitions,
    pub(in crate::process) in_flight: InFlight,
    /// Tasks that it may still be given, when it is to be replaced after so many.
    pub(super) tasks_left: Option<u32>,
    /// Its first task was told to stop.
    pub(in crate::process) stop: Option<Stop>,
    /// It is ready, and gets no task as long as those that it is to replace have some.
    pub(in crate::process) is_held: bool,
    /// What is first here and was not claimed when the supervisor last looked.
    pub(super) unclaimed: Option<Unclaimed>,
    /// It does not claim what it is given.
    pub(super) silent: Option<Silent>,
    /// It has said that it has grown too large.
    pub(super) is_over_size_limit: bool,
    /// An observer was told that it is there.
    pub(super) is_announced: bool,
    /// The number of its first request when the supervisor last looked, to notice that it takes long.
    seen_number: Option<u64>,
    /// The number of the request that was seen twice.
    stuck_at: Option<u64>,
    /// When it last had something to do.
    pub(super) idle_since: Instant,
    /// Why it could not begin, if it said so.
    pub(super) startup_error: Option<TaskError>,
    /// It has sent what no worker sends.
    pub(super) violated_protocol: bool,
    /// It was killed, or has ended, and is not reaped yet.
    pub(super) dying: Option<Dying>,
    /// It has said that it ends because it was refused memory.
    pub(super) out_of_memory: bool,
    /// The shared memory that it was given. Dropped when the process is reaped.
    #[cfg(target_os = "linux")]
    pub(in crate::process) loans: Loans,
}

/// What the supervisor sleeps on: descriptors of its own, so that it can do so without the lock.
pub(in crate::process) struct Watched {
    pub(in crate::process) channel: OwnedFd,
    /// Readable once the process has ended, where the system has such a thing.
    pub(in crate::process) process: Option<OwnedFd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::process) enum Life {
    /// Has not finished the handshake and the initializer.
    Starting {
        until: Option<Instant>,
    },
    Ready,
    /// Was told to go; gets no more tasks.
    Leaving {
        kill_at: Option<Instant>,
    },
}

/// A process that is killed may take its time to end: the system takes back what memory it has, closes its files, or waits for
/// a device; and a debugger may keep it. Nobody waits for it meanwhile, least of all under the pool's lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dying {
    /// When to look again whether it has ended, where no descriptor tells of it.
    pub(in crate::process) look: Option<Instant>,
    /// The next wait after that.
    pause: Duration,
}

/// A process whose end nothing tells of is looked at after this time, and then after twice as long each time ...
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// ... up to this.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// A task was told to stop.
pub(in crate::process) struct Stop {
    /// What its future will say.
    pub(in crate::process) error: TaskError,
    /// When SIGKILL comes.
    pub(super) kill_at: Option<Instant>,
}

impl WorkerHandle {
    pub(in crate::process) fn new(
        process: WorkerProcess,
        channel: Box<dyn ParentEnd>,
        watched: Watched,
        until: Option<Instant>,
        tasks_left: Option<u32>,
        #[cfg(target_os = "linux")] loans: Loans,
    ) -> Self {
        Self {
            #[cfg(target_os = "linux")]
            loans,
            process,
            channel,
            watched: Arc::new(watched),
            life: Life::Starting { until },
            definitions: Definitions::default(),
            in_flight: InFlight::default(),
            tasks_left,
            is_held: true,
            unclaimed: None,
            silent: None,
            is_over_size_limit: false,
            is_announced: false,
            stop: None,
            seen_number: None,
            stuck_at: None,
            idle_since: Instant::now(),
            startup_error: None,
            violated_protocol: false,
            dying: None,
            out_of_memory: false,
        }
    }

    pub(in crate::process) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it may be given tasks, or has some.
    pub(in crate::process) fn is_ready(&self) -> bool {
        self.life == Life::Ready && self.dying.is_none()
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.life, Life::Starting { .. }) && self.dying.is_none()
    }

    pub(super) fn is_dying(&self) -> bool {
        self.dying.is_some()
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.life, Life::Leaving { .. })
    }

    /// Ends its process. `None` as long as that has not ended: then somebody has to come again when the descriptor of the process
    /// is ready, or at [`Dying::look`]. Until then it gets no task, and what it has claimed stays where it is.
    pub(in crate::process) fn try_reap(&mut self) -> Option<WorkerExit> {
        if self.dying.is_none() {
            self.kill();
        }
        let exit = self.process.try_reap();
        let pause = self.dying.map_or(FIRST_LOOK, |dying| dying.pause);
        // A descriptor that is ready too early, as it is where a debugger is to hear of the end first, would be so all the time.
        let process = self.watched.process.as_ref();
        let is_told = exit.is_none() && process.is_some_and(|process| !sys::is_readable(process.as_fd()));
        let look = if is_told { None } else { Instant::now().checked_add(pause) };
        self.dying = Some(Dying { look, pause: (2 * pause).min(LAST_LOOK) });
        exit
    }

    /// Whether it is to be replaced when it has done what it has.
    pub(super) fn is_used_up(&self) -> bool {
        self.tasks_left == Some(0) || self.is_over_size_limit
    }

    /// Whether it gets nothing more than it has, so that its successor may be started, if not be given anything.
    pub(super) fn is_succeeded(&self) -> bool {
        self.is_ready() && self.is_used_up() && self.stop.is_none()
    }

    /// Whether it has claimed a request, and read it: what it has not read may still go to another one.
    pub(super) fn has_begun(&self, request: u64) -> bool {
        self.channel.is_claimed(request) && !self.channel.is_unread(request)
    }

    /// What is first here, if it is not claimed, or not even read.
    pub(super) fn first_unclaimed(&self) -> Option<u64> {
        let (first, _) = self.in_flight.front()?;
        (!self.has_begun(first)).then_some(first)
    }

    /// Whether it is stopped, and has not read what stands first, which cannot be taken back as long as it lives.
    pub(super) fn is_stopped_before(&self, first: u64) -> bool {
        // In this order: as long as it is stopped it reads nothing.
        self.channel.is_claimed(first) && self.process.is_stopped() && self.channel.is_unread(first)
    }

    /// Whether it may be given one more task, room for it aside.
    pub(super) fn is_open(&self) -> bool {
        self.is_ready()
            && !self.is_held
            && self.stop.is_none()
            && !self.is_used_up()
            && !self.violated_protocol
            && self.silent.is_none()
    }

    /// The number under which the worker knows this function and configuration; tells it if it does not.
    pub(in crate::process) fn define(&mut self, request: &Request) -> Result<u32, TaskError> {
        if let Some(number) = self.definitions.find(request)
            && self.has_all_of(request)
        {
            return Ok(number);
        }
        let function = FunctionId::of(request.entry)?;
        #[cfg(target_os = "linux")]
        if let Some(bound) = &request.bound {
            let shared = self.loans.share(&bound._pins, &mut *self.channel);
            shared.map_err(|cause| TaskError::encode("configuration", cause))?;
        }
        let number = self.definitions.put(request, self.in_flight.next_number());
        let long = request.bound.as_ref().filter(|bound| bound.bytes.len() > LONGEST_COPY);
        let bound = request.bound.as_ref().map(|bound| if long.is_some() { &[] } else { &bound.bytes[..] });
        let FunctionId { offset, name_hash, .. } = function;
        let record = Record::Define { definition: number, offset, name_hash, bound };
        self.channel.push_with(record, long.map(Arc::clone).map(Long::Bound));
        Ok(number)
    }

    /// Whether the worker has the shared memory of a configuration that it knows.
    #[cfg(target_os = "linux")]
    fn has_all_of(&self, request: &Request) -> bool {
        request.bound.as_ref().is_none_or(|bound| self.loans.has_all(&bound._pins))
    }

    #[cfg(not(target_os = "linux"))]
    fn has_all_of(&self, _: &Request) -> bool {
        true
    }

    /// What is pushed for a request at most: [`define`](Self::define) and [`share`](Self::share) push some of it, for the
    /// worker may know it already, and the request itself comes last.
    pub(in crate::process) fn room_for(request: &Request, bytes: usize) -> Load {
        let define = Record::Define {
            definition: 0,
            offset: 0,
            name_hash: 0,
            bound: request.bound.as_ref().map(|bound| &bound.bytes[..]),
        };
        #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "nothing is shared"))]
        let mut load = Load { bare: 0, contents: [Some(define.content()), Some(bytes), None] };
        #[cfg(target_os = "linux")]
        {
            let pins = request.pins().into_iter().chain(request.bound.as_ref().map(|bound| &bound._pins));
            load.bare = pins.map(Loans::records_for).sum();
            if request.is_unsettled() {
                // It becomes a reference to one piece of shared memory, or is long.
                load.bare += 1;
                load.contents[1..].copy_from_slice(&[Some(Reference::ENCODED), Some(MAX_ENCODED)]);
            }
        }
        load
    }

    /// Gives it the shared memory that a request refers to.
    #[cfg(target_os = "linux")]
    pub(in crate::process) fn share(&mut self, request: &Request) -> Result<(), TaskError> {
        let Some(pins) = request.pins() else { return Ok(()) };
        self.loans.share(pins, &mut *self.channel).map_err(|cause| TaskError::encode("argument", cause))
    }

    /// Has it unmap the shared memory that nobody holds any more, and map that which will be needed next. Where it runs
    /// something there is no hurry about the latter.
    #[cfg(target_os = "linux")]
    pub(super) fn exchange_shared(&mut self, blanks: &[Arc<Segment>]) {
        if !self.is_ready() {
            return;
        }
        let mut told = self.loans.tell_to_forget(&mut *self.channel);
        if self.in_flight.live() == 0 && self.is_open() {
            told |= self.loans.offer(blanks, self.in_flight.next_number(), &mut *self.channel);
        }
        if told {
            self.channel.notify(false);
        }
    }

    /// Whether it runs something.
    pub(in crate::process) fn is_running(&self) -> bool {
        self.in_flight.front().is_some_and(|(number, _)| self.has_begun(number))
    }

    /// Looks whether its first request is the one that it was last time.
    pub(super) fn look_whether_stuck(&mut self) -> bool {
        let front = self.in_flight.front().map(|(number, _)| number);
        self.stuck_at = front.filter(|_| self.seen_number == front);
        self.seen_number = front;
        self.stuck_at.is_some()
    }

    /// Whether its first request takes long, so that nothing may stand behind it.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck_at.is_some() && self.in_flight.front().map(|(number, _)| number) == self.stuck_at
    }

    /// Nothing stands with it any more. One that was signalled may die at any moment now, and must not get another task.
    pub(in crate::process) fn rest(&mut self, sleep: &mut Sleep) {
        self.idle_since = Instant::now();
        sleep.note_rest(self.idle_since);
        if let Some(stop) = self.stop.take() {
            self.life = Life::Leaving { kill_at: stop.kill_at };
            // It may have survived the signal.
            self.in_flight.forget_revoked();
            self.channel.say_goodbye();
        }
    }

    /// Forgets what was revoked, when nothing else stands here.
    pub(super) fn forget_revoked(&mut self) {
        if self.in_flight.live() == 0 {
            self.in_flight.forget_revoked();
            if self.channel.release_all() {
                self.definitions.passed_all();
            }
        }
    }

    /// Tells the first task to stop: SIGTERM now and SIGKILL after the grace time; SIGKILL at once when there is none. The
    /// first reason stays.
    pub(in crate::process) fn stop(&mut self, error: &TaskError, grace: Duration, sleep: &mut Sleep) {
        let kill_at = self.end(grace);
        match &mut self.stop {
            // One who asks again does not put the end off. Where it was killed, that is done once more.
            Some(stop) => stop.kill_at = stop.kill_at.into_iter().chain(kill_at).min(),
            None => self.stop = Some(Stop { error: error.clone(), kill_at }),
        }
        if let Some(kill_at) = kill_at {
            sleep.call_by(kill_at);
        }
    }

    /// Sends it home, where no task of it was told to stop: at once where there is no grace. Whoever was told so before has no
    /// more time than now.
    pub(super) fn send_home(&mut self, grace: Duration, sleep: &mut Sleep) {
        let earlier = match self.life {
            Life::Leaving { kill_at } => kill_at,
            Life::Starting { .. } | Life::Ready => None,
        };
        let kill_at = if grace == Duration::ZERO || self.is_starting() {
            // One that starts does not read what it is told.
            self.end(grace)
        } else {
            Instant::now().checked_add(grace)
        };
        if !self.is_leaving() {
            self.forget_revoked();
            self.channel.say_goodbye();
        }
        self.life = Life::Leaving { kill_at: earlier.into_iter().chain(kill_at).min() };
        sleep.call();
    }

    /// Whether its task was killed by itself, and so promised to be cancelled.
    pub(super) fn is_killed(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.error == TaskError::Cancelled)
    }

    /// Whether it has said something that somebody who looked for answers has read, and the supervisor has not heard.
    pub(super) fn has_pending_frames(&mut self) -> bool {
        self.channel.control().has_frames()
    }

    /// A worker that may not be killed ends itself: it takes the end of its socket for that of the program.
    pub(in crate::process) fn kill(&mut self) {
        if self.process.kill().is_err() {
            self.channel.control().hang_up();
        }
    }

    fn end(&mut self, grace: Duration) -> Option<Instant> {
        if grace == Duration::ZERO {
            // Now, for the supervisor may be late; and it sees to the rest.
            self.kill();
            Some(Instant::now())
        } else {
            self.process.terminate();
            // One that is stopped, by a terminal for example, would not notice.
            self.process.resume();
            Instant::now().checked_add(grace)
        }
    }

    /// When something has to be done about it.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if let Some(dying) = &self.dying {
            return dying.look;
        }
        match self.life {
            Life::Starting { until } => until,
            Life::Leaving { kill_at } => kill_at,
            Life::Ready => match &self.stop {
                Some(stop) => stop.kill_at,
                None => self.in_flight.next_look().into_iter().chain(self.silent.map(|silent| silent.look)).min(),
            },
        }
    }
}
