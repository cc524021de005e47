//! Shared memory under difficult conditions: workers without descriptors, configurations that no worker has read yet, panics, many
//! results, limits on files. A lost segment is reported, fails the tasks that meet it, and no bytes change under a reader.
#![cfg(target_os = "linux")]

use std::{
    fs::{self, File},
    io::IoSlice,
    os::{fd::AsFd, unix::net::UnixStream},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use executor_core::{
    CancelToken, Executor, ProcessPoolExecutor, SharedBytes, TaskError, TaskOptions, Transport, partial,
};
use gated::{Gate, result, square};
use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, capabilities, set_capabilities},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod gated;
mod pool_kinds;

executor_core::test_worker!();

pool_kinds::on_every_kind_of_pool!(
    a_worker_that_was_out_of_descriptors_counts_what_it_holds,
    a_configuration_that_was_lost_comes_again,
    a_result_that_cannot_be_encoded_leaves_nothing_behind,
    results_that_are_kept_leave_descriptors_for_others,
    private_bytes_are_only_where_they_were_sent,
    bytes_are_right_whichever_worker_dies_or_has_no_descriptors,
    results_whose_files_may_not_travel_cost_their_tasks_alone,
);

const MIB: usize = 1 << 20;

fn filled(length: usize, byte: u8) -> SharedBytes {
    SharedBytes::with_len(length, |bytes| bytes.fill(byte))
}

fn pool(kind: pool_kinds::Kind) -> ProcessPoolExecutor {
    kind.builder().max_workers(1).build().unwrap()
}

static FILES: Mutex<Vec<File>> = Mutex::new(Vec::new());
static KEPT: Mutex<Vec<SharedBytes>> = Mutex::new(Vec::new());

/// Takes all descriptors that a worker may have.
fn plug(_: ()) {
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    files.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
}

fn unplug(_: ()) {
    FILES.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

fn keep(bytes: SharedBytes) {
    KEPT.lock().unwrap().push(bytes);
}

/// The first and the last byte of all that is kept.
fn look(_: ()) -> Vec<(u8, u8)> {
    KEPT.lock().unwrap().iter().map(|bytes| (bytes[0], bytes[bytes.len() - 1])).collect()
}

fn first_and_length(bytes: SharedBytes) -> (u8, usize) {
    (bytes[0], bytes.len())
}

fn says_why(error: &TaskError) -> bool {
    matches!(error, TaskError::Decode { cause, .. } if cause.to_string().contains("too many files open"))
}

fn a_worker_that_was_out_of_descriptors_counts_what_it_holds(kind: pool_kinds::Kind) {
    let pool = pool(kind);
    pool.submit(plug, ()).unwrap().result().unwrap();
    let first = filled(MIB, 1);
    for _ in 0..3 {
        let error = result(pool.submit(first_and_length, first.clone()).unwrap()).unwrap_err();
        assert!(says_why(&error), "{error:?}");
    }
    pool.submit(unplug, ()).unwrap().result().unwrap();
    // The very segment that was lost, and others, also in memory that is used again.
    assert_eq!(result(pool.submit(first_and_length, first).unwrap()), Ok((1, MIB)));
    for byte in 0..20 {
        assert_eq!(result(pool.submit(first_and_length, filled(MIB, byte)).unwrap()), Ok((byte, MIB)));
    }
    // The worker's holders are counted: no other value is written there.
    for byte in 100..108 {
        result(pool.submit(keep, filled(MIB, byte)).unwrap()).unwrap();
    }
    let others: Vec<_> = (0..20).map(|byte| filled(MIB, byte)).collect();
    let expected: Vec<_> = (100..108).map(|byte| (byte, byte)).collect();
    assert_eq!(result(pool.submit(look, ()).unwrap()), Ok(expected));
    drop(others);
}

fn first_of((): (), config: &SharedBytes) -> u8 {
    config[0]
}

fn a_configuration_that_was_lost_comes_again(kind: pool_kinds::Kind) {
    let pool = pool(kind);
    let task = partial(first_of, filled(MIB, 7));
    pool.submit(plug, ()).unwrap().result().unwrap();
    for _ in 0..3 {
        assert!(result(pool.submit(task.clone(), ()).unwrap()).is_err());
    }
    pool.submit(unplug, ()).unwrap().result().unwrap();
    for _ in 0..3 {
        assert_eq!(result(pool.submit(task.clone(), ()).unwrap()), Ok(7));
    }
}

/// Notes in a file what it was when it was decoded.
#[derive(Clone, Serialize)]
struct Noted {
    path: String,
    bytes: SharedBytes,
}

impl<'de> Deserialize<'de> for Noted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (path, bytes) = <(String, SharedBytes)>::deserialize(deserializer)?;
        fs::write(&path, [bytes[0]]).unwrap();
        Ok(Self { path, bytes })
    }
}

fn length_with(x: u64, config: &Noted) -> u64 {
    x + config.bytes.len() as u64
}

fn add(x: u64, y: &u64) -> u64 {
    x + y
}

/// Over sockets nothing is in flight at a worker that it does not run.
#[test]
fn a_configuration_that_no_worker_has_read_yet_is_not_overwritten() {
    for method in [executor_core::StartMethod::Spawn, executor_core::StartMethod::ForkServer] {
        let kind = pool_kinds::Kind { transport: Transport::SharedMemory, method };
        let gate = Gate::new();
        let note = gate.name("note");
        let pool = gated::quick_pool(kind.builder(), 1);
        // A worker that has had a lease: memory is kept for the next use.
        assert_eq!(result(pool.submit(first_and_length, filled(MIB, 1)).unwrap()), Ok((1, MIB)));
        gated::assert_squares(gated::squares(&pool, 500));
        let long = gate.close(&pool);
        let config = partial(length_with, Noted { path: note.clone(), bytes: filled(3 * MIB, 7) });
        let standing = pool.submit(config.clone(), 1).unwrap();
        assert!(standing.cancel());
        drop((standing, config));
        // The worker has room for 64 definitions.
        let others: Vec<_> = (0..70).map(|y| pool.submit(partial(add, y), 1).unwrap()).collect();
        let new: Vec<_> = (0..3).map(|_| filled(3 * MIB, 9)).collect();
        gate.open();
        assert_eq!(result(long), Ok(7));
        for (y, future) in (0..).zip(others) {
            assert_eq!(result(future), Ok(1 + y));
        }
        // Whether it was decoded at all does not matter here.
        assert!(matches!(fs::read(&note).as_deref(), Ok([7]) | Err(_)));
        drop(new);
    }
}

#[derive(Deserialize)]
struct Bad;

impl Serialize for Bad {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("on purpose")
    }
}

fn bad(bytes: SharedBytes) -> (SharedBytes, Bad) {
    (bytes, Bad)
}

/// What a task writes to a file, say.
fn encoded_length(bytes: SharedBytes) -> usize {
    postcard::to_allocvec(&bytes).unwrap().len()
}

fn a_result_that_cannot_be_encoded_leaves_nothing_behind(kind: pool_kinds::Kind) {
    let pool = pool(kind);
    let bytes = filled(100_000, 1);
    let before = result(pool.submit(encoded_length, bytes.clone()).unwrap()).unwrap();
    assert!(before > 100_000);
    assert!(result(pool.submit(bad, bytes.clone()).unwrap()).is_err());
    assert_eq!(result(pool.submit(encoded_length, bytes.clone()).unwrap()), Ok(before));
    let parts: Vec<_> = pool.map(bad, vec![bytes.clone(); 4]).chunk_size(4).collect();
    assert!(parts.iter().all(Result::is_err));
    assert_eq!(result(pool.submit(encoded_length, bytes).unwrap()), Ok(before));
}

fn make(byte: u8) -> SharedBytes {
    filled(70_000, byte)
}

fn open_memory() -> usize {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|target| target.to_string_lossy().contains("memfd:executor-core")).count()
}

fn results_that_are_kept_leave_descriptors_for_others(kind: pool_kinds::Kind) {
    let pool = kind.builder().max_workers(2).build().unwrap();
    let results: Vec<_> = pool.map(make, (0..600).map(|x| x as u8)).map(Result::unwrap).collect();
    assert!(open_memory() < 300, "{} files are open", open_memory());
    for (x, bytes) in results.iter().enumerate() {
        assert!(bytes.len() == 70_000 && bytes.iter().all(|byte| *byte == x as u8));
    }
    // They can be sent on, those as well whose files are closed.
    for (x, bytes) in results.iter().enumerate().step_by(50).chain(results.iter().enumerate().skip(595)) {
        assert_eq!(result(pool.submit(first_and_length, bytes.clone()).unwrap()), Ok((x as u8, 70_000)));
    }
    // Arguments still go through shared memory.
    let bytes = filled(MIB, 3);
    assert_eq!(result(pool.submit(first_and_length, bytes.clone()).unwrap()), Ok((3, MIB)));
}

/// The numbers of the files that are mapped in this process.
fn mapped_files(_: ()) -> Vec<u64> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.contains("memfd:executor-core"));
    ours.filter_map(|line| line.split_whitespace().nth(4)?.parse().ok()).collect()
}

fn file_of(bytes: &[u8]) -> u64 {
    let at = bytes.as_ptr() as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let holds = |line: &&str| {
        let ends = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        let [start, end] = [ends.0, ends.1].map(|end| usize::from_str_radix(end, 16).unwrap());
        (start..end).contains(&at)
    };
    maps.lines().find(holds).unwrap().split_whitespace().nth(4).unwrap().parse().unwrap()
}

fn private_bytes_are_only_where_they_were_sent(kind: pool_kinds::Kind) {
    let pool = pool(kind);
    // A segment that can be used again.
    for byte in 0..4 {
        assert_eq!(result(pool.submit(first_and_length, filled(MIB, byte)).unwrap()), Ok((byte, MIB)));
    }
    let private = SharedBytes::private_with_len(MIB, |bytes| bytes.fill(5));
    let file = file_of(&private);
    assert!(!result(pool.submit(mapped_files, ()).unwrap()).unwrap().contains(&file));
    assert_eq!(result(pool.submit(first_and_length, private.clone()).unwrap()), Ok((5, MIB)));
    assert!(result(pool.submit(mapped_files, ()).unwrap()).unwrap().contains(&file));
    drop(private);
    let next = filled(MIB, 6);
    assert_ne!(file_of(&next), file);
}

/// The sockets with a file that is never received.
static UNDER_WAY: Mutex<Vec<UnixStream>> = Mutex::new(Vec::new());

/// The files of a user that are under way may be as many as one process may have, unless that one has special rights.
fn set_most_under_way(most: u64) {
    let limit = Rlimit { current: Some(most), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Makes a result, and lets no file of this process travel any more.
fn make_and_hold_up(byte: u8) -> (SharedBytes, SharedBytes) {
    let made = (make(byte), make(byte + 1));
    let mut under_way = UNDER_WAY.lock().unwrap();
    if under_way.is_empty() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut files = SendAncillaryBuffer::new(&mut space);
        let file = [one.as_fd()];
        assert!(files.push(SendAncillaryMessage::ScmRights(&file)));
        sendmsg(&one, &[IoSlice::new(&[0])], &mut files, SendFlags::empty()).unwrap();
        under_way.extend([one, other]);
        let mut rights = capabilities(None).unwrap();
        rights.effective -= CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_RESOURCE;
        set_capabilities(None, rights).unwrap();
    }
    set_most_under_way(0);
    made
}

fn let_files_travel(_: ()) {
    // More than all tests of this user together have under way.
    set_most_under_way(getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20));
}

fn results_whose_files_may_not_travel_cost_their_tasks_alone(kind: pool_kinds::Kind) {
    let pool = pool(kind);
    pool.warm_up().unwrap();
    let pids = pool.worker_pids();
    let is_whole = |(one, other): (SharedBytes, SharedBytes), byte| {
        assert!(one == make(byte) && other == make(byte + 1));
    };
    for round in 0..3 {
        let error = result(pool.submit(make_and_hold_up, 1).unwrap()).unwrap_err();
        assert!(matches!(error, TaskError::Decode { .. }), "{error:?}");
        result(pool.submit(let_files_travel, ()).unwrap()).unwrap();
        // The next results have their own files.
        is_whole(result(pool.submit(|byte| (make(byte), make(byte + 1)), round).unwrap()).unwrap(), round);
        let parts: Vec<_> = pool.map(|byte| (make(byte), make(byte + 1)), [round, round + 3]).chunk_size(2).collect();
        (round..).step_by(3).zip(parts).for_each(|(byte, part)| is_whole(part.unwrap(), byte));
    }
    assert_eq!(pool.worker_pids(), pids, "no worker has had to go");
}

fn echo(bytes: SharedBytes) -> SharedBytes {
    bytes
}

fn kept(index: usize) -> Option<SharedBytes> {
    let kept = KEPT.lock().unwrap();
    (!kept.is_empty()).then(|| kept[index % kept.len()].clone())
}

fn drop_one(index: usize) {
    let mut kept = KEPT.lock().unwrap();
    if !kept.is_empty() {
        let index = index % kept.len();
        kept.swap_remove(index);
    }
}

fn die(_: ()) {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
}

fn is_whole(bytes: &SharedBytes) -> bool {
    bytes.iter().all(|byte| *byte == bytes[0])
}

/// Whether all that a worker keeps is what it was: every segment is full of one byte, and of no other.
fn all_whole(_: ()) -> bool {
    KEPT.lock().unwrap().iter().all(is_whole)
}

fn sum_with(x: u8, config: &SharedBytes) -> (u8, bool) {
    (x.wrapping_add(config[0]), is_whole(config))
}

/// Everything that can be done with shared bytes, at random: all bytes are always those that were sent.
fn bytes_are_right_whichever_worker_dies_or_has_no_descriptors(kind: pool_kinds::Kind) {
    let pool = kind.builder().max_workers(2).build().unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) % below
    };
    // A worker may be dead, or have no descriptors: that is an error, and no other bytes.
    let check = |outcome: Result<SharedBytes, TaskError>, byte: u8| match outcome {
        Ok(bytes) => assert!(bytes.iter().all(|other| *other == byte)),
        Err(TaskError::WorkerDied { .. } | TaskError::Decode { .. }) => {}
        Err(other) => panic!("{other:?}"),
    };
    let mut held: Vec<(u8, SharedBytes)> = Vec::new();
    for step in 0..200_u64 {
        let byte = step as u8;
        let length = [70_000, 200_000, MIB, 3 * MIB][draw(4) as usize];
        match draw(14) {
            0 => held.push((byte, filled(length, byte))),
            1 => held.truncate(draw(6) as usize),
            2 | 3 => check(result(pool.submit(echo, filled(length, byte)).unwrap()), byte),
            4 => drop(result(pool.submit(keep, filled(length, byte)).unwrap())),
            5 => {
                if let Ok(Some(bytes)) = result(pool.submit(kept, step as usize).unwrap()) {
                    assert!(is_whole(&bytes));
                    held.push((bytes[0], bytes));
                }
            }
            6 => drop(result(pool.submit(drop_one, step as usize).unwrap())),
            7 => {
                let config = partial(sum_with, filled(length, byte));
                for x in 0..2 {
                    let outcome = result(pool.submit(config.clone(), x).unwrap());
                    assert!(outcome.is_err() || outcome == Ok((x.wrapping_add(byte), true)), "{outcome:?}");
                }
            }
            8 => {
                let futures: Vec<_> = (0..6).map(|_| pool.submit(echo, filled(length, byte)).unwrap()).collect();
                futures.iter().step_by(2).for_each(|future| _ = future.cancel());
                for future in futures {
                    match result(future) {
                        Err(TaskError::Cancelled) => {}
                        outcome => check(outcome, byte),
                    }
                }
            }
            9 if draw(3) == 0 => drop(result(pool.submit(die, ()).unwrap())),
            10 => drop(result(pool.submit(plug, ()).unwrap())),
            11 => drop(result(pool.submit(unplug, ()).unwrap())),
            12 => {
                if let Some((byte, bytes)) = held.last().cloned() {
                    check(result(pool.submit(echo, bytes).unwrap()), byte);
                }
            }
            _ => assert_ne!(result(pool.submit(all_whole, ()).unwrap()), Ok(false)),
        }
        assert!(held.iter().all(|(byte, bytes)| bytes.iter().all(|other| other == byte)));
    }
}

/// Runs a test of this file in a process of its own, whose limits are no other's.
fn alone(test: &str) {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args([test, "--exact", "--ignored", "--nocapture"]).output().unwrap();
    assert!(output.status.success(), "{}\n{output:?}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

#[test]
fn a_limit_on_files_ends_nothing() {
    alone("with_a_limit_on_files");
}

fn is_cancelled(token: CancelToken) -> bool {
    token.is_cancelled()
}

fn repeat((length, byte): (usize, u8)) -> Vec<u8> {
    vec![byte; length]
}

#[test]
#[ignore = "changes the limits of its process"]
fn with_a_limit_on_files() {
    setrlimit(Resource::Fsize, Rlimit { current: Some(128 * 1024), maximum: getrlimit(Resource::Fsize).maximum })
        .unwrap();
    let bytes = SharedBytes::from(vec![4; MIB]);
    for transport in [Transport::SharedMemory, Transport::Socket] {
        for method in [executor_core::StartMethod::Spawn, executor_core::StartMethod::ForkServer] {
            let pool = pool_kinds::Kind { transport, method }.builder().max_workers(1).build().unwrap();
            assert_eq!(result(pool.submit(square, 3).unwrap()), Ok(9));
            assert_eq!(result(pool.submit(first_and_length, filled(MIB, 4)).unwrap()), Ok((4, MIB)));
            assert_eq!(result(pool.submit(first_and_length, bytes.clone()).unwrap()), Ok((4, MIB)));
            assert_eq!(result(pool.submit(echo, filled(100_000, 4)).unwrap()), Ok(filled(100_000, 4)));
            for length in [70_000, MIB, 20 * MIB] {
                assert_eq!(result(pool.submit(|bytes: Vec<u8>| bytes.len(), vec![1_u8; length]).unwrap()), Ok(length));
                assert_eq!(result(pool.submit(repeat, (length, 1)).unwrap()), Ok(vec![1; length]));
            }
            assert_eq!(result(pool.submit(make, 3).unwrap()), Ok(make(3)));
            // A token is a word in shared memory.
            let outcome = pool.submit(is_cancelled, CancelToken::new()).map(result);
            let said = format!("{outcome:?}");
            assert!(said.contains("Encode") && said.contains("RLIMIT_FSIZE"), "{said}");
        }
    }
    // That failure is not remembered.
    setrlimit(
        Resource::Fsize,
        getrlimit(Resource::Fsize).maximum.map_or(Rlimit { current: None, maximum: None }, |most| Rlimit {
            current: Some(most),
            maximum: Some(most),
        }),
    )
    .unwrap();
    for transport in [Transport::SharedMemory, Transport::Socket] {
        let pool = ProcessPoolExecutor::builder().transport(transport).max_workers(1).build().unwrap();
        let token = CancelToken::new();
        token.cancel();
        let options = TaskOptions::new().timeout(Duration::from_secs(60));
        assert_eq!(result(pool.submit_with(is_cancelled, token, options).unwrap()), Ok(true));
        let echoed = result(pool.submit(echo, bytes.clone()).unwrap()).unwrap();
        assert_ne!(file_of(&echoed), 0, "they travel by reference now");
    }
}
