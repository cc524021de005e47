//! The features of a thread pool beyond the portable API: scopes, priorities, queue times, batches, another size.

mod maps;
mod queue;
mod scopes;
mod workers;

use std::{
    sync::{Arc, Barrier, mpsc},
    time::Duration,
};

use executor_core::{TaskFuture, ThreadPoolExecutor};

const LONG: Duration = Duration::from_secs(60);

/// Keeps the only worker busy until it is released.
fn hold(pool: &ThreadPoolExecutor) -> (Arc<Barrier>, TaskFuture<()>) {
    let gate = Arc::new(Barrier::new(2));
    let (started, has_started) = mpsc::channel();
    let held = Arc::clone(&gate);
    let future = pool
        .spawn(move || {
            started.send(()).unwrap();
            held.wait();
        })
        .unwrap();
    has_started.recv_timeout(LONG).unwrap();
    (gate, future)
}
