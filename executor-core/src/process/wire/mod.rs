//! What both sides say to one another.

pub(super) mod birth;
pub(super) mod frame;
pub(super) mod handshake;
pub(super) mod identity;
