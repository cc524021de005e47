//! A worker's side: how it begins, and its life. A fork server is what workers are before they are told apart.

pub(super) mod entry;
#[cfg(target_os = "linux")]
mod fork_server;
mod init;
mod main_loop;

pub use init::init;
