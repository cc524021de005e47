//! The end of a program, within a time limit.

use std::{
    io,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

/// Waits for the end of `child`; `None` where it still runs after `limit`.
pub(super) fn within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    #[cfg(target_os = "linux")]
    if let Some(ended) = ends_within(child, limit, start) {
        return if ended { child.wait().map(Some) } else { child.try_wait() };
    }
    look_within(child, limit, start)
}

/// Asks the kernel to be woken at the program's end. `None` where it has no descriptors of processes.
#[cfg(target_os = "linux")]
fn ends_within(child: &Child, limit: Duration, start: Instant) -> Option<bool> {
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        process::{Pid, PidfdFlags, pidfd_open},
    };

    let process = pidfd_open(Pid::from_raw(i32::try_from(child.id()).ok()?)?, PidfdFlags::empty()).ok()?;
    loop {
        let left = Timespec::try_from(limit.saturating_sub(start.elapsed())).ok()?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Some(false),
            Ok(_) => return Some(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Looks for the program's end, at first often and then less often: what takes longer loses less by a later look.
fn look_within(child: &mut Child, limit: Duration, start: Instant) -> io::Result<Option<ExitStatus>> {
    const FIRST: Duration = Duration::from_micros(200);
    const LAST: Duration = Duration::from_millis(20);
    let mut pause = FIRST;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(pause.min(left));
        pause = (2 * pause).min(LAST);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn both_ways_see_the_end_and_the_limit() {
        let hour = Duration::from_secs(3600);
        for look in [within, |child: &mut Child, limit| look_within(child, limit, Instant::now())] {
            let mut brief = Command::new("true").spawn().unwrap();
            assert!(look(&mut brief, hour).unwrap().unwrap().success());
            let mut long = Command::new("sleep").arg("600").spawn().unwrap();
            assert_eq!(look(&mut long, Duration::from_millis(5)).unwrap(), None);
            long.kill().unwrap();
            assert!(!look(&mut long, hour).unwrap().unwrap().success());
        }
    }
}
