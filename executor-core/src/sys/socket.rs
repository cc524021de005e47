//! Sockets between a program and its workers: bytes, and descriptors beside them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketType, recvmsg, sendmsg,
    },
};

/// Takes standard input for itself if it is the socket of a worker, and leaves `/dev/null` in its place.
///
/// A process that a task has started inherits the variable with the token, and its standard input may be a socket. What it cannot
/// have is the token as the first thing in that socket, where it was put before this process was started.
pub(crate) fn take_over_stdin(token: &[u8]) -> io::Result<Option<UnixStream>> {
    let stdin = rustix::stdio::stdin();
    if !matches!(rustix::net::sockopt::socket_type(stdin), Ok(SocketType::STREAM)) {
        return Ok(None);
    }
    let mut first = [0; 64];
    let first = &mut first[..token.len().min(64)];
    match rustix::net::recv(stdin, &mut *first, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((count, _)) if count == token.len() && first == token => {}
        _ => return Ok(None),
    }
    rustix::net::recv(stdin, &mut *first, RecvFlags::DONTWAIT)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null)?;
    Ok(Some(socket.into()))
}

/// The most descriptors that travel together.
const MOST_FDS: usize = 4;

/// A write to a socket whose other side is gone is an error and no signal: what SIGPIPE does is for the program to say, and
/// its default ends the program.
#[cfg(not(target_vendor = "apple"))]
const QUIETLY: SendFlags = SendFlags::NOSIGNAL;
/// There the socket itself says so: [`be_quiet`].
#[cfg(target_vendor = "apple")]
const QUIETLY: SendFlags = SendFlags::empty();

/// Has writes to `socket` never raise SIGPIPE, where a write itself cannot say so.
pub(crate) fn be_quiet(socket: &UnixStream) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    rustix::net::sockopt::set_socket_nosigpipe(socket, true)?;
    let _ = socket;
    Ok(())
}

/// Sends bytes with file descriptors beside them.
pub(crate) fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, QUIETLY) {
            // A task may have set a handler that ends a wait.
            Err(Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Sends bytes that are in several places; says how many were sent.
pub(crate) fn send_parts(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(sendmsg(socket, parts, &mut SendAncillaryBuffer::default(), QUIETLY)?)
}

/// Sends all of `bytes`, however long that takes.
pub(crate) fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::net::send(socket, bytes, QUIETLY) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends bytes if they can be sent at once, and does not say whether they were.
pub(crate) fn send_if_room(socket: BorrowedFd<'_>, bytes: &[u8]) {
    let _ = rustix::net::send(socket, bytes, SendFlags::DONTWAIT | QUIETLY);
}

/// Waits until something has been sent to `socket`, and looks at it without taking it.
pub(crate) fn peek(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::net::recv(socket, &mut *bytes, RecvFlags::PEEK) {
            Ok((count, _)) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A connection may have been told to linger: then the process that closes it last waits until all has been sent. That need not be
/// the one that has received it: a program that this one starts has a copy of every descriptor until it closes them, still without
/// running anything of its own.
fn be_quick_to_close(fd: BorrowedFd<'_>) {
    // Most files are no sockets.
    let _ = rustix::net::sockopt::set_socket_linger(fd, None);
}

/// The bytes and files that were received from a socket.
pub(crate) struct Received {
    pub(crate) bytes: usize,
    pub(crate) files: Vec<OwnedFd>,
    /// There were more files, for which this process had no descriptor left.
    pub(crate) lost_files: bool,
}

/// Receives bytes and the file descriptors beside them.
pub(crate) fn receive_with_fds(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            outcome => break outcome?,
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    // A worker has no other thread yet that could start a program meanwhile.
    #[cfg(not(target_os = "linux"))]
    for fd in &fds {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    }
    fds.iter().for_each(|fd| be_quick_to_close(fd.as_fd()));
    let lost_files = received.flags.contains(rustix::net::ReturnFlags::CTRUNC);
    Ok(Received { bytes: received.bytes, files: fds, lost_files })
}
