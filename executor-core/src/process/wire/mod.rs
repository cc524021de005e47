//! The messages between parent and worker.

pub(super) mod birth;
pub(super) mod frame;
pub(super) mod handshake;
pub(super) mod identity;
