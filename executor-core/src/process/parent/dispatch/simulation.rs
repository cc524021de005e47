//! All parties of a pool in every order: the thread that submits, the thread that receives replies, the workers, and the
//! supervisor, which sleeps meanwhile. Each takes its steps by the functions that the pool uses, and after each step the supervisor
//! must be about to wake up in time for whatever is due. No time passes here: limits are hours, and what counts is which one comes
//! first.

use std::{
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
    time::Duration,
};

mod pretended_worker;

use pretended_worker::{End, Immortal, Side};

use super::*;
use crate::process::parent::ledger::ToWake;
use crate::{
    error::WorkerExit,
    future::{TaskFuture, TaskRef, TypedRef},
    portable::{
        answer::{Answer, Chunk, Single},
        arguments::Items,
        job::{Encoded, Job, Owner},
    },
    process::{
        config::{Config, OnWorkerDeath, StartMethod, Transport},
        parent::pool::PoolShared,
        transport::ControlChannel,
        wire::identity::Identity,
        worker::entry::EntryOf,
    },
    role::LaunchArguments,
    span,
    task::{Payload, Task},
};

const HOUR: Duration = Duration::from_secs(3600);

/// A request for a call of this function.
fn single<F, A, M>(task: &F, argument: A, bytes: &mut Vec<u8>) -> Result<Request, TaskError>
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload,
{
    Request::single::<F, A, M>(EntryOf::<F, A, M>::ENTRY, task, argument, bytes)
}

/// A request for a call with each of these items.
fn chunk<F, A, M>(task: &F, items: Vec<A>, bytes: &mut Vec<u8>) -> Result<Request, TaskError>
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload,
{
    Request::chunk::<F, A, M>(EntryOf::<F, A, M>::ENTRY, task, items, bytes)
}

/// Numbers that are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn config(random: &mut Random) -> Config {
    Config {
        max_workers: 3,
        start_method: StartMethod::Spawn,
        preload: None,
        initializer: None,
        memory_limit: None,
        recycle_above: None,
        transport: Transport::default(),
        on_worker_death: OnWorkerDeath::FailTask,
        max_tasks_per_child: None,
        retries: 0,
        idle_timeout: (random.below(2) == 0).then_some(40 * HOUR),
        queue_capacity: usize::MAX,
        task_timeout: None,
        grace: HOUR,
        startup_timeout: HOUR,
        environment: Vec::new(),
        directory: None,
        kill_process_group: true,
        observer: None,
        launch_arguments: LaunchArguments { arguments: Vec::new(), null_stdout: true },
    }
}

struct World {
    random: Random,
    core: Arc<PoolShared>,
    sides: Vec<Arc<Mutex<Side>>>,
    futures: Vec<(TypedRef<ProcessTask>, TaskFuture<u8>)>,
    /// The supervisor was woken.
    is_rung: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let (doorbell, _doorbell_rx) = UnixStream::pair().unwrap();
        let core = Arc::new(PoolShared::new(config(&mut random), Identity::of_this_program().unwrap(), doorbell));
        let mut world = Self { random, core, sides: Vec::new(), futures: Vec::new(), is_rung: false };
        for _ in 0..1 + world.random.below(3) {
            world.add_worker();
        }
        world
    }

    fn add_worker(&mut self) {
        let (control, other) = ControlChannel::pair().unwrap();
        // No peer is there that could close the other end.
        std::mem::forget(other);
        let socket = control.fd().try_clone_to_owned().unwrap();
        let side = Arc::default();
        self.sides.push(Arc::clone(&side));
        let mut worker = WorkerHandle::new(
            Box::new(Immortal),
            Box::new(End { side, control, next_number: 0 }),
            socket,
            None,
            None,
            #[cfg(target_os = "linux")]
            crate::process::parent::workers::leases::Leases::nothing(),
        );
        worker.note_ready();
        let mut state = self.core.lock();
        state.workers.add(worker);
        state.workers.open_held();
        // The supervisor alone does this, and looks at everything afterwards.
        let deadline = state.next_deadline();
        state.sleep.fall_asleep(deadline);
    }

    fn submit(&mut self) {
        fn task(x: u8) -> u8 {
            x
        }
        let mut bytes = Vec::new();
        let mut request = single(&task, 0_u8, &mut bytes).unwrap();
        if self.random.below(2) == 0 {
            request.extras().time_limit = Some(HOUR * (1 + self.random.below(20) as u32));
        }
        let content = ProcessTask::new(Owner::new(Arc::clone(&self.core) as _), span::current());
        let (task, future) = TaskRef::allocate::<Encoded<Single<u8>>>(content);
        let job = Job::new(task);
        let mut state = self.core.lock();
        if self.random.below(4) == 0 {
            state.expire_after(HOUR * (1 + self.random.below(20) as u32), &job, &mut request);
        }
        let pointer = job.pointer();
        state.admit(job, request, &mut bytes);
        drop(state);
        self.futures.push((pointer, future));
    }

    /// The supervisor's work in one turn, except starting and reaping workers.
    fn supervise(&mut self) {
        self.is_rung = false;
        let mut state = self.core.lock();
        state.sleep.wake_up();
        state.receive_all();
        state.watches.behind &= state.steal_from_stuck();
        state.keep_claims(Instant::now(), HOUR);
        state.refill();
        let deadline = state.next_deadline();
        state.sleep.fall_asleep(deadline);
    }

    fn step(&mut self) {
        let some = self.random.below(1000) as usize;
        match self.random.below(12) {
            0..4 => self.submit(),
            4..7 => self.sides[some % self.sides.len()].lock().unwrap().step(),
            7 => {
                // A thread that waits for a result, and takes those of the others.
                let mut state = self.core.lock();
                state.receive_all();
                state.refill();
            }
            8 => {
                // One worker's answers, as when its time is over, or when it is chosen.
                let mut state = self.core.lock();
                state.receive((some % self.sides.len()) as u32);
            }
            9 if !self.futures.is_empty() => {
                let (job, _future) = self.futures.swap_remove(some % self.futures.len());
                self.core.lock().cancel(&job);
            }
            10 if self.sides.len() < 3 => self.add_worker(),
            10 if some.is_multiple_of(4) => {
                let number = (some % self.sides.len()) as u32;
                self.core.lock().stop(number, None, &TaskError::Cancelled, self.core.config.grace);
            }
            _ => self.supervise(),
        }
    }

    /// Checks the invariants that hold whenever the lock is released.
    fn check(&mut self) {
        let mut state = self.core.lock();
        self.is_rung |= state.sleep.take_call();
        assert!(state.is_consistent());
        let due = state.next_deadline();
        assert!(state.sleep.covers(due), "the supervisor was not told of what is due at {due:?}: {:?}", state.sleep);
        assert!(self.is_rung || !state.sleep.is_awake(), "it was called, and no thread wakes it");
        let to_wake = state.take_to_wake();
        drop(state);
        to_wake.into_iter().for_each(ToWake::wake);
        self.futures.retain(|(_, future)| !future.done());
    }
}

/// A pool that replaces its workers all the time comes to the last of the numbers some day.
#[test]
fn the_numbers_of_workers_begin_again() {
    let mut world = World::new(1);
    world.core.lock().workers.leave_only(0);
    world.core.lock().workers.number_from(Location::WORKERS - 1);
    (0..2).for_each(|_| world.add_worker());
    let state = world.core.lock();
    assert_eq!(state.workers.numbers(|_| true), [0, 1, Location::WORKERS - 1]);
}

/// A worker answers items of a chunk in parts, and dies before it has said that this is all, or says that it has begun none.
#[test]
fn items_of_a_chunk_that_have_an_answer_are_neither_lost_nor_run_again() {
    fn task(x: u8) -> u8 {
        x
    }
    let results = |items: std::ops::Range<u8>| items.flat_map(|x| [1, x]).collect::<Vec<u8>>();
    let dies = |sent: u8, open: u8, retries: u32, is_claimed: bool| {
        let world = World::new(1);
        world.core.lock().workers.leave_only(0);
        let mut bytes = Vec::new();
        let mut request = chunk(&task, vec![0_u8, 1, 2], &mut bytes).unwrap();
        request.extras().retries = retries;
        let content = ProcessTask::new(Owner::new(Arc::clone(&world.core) as _), span::current());
        let (task, future) = TaskRef::allocate::<Encoded<Chunk<u8>>>(content);
        world.core.lock().admit(Job::new(task), request, &mut bytes);
        let mut side = world.sides[0].lock().unwrap();
        if is_claimed {
            side.step();
        }
        if sent > 0 {
            side.parts.push_back((0, sent.into(), results(0..sent)));
        }
        side.open = (open > 0).then(|| (open.into(), results(sent..sent + open)));
        drop(side);
        let mut state = world.core.lock();
        state.receive_all();
        let died = TaskError::WorkerDied { pid: 1, exit: WorkerExit::Signal(9) };
        state.recover(0, &died, false);
        drop(state.workers.take_all());
        // What is run once more.
        let left = state.queue.pop().map(|queued| {
            let items = Items(queued.bytes.as_slice()).map(<[u8]>::to_vec).collect::<Vec<_>>();
            assert_eq!(items.len(), queued.request.items() as usize);
            state.ledger.end_chunk(queued.job, queued.request);
            items
        });
        let to_wake = state.take_to_wake();
        drop(state);
        to_wake.into_iter().for_each(ToWake::wake);
        let output = future.result().unwrap();
        (output.values, output.errors.into_iter().map(|(index, _)| index).collect::<Vec<_>>(), left)
    };
    for (sent, open) in [(3, 0), (2, 1), (0, 3)] {
        for (retries, is_claimed) in [(0, true), (1, true), (0, false), (1, false)] {
            assert_eq!(dies(sent, open, retries, is_claimed), (vec![0, 1, 2], vec![], None));
        }
    }
    for (sent, open) in [(2, 0), (1, 1), (0, 2)] {
        for (retries, is_claimed) in [(1, true), (0, false), (1, false)] {
            let (values, _, left) = dies(sent, open, retries, is_claimed);
            assert_eq!((values, left), (vec![0, 1], Some(vec![vec![2]])));
        }
        assert_eq!(dies(sent, open, 0, true), (vec![0, 1], vec![2], None));
    }
}

/// What is done under the lock with a long argument takes as long as with a short one only if it is not copied: the worker is sent
/// what was encoded, or the argument itself; and that is what another one is sent when the first one has died.
#[test]
fn a_long_argument_is_owned_once_by_all_that_need_it() {
    fn length<T: AsRef<[u8]>>(argument: T) -> usize {
        argument.as_ref().len()
    }
    /// More than there may be of shared memory for arguments.
    const LARGE: usize = 40 << 20;
    let text = || {
        let mut bytes = Vec::new();
        let request = single(&length::<String>, "x".repeat(LONGEST_COPY), &mut bytes).unwrap();
        let at = bytes.as_ptr();
        (request, bytes, at)
    };
    let vector = || {
        let (mut bytes, argument) = (Vec::new(), vec![0_u8; LARGE]);
        let at = argument.as_ptr();
        (single(&length::<Vec<u8>>, argument, &mut bytes).unwrap(), bytes, at)
    };
    #[cfg(feature = "bytes")]
    let owned_by_user = || {
        let (mut bytes, argument) = (Vec::new(), bytes::Bytes::from(vec![0_u8; LARGE]));
        let at = argument.as_ptr();
        (single(&(|bytes: bytes::Bytes| bytes.len()), argument, &mut bytes).unwrap(), bytes, at)
    };
    let asks = [
        text(),
        vector(),
        #[cfg(feature = "bytes")]
        owned_by_user(),
    ];
    for (request, mut bytes, at) in asks {
        let mut world = World::new(1);
        world.core.lock().workers.leave_only(0);
        let content = ProcessTask::new(Owner::new(Arc::clone(&world.core) as _), span::current());
        let (task, _future) = TaskRef::allocate::<Encoded<Single<usize>>>(content);
        world.core.lock().admit(Job::new(task), request, &mut bytes);
        let died = TaskError::WorkerDied { pid: 1, exit: WorkerExit::Code(1) };
        world.core.lock().recover(0, &died, false);
        assert_eq!(world.core.lock().queue.len(), 1);
        drop(world.core.lock().workers.take_all());
        world.add_worker();
        {
            let mut state = world.core.lock();
            state.refill();
            assert_eq!(state.queue.len(), 0);
        }
        let sent = |side: &Arc<Mutex<Side>>| match &side.lock().unwrap().long[..] {
            [long] => long.as_slice().as_ptr(),
            others => panic!("one content is sent: {}", others.len()),
        };
        assert_eq!(sent(&world.sides[0]), at);
        assert_eq!(sent(world.sides.last().unwrap()), at);
        let mut state = world.core.lock();
        let died = TaskError::WorkerDied { pid: 1, exit: WorkerExit::Code(1) };
        let number = state.workers.numbers(|_| true)[0];
        state.recover(number, &died, false);
        state.fail_queue(&TaskError::Cancelled);
        drop(state.workers.take_all());
        let to_wake = state.take_to_wake();
        drop(state);
        to_wake.into_iter().for_each(ToWake::wake);
    }
}

/// The thread that waits for a task may have decoded its result, and gone, before the supervisor drops the task.
#[test]
fn the_supervisor_drops_nothing_of_the_users() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Value;
    static DROPPED_BY: Mutex<Option<std::thread::ThreadId>> = Mutex::new(None);
    static IS_DROPPED: std::sync::Condvar = std::sync::Condvar::new();
    impl Drop for Value {
        fn drop(&mut self) {
            *DROPPED_BY.lock().unwrap() = Some(std::thread::current().id());
            IS_DROPPED.notify_all();
        }
    }
    fn make((): ()) -> Value {
        Value
    }
    let world = World::new(1);
    let request = single(&make, (), &mut Vec::new()).unwrap();
    let content = ProcessTask::new(Owner::new(Arc::clone(&world.core) as _), span::current());
    let (task, future) = TaskRef::allocate::<Encoded<Single<Value>>>(content);
    future.add_done_callback(|_| ());
    let mut state = world.core.lock();
    state.ledger.end(Job::new(task), request, Ok(Answer::Single(Vec::new().into())));
    let to_wake = state.take_to_wake();
    drop(state);
    // The search for the first error has to decode what is no error.
    let (promise, other) = crate::Promise::<Value>::new();
    let waited = crate::wait([future, other], Some(Duration::ZERO), crate::ReturnWhen::FirstError);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
    drop((waited, promise));
    assert!(DROPPED_BY.lock().unwrap().is_none(), "the pool holds on to it");
    to_wake.into_iter().for_each(ToWake::wake_elsewhere);
    let (limit, is_held) = (Duration::from_secs(60), |by: &mut Option<_>| by.is_none());
    let (dropped_by, _) = IS_DROPPED.wait_timeout_while(DROPPED_BY.lock().unwrap(), limit, is_held).unwrap();
    assert!(dropped_by.is_some_and(|by| by != std::thread::current().id()), "{dropped_by:?}");
}

#[test]
fn the_supervisor_wakes_in_time_in_every_order_of_the_parties() {
    for seed in 0..2000 {
        let mut world = World::new(seed);
        world.supervise();
        for _ in 0..60 {
            world.step();
            world.check();
        }
        // Every task keeps the pool alive, and the pool keeps the tasks that it has.
        let mut state = world.core.lock();
        state.fail_queue(&TaskError::Cancelled);
        state.ledger.forget_lost();
        let workers = state.workers.take_all();
        let to_wake = state.take_to_wake();
        drop(state);
        drop(workers);
        to_wake.into_iter().for_each(ToWake::wake);
    }
}
