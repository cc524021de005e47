//! Bytes that were sent through a socket and not read at its other end.

use std::{
    ffi::c_int,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Whether something that was sent through this Unix socket has not been read: of the last message that has not, maybe a part
/// only. `false` where that cannot be told, and when the other end is closed, for then nothing is there to be read.
pub(crate) fn has_unread(socket: BorrowedFd<'_>) -> bool {
    // The kernel counts the memory of messages as a whole, so the number says no more than whether there are any.
    let mut memory: c_int = 0;
    // SAFETY: the descriptor is open, and this request writes one `int`.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut memory) };
    outcome == 0 && memory > 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        io::{Read, Write},
        os::{fd::AsFd, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn what_is_read_to_the_last_byte_is_not_unread() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        assert!(!has_unread(one.as_fd()));
        for length in [1, 100, 100_000] {
            one.write_all(&vec![0; length]).unwrap();
            let mut bytes = vec![0; length];
            other.read_exact(&mut bytes[1..]).unwrap();
            assert!(has_unread(one.as_fd()), "one of {length} is left");
            other.read_exact(&mut bytes[..1]).unwrap();
            assert!(!has_unread(one.as_fd()), "none of {length} is left");
        }
    }
}
