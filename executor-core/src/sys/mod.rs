//! Calls of the operating system, and every difference between platforms.

#[expect(unsafe_code, reason = "finds out whether this process is a forked copy")]
mod copies;
mod cpus;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "forks")]
mod fork;
#[cfg(target_os = "linux")]
mod futex;
mod image;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "handles a signal")]
mod limits;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "asks for memory of the caller's")]
mod pages;
mod parent;
mod poll;
#[expect(unsafe_code, reason = "maps memory")]
mod shared_memory;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "changes what signals do")]
mod signal;
mod socket;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "asks a socket")]
mod unread;
mod worker_process;

#[cfg(target_os = "linux")]
pub(crate) use copies::forks;
#[cfg(all(test, target_os = "linux", not(miri), not(loom)))]
pub(crate) use copies::in_a_copy;
pub(crate) use copies::{PerProcess, end_copy, generation};
pub(crate) use cpus::{available_cpus, current_core};
#[cfg(target_os = "linux")]
pub(crate) use fork::{Alone, Forked, die_with_parent, fork_sibling, main_stack_size};
#[cfg(target_os = "linux")]
pub(crate) use futex::{sleep_while, wake};
pub(crate) use image::is_in_program;
#[cfg(target_os = "linux")]
pub(crate) use image::{Image, image};
#[cfg(target_os = "linux")]
pub(crate) use limits::proportional_set_size;
#[cfg(target_os = "linux")]
pub(crate) use limits::{forget_refused_allocations, install_out_of_memory_handler, set_data_limit};
#[cfg(target_os = "linux")]
pub(crate) use pages::populate;
pub(crate) use parent::Parent;
pub(crate) use poll::{is_for_a_moment, is_hung_up, is_readable, poll_until, wait_until_readable};
#[cfg(target_os = "linux")]
pub(crate) use shared_memory::is_shared_memory;
#[cfg(target_os = "linux")]
pub(crate) use shared_memory::{Mapping, Writable, may_have_file_of, may_have_long_files, read_shared, total_memory};
pub(crate) use shared_memory::{SharedWords, is_same_file};
#[cfg(target_os = "linux")]
pub(crate) use signal::{flush_c_streams, leave_terminal, reset_signals};
#[cfg(all(test, not(loom)))]
pub(crate) use socket::refusals;
pub(crate) use socket::{
    Received, be_quiet, peek, receive_with_fds, send_all, send_if_room, send_parts, send_with_fds, take_over_stdin,
};
#[cfg(target_os = "linux")]
pub(crate) use unread::has_unread;
pub(crate) use worker_process::{NotAllowed, WorkerProcess, exit_now, exit_with_group};
