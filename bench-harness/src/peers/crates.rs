//! The peers that are crates.

use std::{hint::black_box, thread};

use reports::model::OverheadGroup;

use crate::{
    experiments::overhead::{Effort, Figures, MIB, Subject, consume, rate, round_trips},
    runner::child,
};

type Job = Box<dyn FnOnce() + Send>;

pub(super) fn subjects(workers: usize) -> Vec<Subject> {
    let peer = |name: &str, note: &str, measure: Box<dyn Fn(Effort) -> Result<Figures, String>>| Subject {
        name: name.to_owned(),
        group: OverheadGroup::Peer,
        note: note.to_owned(),
        measure,
    };
    vec![
        peer("crossbeam-channel + oneshot", "boxed closures", Box::new(move |effort| Ok(crossbeam(workers, effort)))),
        peer(
            "threadpool + oneshot",
            "",
            Box::new(move |effort| {
                let pool = threadpool::ThreadPool::new(workers);
                let figures = with_oneshot(effort, |job| pool.execute(job));
                pool.join();
                Ok(figures)
            }),
        ),
        peer(
            "rayon spawn + oneshot",
            "",
            Box::new(move |effort| {
                let pool =
                    rayon::ThreadPoolBuilder::new().num_threads(workers).build().map_err(|error| error.to_string())?;
                Ok(with_oneshot(effort, |job| pool.spawn(job)))
            }),
        ),
        peer("tokio spawn_blocking", "", Box::new(move |effort| tokio_blocking(workers, effort))),
        peer("std thread spawn + join", "a thread per task", Box::new(|effort| Ok(threads(effort.over(50))))),
        peer(
            "procspawn 1.0",
            "1 MiB arguments are left out: they may not come back",
            Box::new(|effort| {
                // In a process of its own with a time limit, because it can hang.
                let input = serde_json::to_vec(&[effort.tasks / 20, effort.round_trips / 4])
                    .map_err(|error| error.to_string())?;
                let output = child::run_lab("procspawn", &input, std::time::Duration::from_secs(60))?;
                serde_json::from_slice(&output).map_err(|error| error.to_string())
            }),
        ),
    ]
}

/// A pool that takes closures, with a oneshot channel per task for the result.
fn with_oneshot(effort: Effort, spawn: impl Fn(Job)) -> Figures {
    let submit = |x: u64| {
        let (sender, receiver) = oneshot::channel();
        spawn(Box::new(move || drop(sender.send(black_box(x)))));
        receiver
    };
    (0..20).for_each(|x| consume(submit(x).recv()));
    let mut figures = Figures {
        throughput: Some(rate(f64::from(effort.tasks), || {
            let receivers: Vec<_> = (0..effort.tasks).map(|x| submit(x.into())).collect();
            receivers.into_iter().for_each(|receiver| consume(receiver.recv()));
        })),
        ..Figures::default()
    };
    round_trips(&mut figures, effort.round_trips, || consume(submit(1).recv()));
    let blocks: Vec<_> = (0..effort.payloads).map(|_| vec![7_u8; MIB]).collect();
    figures.payload_mib_per_second = Some(rate(f64::from(effort.payloads), || {
        for block in blocks {
            let (sender, receiver) = oneshot::channel();
            spawn(Box::new(move || drop(sender.send(black_box(block).len()))));
            consume(receiver.recv());
        }
    }));
    figures
}

fn crossbeam(workers: usize, effort: Effort) -> Figures {
    let (sender, receiver) = crossbeam_channel::unbounded::<Job>();
    thread::scope(|scope| {
        for _ in 0..workers {
            let receiver = receiver.clone();
            scope.spawn(move || receiver.into_iter().for_each(|job| job()));
        }
        let figures = with_oneshot(effort, |job| drop(sender.send(job)));
        // The workers end with the channel.
        drop(sender);
        figures
    })
}

fn tokio_blocking(workers: usize, effort: Effort) -> Result<Figures, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(workers)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(runtime.block_on(async {
        let submit = |x: u64| tokio::task::spawn_blocking(move || black_box(x));
        for x in 0..20 {
            drop(submit(x).await);
        }
        let start = std::time::Instant::now();
        let handles: Vec<_> = (0..effort.tasks).map(|x| submit(x.into())).collect();
        for handle in handles {
            consume(handle.await);
        }
        let throughput = f64::from(effort.tasks) / start.elapsed().as_secs_f64();
        let mut times = Vec::new();
        for _ in 0..effort.round_trips {
            let start = std::time::Instant::now();
            consume(submit(1).await);
            times.push(crate::cell::nanos(start.elapsed()));
        }
        let latency = crate::cell::percentiles(times);
        Figures {
            throughput: Some(throughput),
            round_trip_p50_ns: latency.map(|latency| latency.p50_ns as f64),
            round_trip_p99_ns: latency.map(|latency| latency.p99_ns as f64),
            payload_mib_per_second: None,
        }
    }))
}

fn threads(effort: Effort) -> Figures {
    let spawn = |x: u64| thread::spawn(move || black_box(x));
    let mut figures = Figures {
        throughput: Some(rate(f64::from(effort.tasks), || {
            (0..effort.tasks).for_each(|x| consume(spawn(x.into()).join()));
        })),
        ..Figures::default()
    };
    round_trips(&mut figures, effort.round_trips, || consume(spawn(1).join()));
    figures
}

/// The hidden command: measures procspawn in this process. `tasks` and `round_trips` come as a JSON array.
pub(crate) fn procspawn_figures([tasks, trips]: [u32; 2]) -> Figures {
    let Ok(pool) = procspawn::Pool::new(2) else { return Figures::default() };
    let submit = |x: u64| procspawn::spawn!(in pool, (x => x) || -> u64 { x });
    (0..20).for_each(|x| consume(submit(x).join()));
    let mut figures = Figures {
        throughput: Some(rate(f64::from(tasks), || {
            // Each queued task holds file descriptors, so not too many at once; joined in the order of submission, because
            // in any other it can hang.
            for start in (0..tasks).step_by(100) {
                let handles: Vec<_> = (start..tasks.min(start + 100)).map(|x| submit(x.into())).collect();
                handles.into_iter().for_each(|handle| consume(handle.join()));
            }
        })),
        ..Figures::default()
    };
    round_trips(&mut figures, trips, || consume(submit(1).join()));
    figures
}
