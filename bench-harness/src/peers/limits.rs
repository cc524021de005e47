//! Bare primitives: what the machine allows.

use std::{
    hint::{black_box, spin_loop},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use reports::model::OverheadGroup;

use crate::experiments::overhead::{Effort, Figures, MIB, Subject, rate, round_trips};

pub(crate) fn limits() -> Vec<Subject> {
    vec![
        Subject {
            name: "spinning ping-pong".to_owned(),
            group: OverheadGroup::Limit,
            note: "two threads, one cache line each way, nobody sleeps".to_owned(),
            measure: Box::new(|effort| Ok(ping_pong(effort))),
        },
        Subject {
            name: "memcpy of 1 MiB".to_owned(),
            group: OverheadGroup::Limit,
            note: String::new(),
            measure: Box::new(|effort| Ok(copy(effort))),
        },
    ]
}

#[repr(align(128))]
struct Line(AtomicU64);

fn ping_pong(effort: Effort) -> Figures {
    let (there, back) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
    let mut figures = Figures::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = 0;
            while seen != u64::MAX {
                // ORDERING: Acquire and Release as a message would need; nothing but the number is passed.
                let now = there.0.load(Ordering::Acquire);
                if now == seen {
                    spin_loop();
                } else {
                    seen = now;
                    back.0.store(now, Ordering::Release);
                }
            }
        });
        let mut number = 0;
        round_trips(&mut figures, effort.round_trips, || {
            number += 1;
            there.0.store(number, Ordering::Release);
            while back.0.load(Ordering::Acquire) != number {
                spin_loop();
            }
        });
        there.0.store(u64::MAX, Ordering::Release);
    });
    figures
}

fn copy(effort: Effort) -> Figures {
    let source = vec![7_u8; MIB];
    let mut target = vec![0_u8; MIB];
    let rounds = effort.payloads * 10;
    let speed = rate(f64::from(rounds), || {
        for _ in 0..rounds {
            target.copy_from_slice(black_box(&source));
            black_box(&mut target);
        }
    });
    Figures { payload_mib_per_second: Some(speed), ..Figures::default() }
}
