//! A fork server's side: its life, and the first steps of a worker that was forked from it.

use std::{
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use super::main_loop;
use crate::{
    codec,
    future::Dismissed,
    process::{
        transport::SocketWorker,
        wire::{
            birth::Birth,
            frame::{self},
            handshake::Hello,
            identity::Identity,
        },
    },
    role,
    sys::{self, Alone, Forked, Parent},
    untrusted::Malformed,
};

/// How long threads that the preload has joined, or that have nothing to do any more, may take to be really gone.
const THREADS_LIMIT: Duration = Duration::from_secs(1);

/// The life of a fork server: gets ready, and forks workers until the program closes the socket.
pub(in crate::process) fn serve(control: UnixStream, parent: Parent, birth: &Birth) -> io::Result<()> {
    let outcome = fork_on_request(&control, &parent);
    match outcome {
        Ok(Some(socket)) => {
            drop((control, parent));
            become_worker(socket, birth)
        }
        outcome => {
            // Stays open until this process has ended: its end would tell the parent to kill what exits by itself.
            std::mem::forget(control);
            outcome.map(|_| ())
        }
    }
}

/// Returns in the fork server when it has nothing more to do, and in each new worker with its socket.
fn fork_on_request(control: &UnixStream, parent: &Parent) -> io::Result<Option<UnixStream>> {
    // The preload may run for long, and this process may have no thread that watches the program meanwhile.
    sys::die_with_parent()?;
    if parent.has_ended() || sys::is_hung_up(control.as_fd())? {
        return Ok(None);
    }
    let Some(alone) = get_ready(control)? else { return Ok(None) };
    // The kernel forgets it when a process changes its user, as a preload may.
    sys::die_with_parent()?;
    // What the preload has printed, and is still in a buffer, would be printed by every worker.
    let _ = io::stdout().flush();
    sys::flush_c_streams();
    let expected = frame(frame::FORK, &[])?;
    loop {
        if !parent.wait_for_word(control.as_fd())? {
            return Ok(None);
        }
        let mut request = [0; 64];
        let sys::Received { bytes: count, files, .. } = sys::receive_with_fds(control.as_fd(), &mut request)?;
        if count == 0 {
            return Ok(None);
        }
        let (true, Some(socket)) = (request[..count] == expected, files.into_iter().next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let (pid, error) = match sys::fork_sibling(&alone) {
            Ok(Forked::Child) => return Ok(Some(socket.into())),
            Ok(Forked::Parent(pid)) => (pid, 0),
            Err(error) => (0, error.raw_os_error().unwrap_or(libc::EINVAL).cast_unsigned()),
        };
        // The worker alone has it now: when it ends, the program sees so on the socket.
        drop(socket);
        let body = [pid.to_le_bytes(), error.to_le_bytes()].concat();
        sys::send_all(control.as_fd(), &frame(frame::FORKED, &body)?)?;
    }
}

fn frame(kind: u8, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = Vec::new();
    let start = frame::begin_frame(&mut frame, kind);
    frame.extend_from_slice(body);
    frame::end_frame(&mut frame, start).map_err(|Malformed| io::ErrorKind::InvalidData)?;
    Ok(frame)
}

/// Handshake and preload. `None` when the program was told that it failed.
fn get_ready(control: &UnixStream) -> io::Result<Option<Alone>> {
    let mut first = [0; 4096];
    let sys::Received { bytes: count, mut files, .. } = sys::receive_with_fds(control.as_fd(), &mut first)?;
    let mut parent = SocketWorker::new(control.try_clone()?, &first[..count]);
    let Some((frame::FORK_SERVER, body)) = parent.receive()? else { return Ok(None) };
    let hello: Hello = codec::decode(body).map_err(|error| io::Error::other(error.to_string()))?;
    hello.files.open(&mut files)?;
    crate::shm::number_pieces_of(hello.number);
    let own = Identity::of_this_program()?;
    let outcome = if own == hello.identity {
        match hello.preload.as_ref().map_or(Ok(()), main_loop::initialize) {
            Ok(()) => match wait_until_alone()? {
                Some(alone) => Ok(alone),
                None => Err((
                    frame::INITIALIZER_FAILED,
                    "the preload, or code before executor_core::init(), has left threads that run, \
                     and a process with threads cannot be forked"
                        .to_owned(),
                )),
            },
            Err(cause) => Err((frame::INITIALIZER_FAILED, cause.to_string())),
        }
    } else {
        let parents = &hello.identity;
        Err((frame::REFUSED, format!("the fork server is another build ({own:?}) than its parent ({parents:?})")))
    };
    let (kind, text) = outcome.as_ref().map_or_else(|(kind, text)| (*kind, text.as_str()), |_| (frame::READY, ""));
    parent.send(&frame(kind, frame::cut(text).as_bytes())?)?;
    if outcome.is_err() {
        // The parent ends this process once it has read why.
        while parent.receive()?.is_some() {}
    }
    Ok(outcome.ok())
}

/// Waits until no thread is left that the preload has started, nor one of this crate that ran something for it.
fn wait_until_alone() -> io::Result<Option<Alone>> {
    let _dismissed = Dismissed::begin();
    Alone::wait(role::sleeping_threads(), THREADS_LIMIT)
}

/// The new process. All that it has of the others is this one socket.
///
/// The thread that it begins with is one that the C library takes for the fork server's, by its number (`fork_sibling`). So it
/// does nothing but watch the socket, and tasks run on a thread that has been started properly.
fn become_worker(socket: UnixStream, birth: &Birth) -> ! {
    let Some(parent) = Parent::open(birth.parent) else { sys::exit_now() };
    let start = || -> io::Result<UnixStream> {
        let watched = main_loop::step(&socket, "duplicate its socket", socket.try_clone())?;
        let thread = thread::Builder::new()
            .name("executor-worker".to_owned())
            .stack_size(sys::main_stack_size())
            .spawn(move || main_loop::live(socket));
        main_loop::step(&watched, "start a thread", thread)?;
        Ok(watched)
    };
    match start() {
        Ok(watched) => main_loop::end_with_parent(&parent, &watched, birth.ends_group),
        Err(error) => main_loop::give_up(&error),
    }
}
