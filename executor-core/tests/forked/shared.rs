//! Tokens and shared bytes, in the program and in its copies.

use std::{
    io::{Read, Write},
    time::Duration,
};

use executor_core::{CancelToken, Executor, SharedBytes, partial};
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    end, end_of, fork, fork_and_return,
    pool_kinds::{Kind, on_every_kind_of_pool},
};

on_every_kind_of_pool!(
    a_token_that_a_copy_cancels_is_cancelled_there,
    shared_bytes_never_change,
    a_copy_does_not_wait_for_bytes_that_the_program_was_sharing,
    the_tree_of_a_token_is_the_same_in_copies,
    a_configuration_that_the_program_has_sent_is_the_same_in_a_copy,
);

fn wait_for(token: CancelToken) {
    while !token.is_cancelled() {
        std::thread::yield_now();
    }
}

fn a_token_that_a_copy_cancels_is_cancelled_there(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let token = CancelToken::new();
    let task = pool.submit(wait_for, token.clone()).unwrap();
    while !task.running() {
        std::thread::yield_now();
    }
    let copy = fork();
    if copy == 0 {
        token.cancel();
        let own = kind.builder().max_workers(1).build().unwrap();
        // It is sent to the copy's own worker, which sees that it is cancelled.
        let told = own.submit(wait_for, token).unwrap().result() == Ok(());
        drop(own);
        end(&[told]);
    }
    assert_eq!(end_of(copy), Ok(0));
    assert!(!task.wait_timeout(Duration::from_millis(300)), "the program has not cancelled it");
    token.cancel();
    assert_eq!(task.result(), Ok(()));
}

fn sum(bytes: SharedBytes) -> u64 {
    bytes.iter().copied().map(u64::from).sum()
}

fn shared(byte: u8) -> SharedBytes {
    SharedBytes::with_len(1 << 20, |bytes| bytes.fill(byte))
}

fn fork_with(bytes: SharedBytes) -> u64 {
    fork_and_return(false);
    sum(bytes)
}

fn shared_bytes_never_change(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let is_all = |bytes: &SharedBytes, byte: u8| bytes.iter().all(|other| *other == byte);
    let bytes = shared(7);
    assert_eq!(pool.submit(sum, bytes.clone()).unwrap().result(), Ok(7 << 20));
    let (mut heard, mut told) = std::os::unix::net::UnixStream::pair().unwrap();
    let copy = fork();
    if copy == 0 {
        let kept = bytes.clone();
        drop(bytes);
        let others: Vec<_> = (20..30).map(shared).collect();
        // Until the program has dropped its own and used the memory again, if it did.
        let mut byte = [0];
        let read = heard.read_exact(&mut byte).is_ok();
        let own = kind.builder().max_workers(1).build().unwrap();
        let sent = own.submit(sum, kept.clone()).unwrap().result() == Ok(7 << 20);
        drop(own);
        end(&[read, is_all(&kept, 7), sent, others.iter().zip(20..).all(|(bytes, byte)| is_all(bytes, byte))]);
    }
    drop(bytes);
    let others: Vec<_> = (9..14).map(shared).collect();
    for (bytes, byte) in others.iter().zip(9..) {
        assert_eq!(pool.submit(fork_with, bytes.clone()).unwrap().result(), Ok(byte << 20));
    }
    told.write_all(&[1]).unwrap();
    assert_eq!(end_of(copy), Ok(0));
    assert!(others.iter().zip(9..).all(|(bytes, byte)| is_all(bytes, byte)));
}

/// Says when it is about to be encoded.
struct Announced(std::sync::mpsc::Sender<()>, SharedBytes);

impl Serialize for Announced {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.send(()).unwrap();
        self.1.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Announced {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(std::sync::mpsc::channel().0, SharedBytes::deserialize(deserializer)?))
    }
}

fn length_of(announced: Announced) -> usize {
    announced.1.len()
}

/// The program may fork while other threads add to the tree of a token, and cancel in it.
#[test]
fn no_token_is_waited_for_in_a_copy() {
    let token = CancelToken::new();
    let below = token.child().child();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    token.child().cancel();
                }
            });
        }
        for _ in 0..300 {
            let copy = fork();
            if copy == 0 {
                let later = below.child();
                let before = [token.is_cancelled(), below.is_cancelled(), later.is_cancelled()] == [false; 3];
                token.cancel();
                let after = [&token, &below, &later, &below.child()].map(CancelToken::is_cancelled) == [true; 4];
                end(&[before, after]);
            }
            let outcome = end_of(copy);
            over.store(outcome != Ok(0), std::sync::atomic::Ordering::Relaxed);
            assert_eq!(outcome, Ok(0));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(!token.is_cancelled() && !below.is_cancelled());
}

/// Tokens of the program, in a copy and in a copy of that: the tree is what it was, and so for their workers.
fn the_tree_of_a_token_is_the_same_in_copies(kind: Kind) {
    let root = CancelToken::new();
    let middle = root.child();
    let leaf = middle.child();
    let other = root.child();
    let copy = fork();
    if copy == 0 {
        let inner = fork();
        if inner == 0 {
            let own = kind.builder().max_workers(1).build().unwrap();
            let task = own.submit(wait_for, leaf.clone()).unwrap();
            let new = leaf.child();
            let none = [&root, &middle, &leaf, &other, &new].map(CancelToken::is_cancelled) == [false; 5];
            root.cancel();
            let told = task.result() == Ok(());
            drop(own);
            end(&[none, told, [&root, &middle, &leaf, &other, &new].map(CancelToken::is_cancelled) == [true; 5]]);
        }
        let inner = end_of(inner) == Ok(0);
        let own = kind.builder().max_workers(1).build().unwrap();
        let task = own.submit(wait_for, leaf.clone()).unwrap();
        middle.cancel();
        let told = task.result() == Ok(());
        drop(own);
        let cancelled = [&root, &middle, &leaf, &other].map(CancelToken::is_cancelled);
        end(&[inner, told, cancelled == [false, true, true, false]]);
    }
    assert_eq!(end_of(copy), Ok(0));
    assert_eq!([&root, &middle, &leaf, &other].map(CancelToken::is_cancelled), [false; 4]);
}

/// Bytes of a vector are copied to where workers see them when they are first sent, which takes a while.
fn a_copy_does_not_wait_for_bytes_that_the_program_was_sharing(kind: Kind) {
    const LENGTH: usize = 64 << 20;
    let pool = kind.builder().max_workers(1).build().unwrap();
    pool.warm_up().unwrap();
    let bytes = SharedBytes::from(vec![1; LENGTH]);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let own = Announced(sender.clone(), bytes.clone());
        let submits = scope.spawn(|| pool.submit(length_of, own).unwrap().result());
        receiver.recv().unwrap();
        // One of these is in the middle of it.
        let copies = [0; 2].map(|_| {
            let copy = fork();
            if copy == 0 {
                let own = kind.builder().max_workers(1).build().unwrap();
                // The program's channel may have been locked by the other thread in the moment of the fork.
                let (announces, _announced) = std::sync::mpsc::channel();
                let sent = own.submit(length_of, Announced(announces, bytes.clone())).unwrap().result();
                drop(own);
                end(&[sent == Ok(LENGTH)]);
            }
            copy
        });
        assert_eq!(copies.map(end_of), [Ok(0); 2]);
        assert_eq!(submits.join().unwrap(), Ok(LENGTH));
    });
}

fn sum_of((): (), bytes: &SharedBytes) -> u64 {
    sum(bytes.clone())
}

fn wait_for_the((): (), token: &CancelToken) {
    wait_for(token.clone());
}

/// Its encoded form refers to memory and to flags of the program, which the copy's own workers do not have.
fn a_configuration_that_the_program_has_sent_is_the_same_in_a_copy(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let token = CancelToken::new();
    let (sums, waits) = (partial(sum_of, shared(7)), partial(wait_for_the, token.clone()));
    assert_eq!(pool.submit(sums.clone(), ()).unwrap().result(), Ok(7 << 20));
    let task = pool.submit(waits.clone(), ()).unwrap();
    while !task.running() {
        std::thread::yield_now();
    }
    let copy = fork();
    if copy == 0 {
        let own = kind.builder().max_workers(1).build().unwrap();
        let others: Vec<_> = (20..30).map(shared).collect();
        let sum_up =
            |(bytes, byte): (&SharedBytes, u64)| own.submit(sum, bytes.clone()).unwrap().result() == Ok(byte << 20);
        let are_sums = others.iter().zip(20..).all(sum_up);
        let is_sum = |_| own.submit(sums.clone(), ()).unwrap().result() == Ok(7 << 20);
        let is_same = (0..3).all(is_sum);
        let task = own.submit(waits, ()).unwrap();
        token.cancel();
        let told = matches!(task.result_timeout(Duration::from_secs(20)), Ok(Ok(())));
        own.kill_workers();
        end(&[are_sums, is_same, told]);
    }
    let said = end_of(copy);
    let is_cancelled_here = token.is_cancelled() || task.wait_timeout(Duration::ZERO);
    token.cancel();
    assert_eq!((said, is_cancelled_here, task.result()), (Ok(0), false, Ok(())));
    assert_eq!(pool.submit(sums, ()).unwrap().result(), Ok(7 << 20));
}
