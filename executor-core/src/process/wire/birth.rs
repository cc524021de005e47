//! What a process knows of the process that has started it, before it has read any message.

use std::{
    ffi::OsStr,
    hash::{BuildHasher, RandomState},
};

/// The code with which a worker exits that was refused a resource for a moment before it was ready, such as a thread: it says that
/// another worker may get it. Others have a process and no thread left, so the program has not noticed the lack itself.
pub(in crate::process) const TRY_AGAIN: i32 = 75;

/// Handed to a worker, or a fork server, in a variable of its environment.
///
/// All that the worker's tasks start inherits the variable. So the token is in the socket as well, before the process is started:
/// it is a worker that finds its own token as the first thing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::process) struct Birth {
    /// The process that has started it.
    pub(in crate::process) parent: u32,
    /// Whether what it starts ends with it, as far as it stays in its process group.
    pub(in crate::process) ends_group: bool,
    pub(in crate::process) token: String,
}

impl Birth {
    /// Of a child of this process.
    pub(in crate::process) fn new(ends_group: bool) -> Self {
        // Not a secret: only that no two are the same matters.
        let random = || RandomState::new().hash_one(0);
        let token = format!("{:016x}{:016x}", random(), random());
        Self { parent: std::process::id(), ends_group, token }
    }

    pub(in crate::process) fn variable(&self) -> String {
        format!("{}.{}.{}", self.parent, u8::from(self.ends_group), self.token)
    }

    /// `None` for what no process of this crate has written.
    pub(in crate::process) fn read(variable: &OsStr) -> Option<Self> {
        let mut parts = variable.to_str()?.splitn(3, '.');
        let parent = parts.next()?.parse().ok()?;
        let ends_group = parts.next()? == "1";
        let token = parts.next().filter(|token| token.len() == 32)?;
        Some(Self { parent, ends_group, token: token.to_owned() })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_no_token_comes_twice() {
        let births = [Birth::new(true), Birth::new(false)];
        assert_ne!(births[0].token, births[1].token);
        for birth in births {
            assert_eq!(Birth::read(OsStr::new(&birth.variable())), Some(birth));
        }
        assert!(
            ["", "17", "17.1", "17.1.", "x.1.0123", "17.1.short"]
                .iter()
                .all(|text| Birth::read(OsStr::new(text)).is_none())
        );
    }
}
