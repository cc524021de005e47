//! Every interleaving of the functions of the protocol, by loom. What the parent waits for is a socket, and is a flag with a
//! condition variable here; so is the futex.

use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, AtomicU64, fence},
    },
    thread,
};

use super::*;

/// loom takes `SeqCst` for less than it is, except in fences; so there is one on either side of an access that writes. One that
/// reads needs none then, and has none, for it would order what was written before it, whatever that was.
fn strongly<R>(ordering: Ordering, access: impl FnOnce() -> R) -> R {
    if ordering == Ordering::SeqCst {
        fence(Ordering::SeqCst);
    }
    let result = access();
    if ordering == Ordering::SeqCst {
        fence(Ordering::SeqCst);
    }
    result
}

fn weaker(ordering: Ordering) -> Ordering {
    if ordering == Ordering::SeqCst { Ordering::Acquire } else { ordering }
}

#[derive(Default)]
struct ModelWord {
    value: AtomicU32,
    sleepers: Mutex<()>,
    changed: Condvar,
}

impl Word for ModelWord {
    fn load(&self, ordering: Ordering) -> u32 {
        self.value.load(weaker(ordering))
    }

    fn store(&self, value: u32, ordering: Ordering) {
        strongly(ordering, || self.value.store(value, ordering));
    }

    fn sleep_while(&self, value: u32) {
        // The kernel compares under the lock of its queue.
        let sleepers = self.sleepers.lock().unwrap();
        if self.value.load(Ordering::Acquire) == value {
            drop(self.changed.wait(sleepers).unwrap());
        }
    }

    fn wake(&self) {
        let _sleepers = self.sleepers.lock().unwrap();
        self.changed.notify_all();
    }

    fn fence() {
        fence(Ordering::SeqCst);
    }
}

impl Long for AtomicU64 {
    fn load(&self, ordering: Ordering) -> u64 {
        Self::load(self, weaker(ordering))
    }

    fn store(&self, value: u64, ordering: Ordering) {
        strongly(ordering, || Self::store(self, value, ordering));
    }

    fn swap(&self, value: u64, ordering: Ordering) -> u64 {
        strongly(ordering, || Self::swap(self, value, ordering))
    }

    fn compare_exchange(&self, old: u64, new: u64, ordering: Ordering) -> Result<u64, u64> {
        Self::compare_exchange(self, old, new, ordering, Ordering::Relaxed)
    }
}

/// Where the worker sends kicks: bytes in a socket.
#[derive(Default)]
struct Socket {
    bytes: Mutex<bool>,
    arrived: Condvar,
}

impl Socket {
    fn kick(&self) {
        *self.bytes.lock().unwrap() = true;
        self.arrived.notify_all();
    }

    /// Takes what is there.
    fn read(&self) {
        *self.bytes.lock().unwrap() = false;
    }

    fn wait(&self) {
        let mut bytes = self.bytes.lock().unwrap();
        while !*bytes {
            bytes = self.arrived.wait(bytes).unwrap();
        }
        *bytes = false;
    }
}

#[derive(Default)]
struct Memory {
    published: ModelWord,
    sleeps_at: ModelWord,
    notify_policy: ModelWord,
    drained: ModelWord,
    consumed: AtomicU64,
    produced: AtomicU64,
    passed: ModelWord,
    socket: Socket,
}

fn check(model: impl Fn(Arc<Memory>) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || model(Arc::default()));
}

/// A lost wake-up is a deadlock, which loom finds.
#[test]
fn a_worker_that_falls_asleep_gets_every_request() {
    check(|memory| {
        let content = Arc::new(AtomicU64::new(0));
        let (worker, there) = (Arc::clone(&memory), Arc::clone(&content));
        let worker = thread::spawn(move || {
            for passed in 0..3 {
                if worker.published.load(Ordering::Acquire) == passed {
                    sleep_until_changed(&worker.published, passed, &worker.sleeps_at, || ());
                }
                assert!(there.load(Ordering::Relaxed) > u64::from(passed), "the record is complete");
            }
        });
        for record in 1..=3 {
            content.store(record.into(), Ordering::Relaxed);
            change_and_wake(&memory.published, [record - 1, record], &memory.sleeps_at);
        }
        worker.join().unwrap();
    });
}

/// Both words have the same values, and the worker says at which value of either it sleeps in one place.
#[test]
fn a_worker_that_sleeps_on_one_word_is_woken_for_it_although_the_other_one_changes() {
    check(|memory| {
        let worker = Arc::clone(&memory);
        let worker = thread::spawn(move || {
            sleep_until_changed(&worker.drained, 0, &worker.sleeps_at, || ());
            sleep_until_changed(&worker.published, 0, &worker.sleeps_at, || ());
            sleep_until_changed(&worker.drained, 1, &worker.sleeps_at, || ());
        });
        change_and_wake(&memory.published, [0, 1], &memory.sleeps_at);
        change_and_wake(&memory.drained, [0, 1], &memory.sleeps_at);
        change_and_wake(&memory.drained, [1, 2], &memory.sleeps_at);
        worker.join().unwrap();
    });
}

#[test]
fn a_request_is_claimed_or_revoked_and_never_both() {
    // The value that the word has from an earlier lap makes no difference.
    for before in [0, claimed(5), revoked(5)] {
        check(move |_| {
            let word = Arc::new(AtomicU64::new(before));
            let other = Arc::clone(&word);
            let worker = thread::spawn(move || claim(&*other, 1029));
            let revoked = revoke(&*word, 1029);
            // The parent's own view of it stays the same, whatever the worker does later.
            let seen = Long::load(&*word, Ordering::Relaxed) == claimed(1029);
            let claimed = worker.join().unwrap();
            assert!(claimed != revoked);
            assert_eq!(seen, claimed);
        });
    }
}

/// The parent raises the policy, looks, and sleeps if there is nothing.
#[test]
fn a_parent_that_wants_each_answer_is_woken_for_it() {
    check(|memory| {
        let shared = Arc::clone(&memory);
        let worker = thread::spawn(move || {
            if publish_reply(&shared.produced, 16, &shared.notify_policy) {
                shared.socket.kick();
            }
        });
        set_notify_policy(&memory.notify_policy, NotifyPolicy::Always);
        while arrived(&memory.produced) != 16 {
            memory.socket.wait();
        }
        worker.join().unwrap();
    });
}

/// For the first of two replies the parent reads the socket, and takes the kick of the second one out of it.
#[test]
fn a_parent_that_reads_a_kick_finds_its_reply() {
    check(|memory| {
        let shared = Arc::clone(&memory);
        let worker = thread::spawn(move || {
            for position in 1..=2 {
                if publish_reply(&shared.produced, position, &shared.notify_policy) {
                    shared.socket.kick();
                }
            }
        });
        set_notify_policy(&memory.notify_policy, NotifyPolicy::Always);
        let mut consumed = 0;
        loop {
            let outcome = receive(
                &mut consumed,
                |_| arrived(&memory.produced),
                |consumed, position| {
                    let reads = *consumed == 0 && position > 0;
                    if reads {
                        memory.socket.read();
                    }
                    *consumed = position;
                    Ok::<_, ()>(reads)
                },
            );
            assert_eq!(outcome, Ok(true));
            if consumed == 2 {
                break;
            }
            memory.socket.wait();
        }
        worker.join().unwrap();
    });
}

/// The memory of revoked requests is given back when the worker has passed all; a parent that needs the room wants to be told.
#[test]
fn a_parent_that_waits_for_everything_to_be_passed_is_woken_for_it() {
    check(|memory| {
        let shared = Arc::clone(&memory);
        let worker = thread::spawn(move || {
            if pass_all(&shared.passed, 7, &shared.notify_policy) {
                shared.socket.kick();
            }
        });
        set_notify_policy(&memory.notify_policy, NotifyPolicy::WhenEmpty);
        while passed(&memory.passed) != 7 {
            memory.socket.wait();
        }
        worker.join().unwrap();
    });
}

/// Without any policy, the parent is woken by a worker that has nothing more to do.
#[test]
fn a_worker_that_falls_asleep_tells_of_its_answers() {
    check(|memory| {
        let shared = Arc::clone(&memory);
        let worker = thread::spawn(move || {
            publish_reply(&shared.produced, 16, &shared.notify_policy);
            sleep_until_changed(&shared.published, 0, &shared.sleeps_at, || {
                if Long::load(&shared.consumed, Ordering::SeqCst) != 16 {
                    shared.socket.kick();
                }
            });
        });
        while arrived(&memory.produced) != 16 {
            memory.socket.wait();
        }
        give_back(&memory.consumed, 16, &memory.drained, [0, 1], &memory.sleeps_at);
        change_and_wake(&memory.published, [0, 1], &memory.sleeps_at);
        worker.join().unwrap();
    });
}

/// A ring with room for one reply, and a worker with two.
#[test]
fn a_worker_that_waits_for_room_gets_it() {
    check(|memory| {
        let shared = Arc::clone(&memory);
        let worker = thread::spawn(move || {
            for reply in 1..=2_u64 {
                loop {
                    let drained = shared.drained.load(Ordering::Acquire);
                    if reply - 1 == Long::load(&shared.consumed, Ordering::Acquire) {
                        break;
                    }
                    sleep_until_changed(&shared.drained, drained, &shared.sleeps_at, || {
                        if Long::load(&shared.consumed, Ordering::SeqCst) != reply - 1 {
                            shared.socket.kick();
                        }
                    });
                }
                publish_reply(&shared.produced, reply, &shared.notify_policy);
            }
            shared.socket.kick();
        });
        let mut consumed = 0;
        while consumed < 2 {
            let produced = arrived(&memory.produced);
            if produced == consumed {
                memory.socket.wait();
            } else {
                let counts = [consumed, produced].map(|position| position as u32);
                consumed = produced;
                give_back(&memory.consumed, consumed, &memory.drained, counts, &memory.sleeps_at);
            }
        }
        worker.join().unwrap();
    });
}
