//! What the program and its workers may do: their user, their threads, and their open files.

use std::{
    fs::{self, File},
    io::IoSlice,
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixStream},
    time::Duration,
};

use executor_core::{Executor, PoolState, TaskError, TaskOptions};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

use crate::{
    ends_soon, ends_well, exit, kinds, never_return, one_worker,
    pool_kinds::{Kind, on_every_kind_of_pool},
    program, square, succeeds,
};

on_every_kind_of_pool!(a_worker_that_may_open_nothing_more_lives_on,);

/// As programs do that are not to open files any more.
fn open_nothing_more(_: ()) -> u32 {
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..getrlimit(Resource::Nofile) }).unwrap();
    std::process::id()
}

fn a_worker_that_may_open_nothing_more_lives_on(kind: Kind) {
    let pool = one_worker(kind).build().unwrap();
    let pid = pool.submit(open_nothing_more, ()).unwrap().result().unwrap();
    let signal = |signal| kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    for _ in 0..3 {
        // A thread that sleeps there begins to sleep once more.
        signal(Signal::STOP);
        while !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ") {}
        signal(Signal::CONT);
        for x in 0..100 {
            assert_eq!(pool.submit(square, x).unwrap().result(), Ok(x * x));
        }
    }
    assert_eq!(pool.worker_pids(), [pid], "it has ended");
    drop(pool);
    assert!(ends_soon(pid));
}

#[test]
#[ignore = "changes the user of its process"]
fn program_that_changes_its_user() {
    for kind in kinds() {
        let pool = one_worker(kind).grace(Duration::from_millis(10)).build().unwrap();
        pool.warm_up().unwrap();
        let [real, effective, saved] = [65_534, 65_534, 0];
        // SAFETY: has no requirements.
        if unsafe { libc::setresuid(real, effective, saved) } != 0 {
            // The process is an ordinary user's, which cannot become another one.
            return;
        }
        let options = TaskOptions::new().timeout(Duration::from_millis(50));
        let late = pool.submit_with(never_return, (), options).unwrap();
        let late = late.result_timeout(Duration::from_secs(60)).expect("it is ended");
        assert!(matches!(late, Err(TaskError::TimedOut { .. })), "{late:?}");
        // SAFETY: has no requirements.
        assert_eq!(unsafe { libc::setresuid(0, 0, 0) }, 0);
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
    }
}

#[test]
fn a_program_that_changes_its_user_can_end_its_workers() {
    succeeds("rights::program_that_changes_its_user");
}

/// Sets the limit of threads of the process that starts the workers of this pool, which they inherit.
fn set_most_threads(server: Option<u32>, most: Option<u64>) {
    let server = server.map(|pid| Pid::from_raw(pid.cast_signed()).unwrap());
    prlimit(server, Resource::Nproc, Rlimit { current: most, ..getrlimit(Resource::Nproc) }).unwrap();
}

#[test]
#[ignore = "changes the user and the limits of its process"]
fn program_whose_workers_have_no_threads() {
    // No other process has this user, and it has no privileges.
    // SAFETY: has no requirements.
    if unsafe { libc::setresuid(61_423, 61_423, 61_423) } != 0 {
        // The process is an ordinary user's, which cannot become another one.
        return;
    }
    let threads = |pid: u32| fs::read_dir(format!("/proc/{pid}/task")).unwrap().count() as u64;
    for kind in kinds() {
        let pool = one_worker(kind).build().unwrap();
        pool.warm_up().unwrap();
        let server = pool.fork_server_pid();
        // For the process of a worker, and for no thread of it.
        set_most_threads(server, Some(threads(std::process::id()) + server.map_or(0, threads) + 1));
        assert!(matches!(pool.submit(exit, ()).unwrap().result(), Err(TaskError::WorkerDied { .. })));
        let early = pool.submit(square, 3).unwrap().result_timeout(Duration::from_secs(60)).expect("it ends");
        assert!(matches!(early, Err(TaskError::NoWorker { .. })), "{kind:?}, {early:?}");
        assert_eq!(pool.state(), PoolState::Active, "{kind:?}");
        assert!(matches!(pool.warm_up(), Err(TaskError::NoWorker { .. })));
        assert_eq!(pool.fork_server_pid(), server);
        set_most_threads(server, getrlimit(Resource::Nproc).maximum);
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
    }
}

#[test]
fn workers_that_get_no_thread_for_a_moment_do_not_break_the_pool() {
    succeeds("rights::program_whose_workers_have_no_threads");
}

/// They say why they end, and this must not keep them from ending as they should.
#[test]
fn workers_that_get_no_thread_do_not_break_the_pool_where_nothing_can_be_written() {
    let mut program = program("rights::program_whose_workers_have_no_threads");
    ends_well(program.stderr(File::create("/dev/full").unwrap()));
}

fn data_limit(_: ()) -> [Option<u64>; 2] {
    let limit = getrlimit(Resource::Data);
    [limit.current, limit.maximum]
}

#[test]
#[ignore = "changes the user and the limits of its process"]
fn program_with_a_limit_on_data() {
    const GIB: u64 = 1 << 30;
    let own = Rlimit { current: Some(2 * GIB), maximum: Some(3 * GIB) };
    setrlimit(Resource::Data, own).unwrap();
    let limits_of_workers = || {
        for (kind, bytes) in kinds().flat_map(|kind| [4 * GIB, u64::MAX].map(|bytes| (kind, bytes))) {
            let pool = one_worker(kind).memory_limit(bytes).build().unwrap();
            assert_eq!(pool.submit(data_limit, ()).unwrap().result(), Ok([own.current, own.maximum]));
        }
        for kind in kinds() {
            let pool = one_worker(kind).memory_limit(GIB).build().unwrap();
            let [current, maximum] = pool.submit(data_limit, ()).unwrap().result().unwrap();
            assert!(current == maximum && current < own.current, "{current:?} {maximum:?}");
        }
    };
    limits_of_workers();
    // SAFETY: has no requirements.
    if unsafe { libc::setresuid(61_424, 61_424, 61_424) } == 0 {
        limits_of_workers();
    }
}

#[test]
fn a_memory_limit_does_not_raise_that_of_the_program() {
    succeeds("rights::program_with_a_limit_on_data");
}

/// Has as many files under way as a user may have, in this socket.
fn send_all_files(socket: &UnixStream) {
    socket.set_nonblocking(true).unwrap();
    let files = [socket.as_fd()];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&files)));
        match sendmsg(socket, &[IoSlice::new(&[1])], &mut ancillary, SendFlags::empty()) {
            Ok(_) => {}
            Err(Errno::TOOMANYREFS) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
#[ignore = "changes the user and the limits of its process"]
fn program_whose_files_may_not_travel() {
    // No other process has this user, and it has no privileges.
    // SAFETY: has no requirements.
    if unsafe { libc::setresuid(61_425, 61_425, 61_425) } != 0 {
        // The process is an ordinary user's, which cannot become another one.
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..getrlimit(Resource::Nofile) }).unwrap();
    for kind in kinds() {
        let pool = one_worker(kind).build().unwrap();
        let (sender, receiver) = UnixStream::pair().unwrap();
        send_all_files(&sender);
        let early = pool.submit(square, 3).unwrap().result_timeout(Duration::from_secs(60)).expect("it ends");
        assert!(matches!(early, Err(TaskError::NoWorker { .. })), "{kind:?}, {early:?}");
        assert_eq!(pool.state(), PoolState::Active, "{kind:?}");
        drop((sender, receiver));
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9), "{kind:?}");
    }
}

#[test]
fn files_that_may_not_travel_for_a_moment_do_not_break_the_pool() {
    succeeds("rights::program_whose_files_may_not_travel");
}

#[test]
#[ignore = "changes the limits of its process"]
fn program_that_may_open_nothing_more() {
    for kind in kinds() {
        let limit = getrlimit(Resource::Nofile);
        let pool = one_worker(kind).build().unwrap();
        pool.warm_up().unwrap();
        open_nothing_more(());
        assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
        let spent = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
        let before = spent();
        std::thread::sleep(Duration::from_millis(200));
        let taken = spent() - before;
        assert!(taken < Duration::from_millis(100), "{taken:?} of processor time for nothing");
        // The death of a worker is noticed.
        assert!(matches!(pool.submit(exit, ()).unwrap().result(), Err(TaskError::WorkerDied { .. })));
        setrlimit(Resource::Nofile, limit).unwrap();
        assert_eq!(pool.submit(square, 4).unwrap().result(), Ok(16));
    }
}

#[test]
fn a_program_that_may_open_nothing_more_waits_all_the_same() {
    succeeds("rights::program_that_may_open_nothing_more");
}
