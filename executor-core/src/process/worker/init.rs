//! How the program becomes a worker, or a fork server.

use std::{
    env, io,
    os::{fd::AsFd, unix::net::UnixStream},
};

#[cfg(target_os = "linux")]
use super::fork_server::serve as serve_forks;
use super::main_loop;
use crate::{
    process::wire::{birth::Birth, frame},
    role::{self, WORKER_VARIABLE},
    sys,
};

/// Turns a process that a pool has started into a worker; must be the first line of `main` in every program that uses process
/// pools.
///
/// Worker processes are this program, started again. In one of them this call never returns: it runs tasks until the pool has no
/// more, and exits. In the program itself it returns at once. Code before it in `main` runs in every worker as well.
///
/// # Examples
///
/// ```
/// executor_core::init();
/// println!("only the program itself gets here, never a worker");
/// ```
pub fn init() {
    role::note_init();
    let Some(birth) = env::var_os(WORKER_VARIABLE).and_then(|variable| Birth::read(&variable)) else { return };
    let socket = match sys::take_over_stdin(birth.token.as_bytes()) {
        Ok(Some(socket)) => socket,
        // Not a worker but a process that a task has started.
        Ok(None) => return,
        Err(error) => main_loop::give_up_at("take over its standard input", &error),
    };
    role::become_worker();
    #[cfg(target_os = "linux")]
    {
        sys::reset_signals();
        sys::leave_terminal();
    }
    main_loop::leave(begin(socket, &birth))
}

/// The life of a process that this program has started.
fn begin(socket: UnixStream, birth: &Birth) -> io::Result<()> {
    let Some(parent) = sys::Parent::open(birth.parent) else { sys::exit_now() };
    // The first frame says what it is to be. Until then it has no other thread.
    if !parent.wait_for_word(socket.as_fd())? {
        sys::exit_now();
    }
    if is_fork_server(&socket)? {
        return serve_forks(socket, parent, birth);
    }
    main_loop::watch_parent(parent, &socket, birth.ends_group)?;
    main_loop::serve(socket)
}

/// Whether this is to be a fork server, which its first frame says.
fn is_fork_server(socket: &UnixStream) -> io::Result<bool> {
    let mut frame = [0; 5];
    // The first frame is sent at once, and its first bytes do not come one by one.
    let count = sys::peek(socket.as_fd(), &mut frame)?;
    Ok(count == frame.len() && frame[4] == frame::FORK_SERVER)
}

#[cfg(not(target_os = "linux"))]
fn serve_forks(_: UnixStream, _: sys::Parent, _: &Birth) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
