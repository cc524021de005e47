//! A worker's side: how it begins, and its life. A fork server begins in the same way, and its first frame says that it is one.

pub(super) mod entry;
#[cfg(target_os = "linux")]
mod fork_server;
mod init;
mod main_loop;

pub use init::init;
