//! The program's side of a fork server.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use super::settings::Settings;
use crate::{
    codec,
    error::{Cause, TaskError, WorkerExit},
    process::{
        config::Transport,
        parent::sleep::has_overslept,
        transport::ControlChannel,
        wire::{
            birth::TRY_AGAIN,
            frame::{self},
            handshake::{Hello, HelloFiles, number_of_process},
        },
    },
    shm::flags,
    sys::{self, WorkerProcess},
    untrusted::{Malformed, Reader},
};

/// The failures of fork servers may weigh so much before one of them has made a worker.
pub(super) const HOPELESS: u32 = 100;
/// One that ended by itself: three are enough.
const ENDED: u32 = 34;
/// A fork server that was killed, or was refused a resource for a moment; the cause may have been elsewhere.
pub(super) const KILLED: u32 = 1;

/// An answer takes some 0.1 ms. When it takes so long, or a multiple of that, the fork server may have been stopped by a signal,
/// and then it is of no use. But the machine may be busy as well, and a fork takes the longer the more memory the preload has
/// filled: as long as it runs, it has as much time as a worker has to start.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// A fork server. Dropping it ends it, and every worker that it has made and not told of.
#[derive(Debug)]
pub(super) struct ForkServer {
    process: WorkerProcess,
    channel: ControlChannel,
    life: Life,
    /// The answer of the fork server; an error when it could not fork, and lives.
    answer: Option<io::Result<Forked>>,
}

#[derive(Debug)]
enum Life {
    GettingReady {
        /// No limit where there is none.
        until: Option<Instant>,
    },
    Ready,
    Asked(Box<Asked>),
}

/// It was asked for a worker.
#[derive(Debug)]
struct Asked {
    /// The program's end of the worker's socket.
    control: ControlChannel,
    since: Instant,
    /// When to look whether it is stopped.
    look: Option<Instant>,
    /// When it has taken too long.
    until: Option<Instant>,
}

/// A worker, and the program's end of its socket.
pub(super) type Forked = (WorkerProcess, ControlChannel);

/// A fork server that is no more.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) error: TaskError,
    pub(super) weight: u32,
}

/// Whether forking is refused for good, and not because a resource is short for the moment.
pub(super) fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EINVAL))
}

impl ForkServer {
    pub(super) fn start(settings: &Settings) -> io::Result<Self> {
        let (mut channel, server_end) = ControlChannel::pair()?;
        let process = settings.spawn(&channel, server_end)?;
        // A time too long for the clock is no limit.
        let until = Instant::now().checked_add(settings.startup_timeout);
        // For a preload that has a token. Each worker gets it as well, and its own files.
        let table = flags::table_file().ok();
        let hello = Hello {
            identity: settings.identity.clone(),
            preload: settings.preload.clone(),
            memory_limit: None,
            recycle_above: None,
            initializer: None,
            transport: Transport::Socket,
            number: number_of_process(),
            files: HelloFiles { table: table.is_some(), counts: false },
        };
        let mut frame = Vec::new();
        let start = frame::begin_frame(&mut frame, frame::FORK_SERVER);
        codec::encode(&hello, &mut frame).map_err(|error| io::Error::other(error.to_string()))?;
        frame::end_frame(&mut frame, start)
            .map_err(|Malformed| io::Error::other("the preload's argument is too long"))?;
        channel.send_first(&frame, table.as_slice())?;
        Ok(Self { process, channel, life: Life::GettingReady { until }, answer: None })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it can be asked for a worker.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.life, Life::Ready)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let of_life = match &self.life {
            Life::GettingReady { until } => *until,
            Life::Ready => None,
            Life::Asked(asked) => asked.look.into_iter().chain(asked.until).min(),
        };
        of_life.into_iter().chain(self.channel.refused_until()).min()
    }

    pub(super) fn watched(&self) -> [(BorrowedFd<'_>, bool); 2] {
        // What the system has refused has its time, for there is room all the while.
        let waits_for_room = self.channel.wants_to_send() && self.channel.refused_until().is_none();
        [(self.channel.fd(), waits_for_room), (self.process.pidfd(), false)]
    }

    /// Asks for a worker; [`attend`](Self::attend) takes the answer. Only when it [is ready](Self::is_ready). One that is dead
    /// is not an error: that is noticed where the answer is received.
    pub(super) fn ask(&mut self, settings: &Settings) -> io::Result<()> {
        let mut frame = Vec::new();
        let start = frame::begin_frame(&mut frame, frame::FORK);
        // Cannot be too long.
        let _ = frame::end_frame(&mut frame, start);
        let (control, worker_end) = ControlChannel::pair()?;
        self.channel.send_first(&frame, &[worker_end.as_fd()])?;
        let since = Instant::now();
        let (look, until) =
            (since.checked_add(ANSWER_TIME), since.checked_add(settings.startup_timeout.max(ANSWER_TIME)));
        self.life = Life::Asked(Box::new(Asked { control, since, look, until }));
        Ok(())
    }

    /// The outcome of the last request, once that is known.
    pub(super) fn take_answer(&mut self) -> Option<io::Result<Forked>> {
        self.answer.take()
    }

    fn answered(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let Life::Asked(asked) = std::mem::replace(&mut self.life, Life::Ready) else {
            return Err(Malformed);
        };
        let Asked { control, .. } = *asked;
        let mut reader = Reader(body);
        let (pid, error) = (reader.u32()?, reader.u32()?);
        self.answer = Some(if error != 0 {
            Err(io::Error::from_raw_os_error(error.cast_signed()))
        } else {
            let worker = WorkerProcess::adopt(pid, &self.process);
            worker.and_then(|worker| worker.map(|worker| (worker, control)).ok_or(ErrorKind::NotFound.into()))
        });
        match &self.answer {
            // There is no such child: the fork server has violated the protocol.
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => Err(Malformed),
            _ => Ok(()),
        }
    }

    /// Takes what it has sent, and sees whether it is alive and in time. What it had said before it ended still counts.
    pub(super) fn attend(&mut self, settings: &Settings) -> Result<(), Ended> {
        self.channel.flush();
        let ended = sys::is_readable(self.process.pidfd());
        let mut frames = Vec::new();
        let open = self.channel.receive_frames(&mut |kind, body| frames.push((kind, body.to_vec())));
        // It has no content and no files to send.
        let mut sane = open.is_ok() && !self.channel.has_content();
        for (kind, body) in frames {
            let text = || Cause::new(String::from_utf8_lossy(&body));
            let is_asked = matches!(self.life, Life::Asked(_));
            if kind == frame::FORKED && is_asked && self.answered(&body).is_ok() {
                continue;
            }
            let startup_error = match (kind, &self.life) {
                (frame::READY, Life::GettingReady { .. }) => {
                    self.life = Life::Ready;
                    continue;
                }
                (frame::INITIALIZER_FAILED, Life::GettingReady { .. }) => {
                    TaskError::InitializerFailed { cause: text() }
                }
                (frame::REFUSED, Life::GettingReady { .. }) => TaskError::NoWorker { cause: text() },
                _ => {
                    sane = false;
                    break;
                }
            };
            return Err(Ended { error: startup_error, weight: HOPELESS });
        }
        let no_worker = |cause: String| TaskError::NoWorker { cause: Cause::new(cause) };
        if sane && !ended && open == Ok(true) {
            let now = Instant::now();
            let is_over = |time: Option<Instant>| time.is_some_and(|time| time <= now);
            return match &mut self.life {
                Life::GettingReady { until } if has_overslept(*until, now) => {
                    *until = now.checked_add(settings.startup_timeout);
                    Ok(())
                }
                Life::GettingReady { until } if is_over(*until) => {
                    let cause = format!(
                        "the fork server, with its preload, was not ready within {:?}: set a longer startup_timeout",
                        settings.startup_timeout
                    );
                    let weight = if self.process.is_stopped() { KILLED } else { HOPELESS };
                    Err(Ended { error: no_worker(cause), weight })
                }
                Life::Asked(asked) if is_over(asked.until) || is_over(asked.look) && self.process.is_stopped() => {
                    let cause =
                        format!("fork servers do not answer: the last one was asked {:?} ago", asked.since.elapsed());
                    Err(Ended { error: no_worker(cause), weight: KILLED })
                }
                Life::Asked(asked) if is_over(asked.look) => {
                    asked.look = now.checked_add(ANSWER_TIME);
                    Ok(())
                }
                _ => Ok(()),
            };
        }
        let was_ready = !matches!(self.life, Life::GettingReady { .. });
        let was_asked = matches!(self.life, Life::Asked(_));
        let pid = self.pid();
        // It keeps its socket open until it ends, so this does not make a SIGKILL of an exit of its own.
        let exit = self.process.reap_group();
        let weight = match exit {
            _ if was_asked => KILLED,
            _ if was_ready => 0,
            exit if exit.may_be_from_outside() || exit == WorkerExit::Code(TRY_AGAIN) => KILLED,
            _ => ENDED,
        };
        let cause = if was_ready {
            format!("the fork server {pid} ended ({exit})")
        } else {
            let preload = if settings.preload.is_some() { "does the preload end it? " } else { "" };
            format!(
                "the fork server {pid} ended before it was ready ({exit}): \
                 {preload}is executor_core::init() the first line of main?"
            )
        };
        Err(Ended { error: no_worker(cause), weight })
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        self.process.reap_group();
    }
}
