//! What the operating system is asked for, and every difference between platforms.

#[expect(unsafe_code, reason = "finds a task's entry by its address")]
mod image;
#[expect(unsafe_code, reason = "maps memory")]
mod shared_memory;
mod worker_process;

pub(crate) use image::{entry_at, is_in_program};
pub(crate) use shared_memory::SharedWords;
pub(crate) use worker_process::{
    WorkerProcess, exit_now, is_readable, poll_until, receive_with_fd, send_with_fd, take_over_stdin, wait_for_hangup,
};
