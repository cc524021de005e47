//! How the program is started again as a worker.

use std::{ffi::OsString, io, os::unix::net::UnixStream, path::PathBuf, time::Duration};

use crate::{
    portable::call::Call,
    process::{
        config::StartMethod,
        transport::ControlChannel,
        wire::{birth::Birth, identity::Identity},
    },
    role::{LaunchArguments, WORKER_VARIABLE},
    sys::{self, WorkerProcess},
};

/// How workers of one pool are started.
#[derive(Debug, Clone)]
pub(in crate::process) struct Settings {
    pub(in crate::process) method: StartMethod,
    pub(in crate::process) arguments: LaunchArguments,
    pub(in crate::process) environment: Vec<(OsString, OsString)>,
    pub(in crate::process) directory: Option<PathBuf>,
    pub(in crate::process) startup_timeout: Duration,
    pub(in crate::process) identity: Identity,
    pub(in crate::process) preload: Option<Call>,
    /// Whether what a worker has started ends with it.
    pub(in crate::process) ends_group: bool,
}

impl Settings {
    /// This program, started again, with `socket`, over which it is told what to do; `control` is the other end of that.
    pub(super) fn spawn(&self, control: &ControlChannel, socket: UnixStream) -> io::Result<WorkerProcess> {
        let birth = Birth::new(self.ends_group);
        // A new socket has room for it.
        if sys::send_with_fds(control.fd(), birth.token.as_bytes(), &[])? != birth.token.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut environment = self.environment.clone();
        environment.push((WORKER_VARIABLE.into(), birth.variable().into()));
        let LaunchArguments { arguments, null_stdout } = &self.arguments;
        let directory = self.directory.as_ref();
        WorkerProcess::start(socket, arguments, *null_stdout, &environment, directory, self.ends_group)
    }

    /// The same, with a new socket of which the program keeps the other end.
    pub(super) fn spawn_with_socket(&self) -> io::Result<(WorkerProcess, ControlChannel)> {
        let (control, worker_end) = ControlChannel::pair()?;
        Ok((self.spawn(&control, worker_end)?, control))
    }
}
