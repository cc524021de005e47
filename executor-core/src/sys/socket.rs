//! Sockets between a program and its workers: bytes, and descriptors beside them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketType, recvmsg, sendmsg,
    },
};

/// Takes standard input for itself if it is the socket of a worker, and leaves `/dev/null` in its place, or something else that is
/// empty.
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
    rustix::stdio::dup2_stdin(empty_file("/dev/null")?)?;
    Ok(Some(socket.into()))
}

/// Something that has nothing to read: this file, or, where it is not there, as after a `chroot`, the end of a pipe.
fn empty_file(null: &str) -> io::Result<OwnedFd> {
    match rustix::fs::open(null, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM | Errno::NXIO) => Ok(io::pipe()?.0.into()),
        opened => Ok(opened?),
    }
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
    #[cfg(all(test, not(loom)))]
    refusals::refuse()?;
    Ok(sendmsg(socket, parts, &mut SendAncillaryBuffer::default(), QUIETLY)?)
}

/// A thread that was refused memory for what it sends tries again after this time, and then after twice as long each time ...
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// ... up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

fn send(socket: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
    #[cfg(all(test, not(loom)))]
    refusals::refuse()?;
    rustix::net::send(socket, bytes, flags | QUIETLY)
}

/// Whether an error says that the system has no memory for a message, at this moment.
fn is_short_of_memory(error: Errno) -> bool {
    matches!(error, Errno::NOBUFS | Errno::NOMEM)
}

/// Sends all of `bytes`, however long that takes: until there is room, and until the system has memory for them.
pub(crate) fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    let mut pause = FIRST_PAUSE;
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::empty()) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                pause = FIRST_PAUSE;
            }
            Err(Errno::INTR) => {}
            Err(error) if is_short_of_memory(error) => {
                std::thread::sleep(pause);
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends bytes if there is room for them, and does not say whether they were sent. Without room there is something else to be read,
/// which wakes the other side as well; where the system has no memory there may be nothing, so that is asked for again, for a while.
pub(crate) fn send_if_room(socket: BorrowedFd<'_>, bytes: &[u8]) {
    let mut pause = FIRST_PAUSE;
    while send(socket, bytes, SendFlags::DONTWAIT).is_err_and(is_short_of_memory) && pause <= LONGEST_PAUSE {
        std::thread::sleep(pause);
        pause *= 2;
    }
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

impl Received {
    /// Where the files are all needed: that some could not be received is an error, for there may be room for them in a moment.
    pub(crate) fn with_all_files(self) -> io::Result<Self> {
        if self.lost_files { Err(Errno::MFILE.into()) } else { Ok(self) }
    }
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

/// Stands for a system that has no memory for messages.
#[cfg(all(test, not(loom)))]
pub(crate) mod refusals {
    use std::cell::Cell;

    use rustix::io::Errno;

    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(0) };
    }

    /// So many messages that this thread sends from now on are refused.
    pub(crate) fn begin(count: u32) {
        LEFT.set(count);
    }

    /// How many of them are still to come.
    pub(crate) fn left() -> u32 {
        LEFT.get()
    }

    pub(super) fn refuse() -> Result<(), Errno> {
        LEFT.get().checked_sub(1).map_or(Ok(()), |left| {
            LEFT.set(left);
            Err(Errno::NOBUFS)
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{fs::File, io::Read};

    use super::*;

    #[test]
    fn bytes_that_were_refused_memory_are_sent_later() {
        let (socket, mut other) = UnixStream::pair().unwrap();
        refusals::begin(3);
        send_all(socket.as_fd(), b"all").unwrap();
        refusals::begin(3);
        send_if_room(socket.as_fd(), b"some");
        drop(socket);
        let mut text = String::new();
        other.read_to_string(&mut text).unwrap();
        assert_eq!(text, "allsome");
    }

    #[test]
    fn a_standard_input_without_content_is_found_where_there_is_no_dev() {
        for null in ["/dev/null", "/nowhere/null", "/dev/null/null"] {
            let mut input = File::from(empty_file(null).unwrap());
            assert_eq!(input.read(&mut [0]).unwrap(), 0, "{null}");
        }
    }
}
