//! Needs callbacks that go on while two of them are slow; the lock around `beyond::slow_callback` is not needed then.

use std::sync::mpsc;

use executor_core::Executor;

use crate::{
    kinds::{Kind, LONG},
    tasks::square,
};

pub(crate) fn several_slow_callbacks(kind: impl Kind) {
    let pool = kind.pool(1);
    let held: Vec<_> = (0..4)
        .map(|_| {
            let (entered, has_entered) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            pool.submit(square, 2).unwrap().add_done_callback(move |_| {
                entered.send(()).unwrap();
                // Ends when the test lets go of the sender.
                let _ = released.recv();
            });
            has_entered.recv_timeout(LONG).unwrap();
            release
        })
        .collect();
    let (called, is_called) = mpsc::channel();
    pool.submit(square, 3).unwrap().add_done_callback(move |_| called.send(()).unwrap());
    is_called.recv_timeout(LONG).unwrap();
    drop(held);
}
