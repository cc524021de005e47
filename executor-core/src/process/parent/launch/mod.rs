//! How worker processes are started: spawned one by one, or forked from a fork server. README.md says what each side may do, and
//! why no process is left behind when one of them is killed at any instruction.

#[cfg(target_os = "linux")]
mod fork_server;
mod settings;

use std::{io, os::fd::BorrowedFd, time::Instant};

#[cfg(target_os = "linux")]
use fork_server::{ForkServer, Forked};
pub(in crate::process) use settings::Settings;

use crate::{
    error::TaskError,
    portable::call::Call,
    process::{config::StartMethod, transport::ControlChannel},
    sys::WorkerProcess,
};

/// Why there is no worker.
#[derive(Debug)]
pub(in crate::process) enum LaunchError {
    /// Ask again when one of the [watched](Launcher::watched) descriptors is ready.
    NotYet,
    /// The system refused something.
    System(io::Error),
}

impl From<io::Error> for LaunchError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Starts the workers of one pool. Must live on one thread: when the thread that has started a fork server ends, so does the
/// fork server.
#[derive(Debug)]
pub(in crate::process) struct Launcher {
    settings: Settings,
    #[cfg(target_os = "linux")]
    server: Option<ForkServer>,
    /// The worker that was asked for last, or why there is none.
    #[cfg(target_os = "linux")]
    answer: Option<io::Result<Forked>>,
    /// What the ends of fork servers weigh since one of them has made a worker, and since when they end.
    #[cfg(target_os = "linux")]
    failures: Option<(u32, Instant)>,
}

#[cfg(target_os = "linux")]
impl Launcher {
    pub(in crate::process) fn new(settings: Settings) -> Self {
        Self { settings, server: None, answer: None, failures: None }
    }

    /// Starts a worker; the other end of the socket is its own. Where a fork server has to be asked, this does not wait for it: the
    /// first call asks, and a later one has the answer.
    pub(in crate::process) fn start(&mut self) -> Result<(WorkerProcess, ControlChannel), LaunchError> {
        match self.answer.take() {
            Some(Ok(forked)) => return Ok(forked),
            Some(Err(error)) if fork_server::is_forbidden(&error) => {
                self.server = None;
                self.settings.method = StartMethod::Spawn;
            }
            Some(Err(error)) => return Err(LaunchError::System(error)),
            None => {}
        }
        if self.settings.method == StartMethod::Spawn {
            return Ok(self.settings.spawn_with_socket()?);
        }
        match &mut self.server {
            Some(server) if server.is_ready() => server.ask(&self.settings)?,
            Some(_) => {}
            None => self.server = Some(ForkServer::start(&self.settings)?),
        }
        Err(LaunchError::NotYet)
    }

    /// Ends a forked worker that is no longer needed.
    pub(in crate::process) fn end_unwanted(&mut self) {
        self.answer = None;
    }

    /// No more workers will be asked for: ends and reaps the fork server.
    pub(in crate::process) fn end(&mut self) {
        self.answer = None;
        self.server = None;
    }

    /// Looks at what the fork server says, if there is one. An error is the end of the pool.
    pub(in crate::process) fn attend(&mut self) -> Result<(), TaskError> {
        let Some(server) = &mut self.server else { return Ok(()) };
        let outcome = server.attend(&self.settings);
        if let Some(answer) = server.take_answer() {
            if answer.is_ok() {
                self.failures = None;
            }
            self.answer = Some(answer);
        }
        let Err(ended) = outcome else { return Ok(()) };
        // Ends and reaps whatever it may have made and not told of.
        self.server = None;
        if self.is_hopeless(ended.weight) { Err(ended.error) } else { Ok(()) }
    }

    /// Whether one more end is too many. What kills fork servers from outside will stop some time: they may fail for as long as one
    /// may take to start.
    fn is_hopeless(&mut self, weight: u32) -> bool {
        let (sum, since) = self.failures.get_or_insert_with(|| (0, Instant::now()));
        *sum += weight;
        *sum >= fork_server::HOPELESS
            && (weight > fork_server::KILLED || since.elapsed() >= self.settings.startup_timeout)
    }

    /// When one of them is ready (to be written to as well, where it says so) [`attend`](Self::attend) has something to do.
    pub(in crate::process) fn watched(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        self.server.as_ref().map_or_else(Vec::new, |server| server.watched().to_vec())
    }

    /// When `attend` has something to do at the latest.
    pub(in crate::process) fn deadline(&self) -> Option<Instant> {
        self.server.as_ref().and_then(ForkServer::deadline)
    }

    pub(in crate::process) fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().map(ForkServer::pid)
    }
}

#[cfg(not(target_os = "linux"))]
impl Launcher {
    pub(in crate::process) fn new(settings: Settings) -> Self {
        Self { settings }
    }

    pub(in crate::process) fn start(&mut self) -> Result<(WorkerProcess, ControlChannel), LaunchError> {
        Ok(self.settings.spawn_with_socket()?)
    }

    pub(in crate::process) fn end_unwanted(&mut self) {}

    pub(in crate::process) fn end(&mut self) {}

    pub(in crate::process) fn attend(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    pub(in crate::process) fn watched(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        Vec::new()
    }

    pub(in crate::process) fn deadline(&self) -> Option<Instant> {
        None
    }

    pub(in crate::process) fn server_pid(&self) -> Option<u32> {
        None
    }
}

impl Launcher {
    /// Whether the next start takes as long as the start of a program.
    pub(in crate::process) fn spawns(&self) -> bool {
        self.settings.method == StartMethod::Spawn
    }

    /// The preload that a worker has to run by itself, because it was not forked from a process that has run it.
    pub(in crate::process) fn preload_of_worker(&self) -> Option<&Call> {
        match self.settings.method {
            StartMethod::Spawn => self.settings.preload.as_ref(),
            StartMethod::ForkServer => None,
        }
    }
}
