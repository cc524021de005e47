//! Peers that are Rust crates.

use std::{hint::black_box, thread};

use super::Peer;
use crate::contender::{Contender, ContenderVisit};

type Job = Box<dyn FnOnce() + Send>;

pub(super) fn with_peer<V: ContenderVisit>(peer: Peer, workers: usize, visit: V) -> Result<V::Output, String> {
    match peer {
        Peer::Crossbeam => {
            let (sender, receiver) = crossbeam_channel::unbounded::<Job>();
            Ok(thread::scope(|scope| {
                for _ in 0..workers {
                    let receiver = receiver.clone();
                    scope.spawn(move || receiver.into_iter().for_each(|job| job()));
                }
                let output = visit.visit(&WithOneshot(|job| drop(sender.send(job))));
                // The workers end with the channel.
                drop(sender);
                output
            }))
        }
        Peer::Threadpool => {
            let pool = threadpool::ThreadPool::new(workers);
            let output = visit.visit(&WithOneshot(|job: Job| pool.execute(job)));
            pool.join();
            Ok(output)
        }
        Peer::RayonSpawn => {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(workers).build().map_err(|error| error.to_string())?;
            Ok(visit.visit(&WithOneshot(|job: Job| pool.spawn(job))))
        }
        Peer::TokioBlocking => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .max_blocking_threads(workers)
                .build()
                .map_err(|error| error.to_string())?;
            Ok(visit.visit(&Tokio(runtime)))
        }
        Peer::ThreadSpawn => Ok(visit.visit(&Threads)),
        Peer::Procspawn => {
            let pool = procspawn::Pool::new(workers).map_err(|error| error.to_string())?;
            Ok(visit.visit(&Procspawn(pool)))
        }
        Peer::Python(_) => Err("is measured by a script of its own".to_owned()),
    }
}

/// A pool that takes closures, with a oneshot channel per task for the result.
struct WithOneshot<F>(F);

impl<F: Fn(Job) + Sync> Contender for WithOneshot<F> {
    type Ticket = oneshot::Receiver<u64>;

    fn submit(&self, number: u64) -> Option<Self::Ticket> {
        let (sender, receiver) = oneshot::channel();
        // The receiver lives until the answer has arrived.
        (self.0)(Box::new(move || drop(sender.send(black_box(number)))));
        Some(receiver)
    }

    fn submit_bytes(&self, bytes: Vec<u8>) -> Option<Self::Ticket> {
        let (sender, receiver) = oneshot::channel();
        (self.0)(Box::new(move || drop(sender.send(black_box(bytes).len() as u64))));
        Some(receiver)
    }

    fn wait(&self, ticket: Self::Ticket) -> Option<u64> {
        ticket.recv().ok()
    }
}

struct Tokio(tokio::runtime::Runtime);

impl Contender for Tokio {
    type Ticket = tokio::task::JoinHandle<u64>;

    fn submit(&self, number: u64) -> Option<Self::Ticket> {
        Some(self.0.spawn_blocking(move || black_box(number)))
    }

    fn submit_bytes(&self, bytes: Vec<u8>) -> Option<Self::Ticket> {
        Some(self.0.spawn_blocking(move || black_box(bytes).len() as u64))
    }

    fn wait(&self, ticket: Self::Ticket) -> Option<u64> {
        self.0.block_on(ticket).ok()
    }

    fn wait_all(&self, tickets: Vec<Self::Ticket>) -> u64 {
        // Results are collected as tokio's users do: inside the runtime, which is entered once.
        self.0.block_on(async {
            let mut sum = 0;
            for ticket in tickets {
                sum += ticket.await.unwrap_or(0);
            }
            sum
        })
    }
}

struct Threads;

impl Contender for Threads {
    type Ticket = thread::JoinHandle<u64>;

    fn submit(&self, number: u64) -> Option<Self::Ticket> {
        thread::Builder::new().spawn(move || black_box(number)).ok()
    }

    fn submit_bytes(&self, bytes: Vec<u8>) -> Option<Self::Ticket> {
        thread::Builder::new().spawn(move || black_box(bytes).len() as u64).ok()
    }

    fn wait(&self, ticket: Self::Ticket) -> Option<u64> {
        ticket.join().ok()
    }

    fn in_flight(&self) -> u32 {
        100
    }
}

struct Procspawn(procspawn::Pool);

impl Contender for Procspawn {
    type Ticket = procspawn::JoinHandle<u64>;

    fn submit(&self, number: u64) -> Option<Self::Ticket> {
        let pool = &self.0;
        Some(procspawn::spawn!(in pool, (number => number) || -> u64 { number }))
    }

    fn submit_bytes(&self, _: Vec<u8>) -> Option<Self::Ticket> {
        // 1 MiB arguments may not come back.
        None
    }

    fn wait(&self, ticket: Self::Ticket) -> Option<u64> {
        ticket.join().ok()
    }

    fn in_flight(&self) -> u32 {
        // Each queued task holds file descriptors. Tasks are joined in the order of submission, since procspawn can hang in
        // any other.
        100
    }
}
