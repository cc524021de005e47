//! The program's side of a fork server.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use super::Settings;
use crate::{
    codec,
    error::{Cause, TaskError, WorkerExit},
    process::{
        flags,
        pool::Transport,
        transport::SocketParent,
        wire::{self, Malformed, Reader},
        worker::Hello,
    },
    sys::{self, WorkerProcess},
};

/// The failures of fork servers may weigh so much before one of them has made a worker.
pub(super) const HOPELESS: u32 = 100;
/// One that ended by itself: three are enough.
const ENDED: u32 = 34;
/// One that was killed, which may have had nothing to do with it.
pub(super) const KILLED: u32 = 1;

/// How long an answer may take. It takes some 0.1 ms, but the machine may be busy; somebody may also have stopped the fork
/// server, and then it is of no use.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

const SIGKILL: i32 = 9;

/// A fork server. Dropping it ends it, and every worker that it has made and not told of.
#[derive(Debug)]
pub(super) struct ForkServer {
    process: WorkerProcess,
    channel: SocketParent,
    /// Until when it has to be ready; `None` once it is.
    until: Option<Instant>,
}

/// What became of a request for a worker.
#[derive(Debug)]
pub(super) enum Asked {
    Forked(WorkerProcess),
    /// The fork server could not fork, and lives.
    Refused(io::Error),
    /// There may be a worker or not: the fork server has to be dropped.
    Dead,
}

/// A fork server that is no more.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) error: TaskError,
    pub(super) weight: u32,
}

/// Whether forking is refused for good, and not for lack of something.
pub(super) fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EINVAL))
}

impl ForkServer {
    pub(super) fn start(settings: &Settings) -> io::Result<Self> {
        let (mut channel, server_end) = SocketParent::pair()?;
        let process = settings.spawn(server_end)?;
        let until = Instant::now() + settings.startup_timeout;
        let hello = Hello {
            identity: settings.identity.clone(),
            preload: settings.preload.clone(),
            memory_limit: None,
            recycle_above: None,
            initializer: None,
            transport: Transport::Socket,
        };
        let mut frame = Vec::new();
        let start = wire::begin_frame(&mut frame, wire::FORK_SERVER);
        codec::encode(&hello, &mut frame).map_err(|error| io::Error::other(error.to_string()))?;
        wire::end_frame(&mut frame, start)
            .map_err(|Malformed| io::Error::other("the preload's argument is too long"))?;
        channel.send_first(&frame, &[flags::table_file()?])?;
        Ok(Self { process, channel, until: Some(until) })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.until.is_none()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn watched(&self) -> [(BorrowedFd<'_>, bool); 2] {
        [(self.channel.fd(), self.channel.wants_to_send()), (self.process.pidfd(), false)]
    }

    /// Asks for a worker that has `socket`, and waits for it.
    pub(super) fn fork(&mut self, socket: &UnixStream) -> Asked {
        let mut frame = Vec::new();
        let start = wire::begin_frame(&mut frame, wire::FORK);
        // Cannot be too long.
        let _ = wire::end_frame(&mut frame, start);
        if self.channel.send_first(&frame, &[socket.as_fd()]).is_err() {
            return Asked::Dead;
        }
        let limit = Instant::now() + ANSWER_LIMIT;
        loop {
            // Looked at first: what it had said before it ended still counts.
            let ended = sys::is_readable(self.process.pidfd());
            let mut answer = None;
            let open = self.channel.receive_frames(&mut |kind, body| answer = Some((kind, body.to_vec())));
            match answer {
                Some((wire::FORKED, body)) => return self.answered(&body).unwrap_or(Asked::Dead),
                Some(_) => return Asked::Dead,
                None if open != Ok(true) || ended || Instant::now() > limit => return Asked::Dead,
                None => {}
            }
            let fds = [(self.channel.fd(), self.channel.wants_to_send()), (self.process.pidfd(), false)];
            if sys::poll_until(&fds, Some(limit)).is_err() {
                return Asked::Dead;
            }
            self.channel.flush();
        }
    }

    fn answered(&self, body: &[u8]) -> Result<Asked, Malformed> {
        let mut reader = Reader(body);
        let (pid, error) = (reader.u32()?, reader.u32()?);
        if error != 0 {
            return Ok(Asked::Refused(io::Error::from_raw_os_error(error.cast_signed())));
        }
        match WorkerProcess::adopt(pid, &self.process) {
            Ok(worker) => worker.map(Asked::Forked).ok_or(Malformed),
            Err(error) => Ok(Asked::Refused(error)),
        }
    }

    /// Takes what it has sent, and sees whether it is alive and in time.
    pub(super) fn attend(&mut self, startup_timeout: Duration) -> Result<(), Ended> {
        self.channel.flush();
        let ended = sys::is_readable(self.process.pidfd());
        let mut frames = Vec::new();
        let open = self.channel.receive_frames(&mut |kind, body| frames.push((kind, body.to_vec())));
        let mut sane = open.is_ok();
        for (kind, body) in frames {
            let text = || Cause::new(String::from_utf8_lossy(&body[..body.len().min(1 << 16)]));
            let complaint = match (kind, self.until) {
                (wire::READY, Some(_)) => {
                    self.until = None;
                    continue;
                }
                (wire::INITIALIZER_FAILED, Some(_)) => TaskError::InitializerFailed { cause: text() },
                (wire::REFUSED, Some(_)) => TaskError::NoWorker { cause: text() },
                _ => {
                    sane = false;
                    break;
                }
            };
            return Err(Ended { error: complaint, weight: HOPELESS });
        }
        if sane && !ended && open == Ok(true) {
            return match self.until {
                Some(until) if until <= Instant::now() => {
                    let cause = format!("the fork server was not ready within {startup_timeout:?}");
                    Err(Ended { error: TaskError::NoWorker { cause: Cause::new(cause) }, weight: HOPELESS })
                }
                _ => Ok(()),
            };
        }
        let was_ready = self.is_ready();
        let pid = self.pid();
        // It keeps its socket open until it ends, so this does not make a SIGKILL of an exit of its own.
        let exit = self.process.reap_group();
        let weight = match exit {
            _ if was_ready => 0,
            WorkerExit::Signal(SIGKILL) => KILLED,
            _ => ENDED,
        };
        let cause = Cause::new(format!(
            "the fork server {pid} ended before it was ready ({exit}): is executor_core::init() the first line of main?"
        ));
        Err(Ended { error: TaskError::NoWorker { cause }, weight })
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        self.process.reap_group();
    }
}
