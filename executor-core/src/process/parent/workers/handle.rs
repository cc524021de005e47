//! A worker process as the program sees it: its process, its channel, and its life.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use super::leases::Leases;
use super::{
    Retirement,
    definitions::Definitions,
    in_flight::{InFlight, InFlightRequest},
    life::{Life, Silent, StartError, Stop},
    peer::WorkerPeer,
};
use crate::{
    error::{TaskError, WorkerExit},
    portable::request::Request,
    process::{
        parent::{ledger::Ledger, sleep::Attention},
        transport::{NotifyPolicy, ParentEnd},
    },
    sys,
};

/// A process that is killed may take its time to end: the system takes back what memory it has, closes its files, or waits for
/// a device; and a debugger may keep it. Nothing waits for it meanwhile, least of all under the pool's lock.
#[derive(Debug, Clone, Copy)]
struct Dying {
    /// When to look again whether it has ended, where no descriptor tells of it.
    look: Option<Instant>,
    /// The next wait after that.
    pause: Duration,
}

/// A process whose end no descriptor tells of is looked at after this time, and then after twice as long each time ...
const FIRST_REAP_PAUSE: Duration = Duration::from_millis(1);
/// ... up to this.
const LONGEST_REAP_PAUSE: Duration = Duration::from_millis(100);

/// Descriptors that the supervisor sleeps on: its own ones, so that it can do so without the lock.
pub(in crate::process::parent) struct Watched {
    pub(in crate::process::parent) channel: OwnedFd,
    /// Readable once the process has ended, where the system has such a thing.
    pub(in crate::process::parent) process: Option<OwnedFd>,
}

pub(in crate::process) struct WorkerHandle {
    peer: Box<dyn WorkerPeer>,
    pub(in crate::process::parent) channel: Box<dyn ParentEnd>,
    watched: Arc<Watched>,
    life: Life,
    /// The functions that it knows.
    pub(super) definitions: Definitions,
    pub(super) in_flight: InFlight,
    /// Tasks that it may still be given, when it is to be replaced after so many.
    tasks_left: Option<u32>,
    /// The request that was first here and not claimed when the supervisor last looked, and at how many looks.
    unclaimed: Option<(u64, u32)>,
    /// It has said that it has grown too large.
    pub(in crate::process::parent) is_over_size_limit: bool,
    /// An observer was told that it is there.
    pub(in crate::process::parent) is_announced: bool,
    /// The number of its first request when the supervisor last looked, to notice that it takes long.
    seen_number: Option<u64>,
    /// The number of the request that was seen twice.
    stuck_at: Option<u64>,
    /// When it was started, or opened, or, where idle workers leave after some time, last had something to do.
    idle_since: Instant,
    /// Why it could not begin, if it said so.
    pub(in crate::process::parent) startup_error: Option<StartError>,
    /// It has violated the protocol.
    pub(in crate::process::parent) violated_protocol: bool,
    /// It was killed, or has ended, and is not reaped yet.
    dying: Option<Dying>,
    /// It has said that it ends because it was refused memory.
    pub(in crate::process::parent) is_out_of_memory: bool,
    /// The shared memory that it was given. Dropped when the process is reaped.
    #[cfg(target_os = "linux")]
    pub(super) leases: Leases,
}

/// The outcome of receiving from a worker.
pub(super) struct Received {
    /// So many requests have been answered.
    pub(super) ended: usize,
    /// It has become idle, and may be given more.
    pub(super) is_idle: bool,
    pub(super) attention: Attention,
}

impl WorkerHandle {
    pub(in crate::process::parent) fn new(
        peer: Box<dyn WorkerPeer>,
        channel: Box<dyn ParentEnd>,
        socket: OwnedFd,
        until: Option<Instant>,
        tasks_left: Option<u32>,
        #[cfg(target_os = "linux")] leases: Leases,
    ) -> Self {
        let process = peer.watch();
        Self {
            #[cfg(target_os = "linux")]
            leases,
            peer,
            channel,
            watched: Arc::new(Watched { channel: socket, process }),
            life: Life::Starting { until },
            definitions: Definitions::default(),
            in_flight: InFlight::default(),
            tasks_left,
            unclaimed: None,
            is_over_size_limit: false,
            is_announced: false,
            seen_number: None,
            stuck_at: None,
            idle_since: Instant::now(),
            startup_error: None,
            violated_protocol: false,
            dying: None,
            is_out_of_memory: false,
        }
    }

    pub(in crate::process) fn pid(&self) -> u32 {
        self.peer.pid()
    }

    pub(in crate::process::parent) fn watched(&self) -> &Arc<Watched> {
        &self.watched
    }

    pub(in crate::process::parent) fn life(&self) -> &Life {
        &self.life
    }

    pub(in crate::process::parent) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// When it last had something to do.
    pub(in crate::process::parent) fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Whether it may be given tasks, or has some.
    pub(in crate::process) fn is_ready(&self) -> bool {
        let is_ready = match self.life {
            Life::Held | Life::Open | Life::Silent(_) | Life::Stopping(_) => true,
            Life::Starting { .. } | Life::Leaving { .. } => false,
        };
        is_ready && self.dying.is_none()
    }

    pub(in crate::process::parent) fn is_starting(&self) -> bool {
        matches!(self.life, Life::Starting { .. }) && self.dying.is_none()
    }

    pub(in crate::process::parent) fn is_held(&self) -> bool {
        matches!(self.life, Life::Held)
    }

    pub(in crate::process::parent) fn is_stopping(&self) -> bool {
        matches!(self.life, Life::Stopping(_))
    }

    pub(in crate::process::parent) fn is_leaving(&self) -> bool {
        matches!(self.life, Life::Leaving { .. })
    }

    pub(in crate::process::parent) fn is_dying(&self) -> bool {
        self.dying.is_some()
    }

    /// Whether it may be given one more task, room for it aside.
    pub(in crate::process::parent) fn is_open(&self) -> bool {
        matches!(self.life, Life::Open) && self.dying.is_none() && !self.is_used_up() && !self.violated_protocol
    }

    /// Whether nothing is in flight here.
    pub(in crate::process::parent) fn is_idle(&self) -> bool {
        self.in_flight.len() == 0
    }

    /// The handshake is done.
    pub(in crate::process::parent) fn note_ready(&mut self) {
        debug_assert!(matches!(self.life, Life::Starting { .. }), "a worker gets ready once");
        self.life = Life::Held;
    }

    /// It may be given tasks from now on.
    pub(super) fn open(&mut self, policy: NotifyPolicy) {
        self.life = Life::Open;
        self.idle_since = Instant::now();
        self.channel.set_notify_policy(policy);
    }

    /// It has until then to get ready.
    pub(in crate::process::parent) fn start_until(&mut self, end: Option<Instant>) {
        if let Life::Starting { until } = &mut self.life {
            *until = end;
        }
    }

    /// The deadline has passed, and is being handled.
    pub(in crate::process::parent) fn forget_deadline(&mut self) {
        match &mut self.life {
            Life::Starting { until: deadline }
            | Life::Leaving { kill_at: deadline }
            | Life::Stopping(Stop { kill_at: deadline, .. }) => *deadline = None,
            Life::Held | Life::Open | Life::Silent(_) => {}
        }
    }

    /// Ends its process. `None` as long as that has not ended: then the supervisor has to come again when the descriptor of the
    /// process is ready, or [when that does not tell](Self::is_end_untold) at its next deadline. Until then it gets no task, and
    /// what it has claimed stays where it is.
    pub(in crate::process::parent) fn try_reap(&mut self) -> Option<WorkerExit> {
        if self.dying.is_none() {
            self.kill();
        }
        let exit = self.peer.try_reap();
        let pause = self.dying.map_or(FIRST_REAP_PAUSE, |dying| dying.pause);
        // A descriptor that is ready too early, as where a debugger is told of the end first, would be ready all the time.
        let process = self.watched.process.as_ref();
        let is_told = exit.is_none() && process.is_some_and(|process| !sys::is_readable(process.as_fd()));
        let look = if is_told { None } else { Instant::now().checked_add(pause) };
        self.dying = Some(Dying { look, pause: (2 * pause).min(LONGEST_REAP_PAUSE) });
        exit
    }

    /// Whether it is dying, and no descriptor tells of its end.
    pub(in crate::process::parent) fn is_end_untold(&self) -> bool {
        self.dying.is_some_and(|dying| dying.look.is_some())
    }

    /// The task that it was told to stop, of one that has died.
    pub(in crate::process::parent) fn take_stop(&mut self) -> Option<Stop> {
        match std::mem::replace(&mut self.life, Life::Open) {
            Life::Stopping(stop) => Some(stop),
            other => {
                self.life = other;
                None
            }
        }
    }

    /// Whether it is to be replaced when it has done what it has.
    pub(in crate::process::parent) fn is_used_up(&self) -> bool {
        self.tasks_left == Some(0) || self.is_over_size_limit
    }

    pub(super) fn use_up_one(&mut self) {
        self.tasks_left = self.tasks_left.map(|left| left - 1);
    }

    pub(super) fn give_back_one(&mut self) {
        self.tasks_left = self.tasks_left.map(|left| left + 1);
    }

    /// Whether it gets nothing more than it has, so that its successor may be started, if not be given anything.
    pub(in crate::process::parent) fn is_succeeded(&self) -> bool {
        self.is_ready() && self.is_used_up() && !self.is_stopping()
    }

    /// Whether it has claimed a request, and read it: what it has not read may still go to another one.
    pub(in crate::process::parent) fn has_begun(&self, request: u64) -> bool {
        self.channel.is_claimed(request) && !self.channel.is_unread(request)
    }

    /// The first request here, if it is not claimed, or not even read.
    pub(in crate::process::parent) fn first_unclaimed(&self) -> Option<u64> {
        let (first, _) = self.in_flight.front()?;
        (!self.has_begun(first)).then_some(first)
    }

    /// Looks whether the first request here is claimed; at how many looks in a row it was not.
    pub(in crate::process::parent) fn look_whether_claimed(&mut self) -> u32 {
        self.unclaimed = self.first_unclaimed().map(|first| match self.unclaimed {
            Some((known, looks)) if known == first => (first, looks + 1),
            _ => (first, 1),
        });
        self.unclaimed.map_or(0, |(_, looks)| looks)
    }

    /// Whether its process is stopped, by a signal.
    pub(in crate::process::parent) fn is_stopped(&self) -> bool {
        self.peer.is_stopped()
    }

    /// Whether it is stopped, and has not read its first request, which cannot be taken back as long as it lives.
    pub(in crate::process::parent) fn is_stopped_before(&self, first: u64) -> bool {
        // In this order: as long as it is stopped it reads nothing.
        self.channel.is_claimed(first) && self.peer.is_stopped() && self.channel.is_unread(first)
    }

    /// It does not claim what it is given.
    pub(in crate::process::parent) fn fall_silent(&mut self, silent: Silent) {
        debug_assert!(self.is_ready() && self.in_flight.len() == 0, "what it does not claim was taken back");
        self.life = Life::Silent(silent);
    }

    /// It has passed what was taken back.
    pub(super) fn end_silence(&mut self, retirement: &Retirement) -> Attention {
        self.life = Life::Open;
        self.unclaimed = None;
        self.forget_revoked();
        self.become_idle(retirement)
    }

    /// Nothing is lost by killing it: not a worker that has died.
    pub(in crate::process::parent) fn leave_by(&mut self, kill_at: Option<Instant>) {
        self.life = Life::Leaving { kill_at };
    }

    /// Takes the answers that have arrived. A violation of the protocol is the end of a worker.
    pub(super) fn receive(&mut self, ledger: &mut Ledger, retirement: &Retirement) -> Received {
        let is_killed = self.is_killed();
        let mut attention = Attention::None;
        #[cfg(target_os = "linux")]
        let Self { channel, in_flight, leases, .. } = self;
        #[cfg(not(target_os = "linux"))]
        let Self { channel, in_flight, .. } = self;
        let before = in_flight.len();
        let outcome = channel.receive(&mut |reply| {
            #[cfg(target_os = "linux")]
            let taken = ledger.take_reply(in_flight, reply, is_killed, leases)?;
            #[cfg(not(target_os = "linux"))]
            let taken = ledger.take_reply(in_flight, reply, is_killed)?;
            attention |= taken;
            Ok(())
        });
        if let Some((number, place)) = in_flight.take_released() {
            channel.release(number, place);
            self.definitions.passed(number);
        }
        self.violated_protocol |= outcome.is_err();
        let ended = before - self.in_flight.len();
        let has_become_idle = before > 0 && self.in_flight.len() == 0;
        if has_become_idle {
            attention |= self.become_idle(retirement);
        }
        // It is reaped, or replaced, or its frames are taken, by the supervisor alone.
        let has_kept = self.channel.control().wants_to_send();
        let is_for_the_supervisor =
            self.violated_protocol || has_become_idle && !self.is_open() || self.has_pending_frames() || has_kept;
        attention |= Attention::now_if(is_for_the_supervisor);
        Received { ended, is_idle: has_become_idle && self.is_ready(), attention }
    }

    /// Whether it runs something.
    pub(in crate::process::parent) fn is_running(&self) -> bool {
        self.in_flight.front().is_some_and(|(number, _)| self.has_begun(number))
    }

    /// Looks whether its first request is the one that it was last time.
    pub(in crate::process::parent) fn look_whether_stuck(&mut self) -> bool {
        let front = self.in_flight.front().map(|(number, _)| number);
        self.stuck_at = front.filter(|_| self.seen_number == front);
        self.seen_number = front;
        self.stuck_at.is_some()
    }

    /// Whether its first request takes long, so that nothing may be put behind it.
    pub(in crate::process::parent) fn is_stuck(&self) -> bool {
        self.stuck_at.is_some() && self.in_flight.front().map(|(number, _)| number) == self.stuck_at
    }

    /// Looks how far its first request is.
    pub(in crate::process::parent) fn note_progress(&mut self, now: Instant) {
        self.in_flight.note_progress(self.channel.open_items(), now);
    }

    /// Takes out all that is in flight here: the pool has ended.
    pub(in crate::process::parent) fn take_all(&mut self) -> impl Iterator<Item = InFlightRequest> + use<> {
        self.in_flight.take_all()
    }

    /// Its first request.
    pub(in crate::process::parent) fn first_mut(&mut self) -> Option<&mut Request> {
        self.in_flight.front_mut().map(|(_, front)| &mut front.request)
    }

    /// Nothing is in flight here any more. A worker that was signalled may die at any moment now, and must not get another task.
    pub(super) fn become_idle(&mut self, retirement: &Retirement) -> Attention {
        // The clock costs as much as a small task, and nothing else depends on it.
        if retirement.idle_timeout().is_some() {
            self.idle_since = Instant::now();
        }
        if let Some(stop) = self.take_stop() {
            self.life = Life::Leaving { kill_at: stop.kill_at };
            // It may have survived the signal.
            self.in_flight.forget_revoked();
            self.channel.say_goodbye();
        }
        retirement.of_idle_since(self.idle_since)
    }

    /// Forgets what was revoked, when nothing else is in flight here.
    pub(super) fn forget_revoked(&mut self) {
        if self.in_flight.len() == 0 {
            self.in_flight.forget_revoked();
            if self.channel.release_all() {
                self.definitions.passed_all();
            }
        }
    }

    /// Tells the task that it runs to stop: SIGTERM now and SIGKILL after the grace time; SIGKILL at once when there is none. The
    /// first reason stays.
    pub(in crate::process::parent) fn stop(&mut self, error: &TaskError, grace: Duration) -> Attention {
        let kill_at = self.end(grace);
        match &mut self.life {
            // To ask again does not put the end off. Where it was killed, that is done once more.
            Life::Stopping(stop) => stop.kill_at = earlier(stop.kill_at, kill_at),
            // It was killed before it has read what is in flight.
            Life::Leaving { kill_at: before } => {
                let kill_at = earlier(*before, kill_at);
                self.life = Life::Stopping(Stop { error: error.clone(), kill_at });
            }
            Life::Starting { .. } | Life::Held | Life::Open | Life::Silent(_) => {
                self.life = Life::Stopping(Stop { error: error.clone(), kill_at });
            }
        }
        Attention::by(kill_at)
    }

    /// Tells it to go: it has nothing to do.
    pub(in crate::process::parent) fn say_goodbye(&mut self, kill_at: Option<Instant>) {
        self.forget_revoked();
        self.channel.say_goodbye();
        self.life = Life::Leaving { kill_at };
    }

    /// Sends it away at the pool's end, where no task of it was told to stop: at once where there is no grace. A worker that was
    /// told so before has no more time than now.
    pub(in crate::process::parent) fn retire(&mut self, grace: Duration) -> Attention {
        let kill_at = if grace == Duration::ZERO || self.is_starting() {
            // One that starts does not read what it is told.
            self.end(grace)
        } else {
            Instant::now().checked_add(grace)
        };
        match self.life {
            Life::Leaving { kill_at: before } => self.life = Life::Leaving { kill_at: earlier(before, kill_at) },
            _ => self.say_goodbye(kill_at),
        }
        Attention::Now
    }

    /// Whether its task was killed by itself, and so promised to be cancelled.
    pub(in crate::process::parent) fn is_killed(&self) -> bool {
        matches!(&self.life, Life::Stopping(stop) if stop.error == TaskError::Cancelled)
    }

    /// Whether it has said something that a thread that spins for answers has read, and the supervisor has not.
    pub(in crate::process::parent) fn has_pending_frames(&mut self) -> bool {
        self.channel.control().has_frames()
    }

    /// A worker that may not be killed ends itself: it takes the end of its socket for that of the program.
    pub(in crate::process::parent) fn kill(&mut self) {
        if self.peer.kill().is_err() {
            self.channel.control().hang_up();
        }
    }

    fn end(&mut self, grace: Duration) -> Option<Instant> {
        if grace == Duration::ZERO {
            // It is killed at once, for the supervisor may be late; the supervisor does the rest.
            self.kill();
            Some(Instant::now())
        } else {
            self.peer.terminate();
            Instant::now().checked_add(grace)
        }
    }

    /// When something has to be done about it.
    pub(in crate::process::parent) fn next_deadline(&self) -> Option<Instant> {
        if let Some(dying) = &self.dying {
            return dying.look;
        }
        match &self.life {
            Life::Starting { until } => *until,
            Life::Leaving { kill_at } | Life::Stopping(Stop { kill_at, .. }) => *kill_at,
            Life::Silent(silent) => Some(silent.look),
            Life::Held | Life::Open => self.in_flight.next_look(),
        }
    }
}

/// Of two times, where no time is one that never comes.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
