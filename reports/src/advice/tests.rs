use super::*;
use crate::fixture;
use crate::model::{Cell, Run, Sample, Verdict};

fn question(task_ns: f64, tasks: u64) -> Question {
    Question { task_ns, tasks, payload: 0, result: 0, lane: Lane::Bytes, waits: 0.0, crashes: false, cold: false }
}

fn ask(question: &Question) -> Advice {
    advise(fixture::run().cost.as_ref().unwrap(), question).unwrap()
}

#[test]
fn tiny_tasks_stay_serial_and_long_ones_go_to_threads() {
    let tiny = ask(&question(50.0, 10_000));
    assert_eq!(tiny.best.executor, SERIAL, "{tiny:?}");
    assert!(tiny.changes.iter().any(|change| change.starts_with("With tasks of") && change.contains("thread")));
    let long = ask(&question(1e6, 10_000));
    assert_eq!((long.best.executor.as_str(), long.best.workers), ("thread", 2));
    assert!(long.best.speed_up.low > 1.5 && long.best.speed_up.high < 2.2, "{long:?}");
    assert_eq!(long.code, "let pool = executor_core::ThreadPoolExecutor::new(2)?;");
    assert!(long.outside.is_empty());
}

#[test]
fn a_task_that_crashes_needs_a_process_and_waiting_needs_workers() {
    let crashes = ask(&Question { crashes: true, ..question(50.0, 10) });
    assert_eq!(crashes.best.executor, "process");
    let waits = ask(&Question { waits: 0.9, ..question(10e6, 1000) });
    assert_eq!((waits.best.executor.as_str(), waits.best.workers), ("thread", 20), "{waits:?}");
    assert!(waits.best.speed_up.median > 10.0);
    assert!(!waits.outside.is_empty());
}

#[test]
fn nested_bytes_make_processes_slower_and_memory_counts_what_is_in_flight() {
    let of = |lane| {
        let advice = ask(&Question { payload: 64 << 10, crashes: true, lane, ..question(1e5, 1000) });
        (advice.best.time_ns.median, advice.best.memory_bytes.unwrap())
    };
    let ((nested, memory), (bytes, _)) = (of(Lane::Nested), of(Lane::Bytes));
    assert!(nested > 2.0 * bytes);
    assert!(memory > 1000 * (64 << 10));
}

#[test]
fn what_was_not_measured_is_said() {
    let text = ask(&Question { payload: 1 << 40, ..question(1e6, 10) }).to_text();
    assert!(text.contains("CAUTION  outside of what was measured: arguments of 1.00 TiB"), "{text}");
    assert!(advise(&CostModel::default(), &question(1.0, 1)).is_none());
}

#[test]
fn an_answer_from_a_model_that_predicts_poorly_says_so() {
    let mut model = fixture::run().cost.unwrap();
    assert!(advise(&model, &question(1e6, 10)).unwrap().poor.is_empty());
    let fit = model.fits.iter_mut().find(|fit| fit.executor == "thread").unwrap();
    let points = fit.points.iter_mut().filter(|point| point.held_out);
    points.for_each(|point| point.predicted_ns = 2.0 * point.measured_ns.median);
    let text = advise(&model, &question(1e6, 10)).unwrap().to_text();
    assert!(text.contains("CAUTION  do not rely on it: thread with"), "{text}");
    // Threads are no choice where tasks crash.
    assert!(advise(&model, &Question { crashes: true, ..question(1e6, 10) }).unwrap().poor.is_empty());
}

#[test]
fn what_the_residuals_cannot_carry_is_not_told_and_what_they_can_is() {
    let mut model = fixture::run().cost.unwrap();
    for point in model.fits.iter_mut().flat_map(|fit| &mut fit.points).filter(|point| point.held_out) {
        point.predicted_ns = 2.0 * point.measured_ns.median;
    }
    let tells = |model: &CostModel, question: &Question| advise(model, question).unwrap().cannot_tell.is_none();
    assert!(tells(&model, &question(1e6, 1000)), "the gain of two cores is larger than the error");
    let near = (1..200).map(|step| question(f64::from(step) * 20.0, 1000)).filter(|it| !tells(&model, it)).count();
    assert!(near > 0, "at the break-even the error is larger");
    let why = advise(&model, &Question { task_ns: 1e17, ..question(0.0, 1000) }).unwrap().cannot_tell.unwrap();
    assert!(why.contains("far longer") && why.contains("lab sweep"), "{why}");
    assert!(tells(&model, &Question { crashes: true, ..question(1e3, 1000) }), "there is nothing to choose from");
}

#[test]
fn the_reason_compares_with_the_other_kind_of_pool() {
    let because = ask(&Question { payload: 64 << 10, lane: Lane::Nested, ..question(1e6, 1000) }).because;
    assert!(
        because.starts_with("It is the fastest by the model. On process with 2 workers it would take 1."),
        "{because}"
    );
    assert!(because.contains("there a task with its bytes costs 395 µs beyond its work, against 99.0 µs"), "{because}");
}

/// A cell whose blocks take these milliseconds.
fn cell(executor: &str, workers: u32, times: &[f64]) -> Cell {
    let sample = |(block, time): (usize, &f64)| Sample {
        block: block as u32,
        makespan_ns: (time * 1e6) as u64,
        user_cpu_ns: (time * 1e6) as u64,
        ..Sample::default()
    };
    let samples: Vec<Sample> = times.iter().enumerate().map(sample).collect();
    let spans: Vec<f64> = samples.iter().map(|sample| sample.makespan_ns as f64).collect();
    Cell {
        id: format!("x/{executor}/w{workers}"),
        workload: "x".to_owned(),
        executor: executor.to_owned(),
        workers,
        tasks: 100,
        makespan_ns: Estimate::of_samples(&spans),
        samples,
        verdict: Verdict::Correct,
        ..Cell::default()
    }
}

fn decision(cells: Vec<Cell>) -> Decision {
    let mut run = Run { cells, ..Run::default() };
    run.host.cores = 2;
    decisions(&run).remove(0)
}

const SERIAL_TIMES: [f64; 6] = [100.0, 102.0, 98.0, 101.0, 99.0, 100.0];

fn faster(by: f64) -> Vec<f64> {
    SERIAL_TIMES.iter().rev().map(|time| time / by).collect()
}

#[test]
fn of_the_measured_cells_the_fewest_workers_that_tie_are_taken() {
    let decision = decision(vec![
        cell("serial", 1, &SERIAL_TIMES),
        cell("process", 2, &faster(1.91)),
        cell("thread", 2, &faster(1.9)),
        cell("rayon", 8, &faster(1.92)),
        cell("thread-per-task", 2, &faster(2.0)),
    ]);
    assert_eq!((decision.executor.as_str(), decision.workers), ("thread", 2), "{decision:?}");
    assert_eq!((decision.cannot_tell, decision.too_fast_for), (None, None));
    let gain = decision.gain.unwrap();
    assert!(gain.low < 1.9 && 1.9 < gain.high && gain.confidence > 0.95, "{gain:?}");
    assert_eq!(decision.ties_with, "rayon with 8 workers");
}

#[test]
fn cells_that_scatter_single_samples_and_impossible_gains_are_not_told() {
    let wild = [90.0, 40.0, 95.0, 92.0, 96.0, 91.0];
    let scattered = decision(vec![cell("serial", 1, &wild), cell("thread", 2, &[60.0; 6])]);
    assert!(scattered.cannot_tell.unwrap().contains("thread with 2 workers was fastest, and serial may be"));
    let single = decision(vec![cell("serial", 1, &[100.0]), cell("thread", 2, &[50.0])]);
    assert!(single.cannot_tell.unwrap().contains("one sample of each"));
    let impossible = decision(vec![cell("serial", 1, &SERIAL_TIMES), cell("thread", 2, &faster(3.0))]);
    assert_eq!(impossible.too_fast_for, Some(2));
    assert!(impossible.why.contains("the serial cell was disturbed"), "{}", impossible.why);
    let slower = decision(vec![cell("serial", 1, &SERIAL_TIMES), cell("process", 2, &faster(0.5))]);
    assert_eq!((slower.executor.as_str(), slower.gain, slower.cannot_tell), ("serial", None, None));
}

#[test]
fn a_cause_is_told_with_its_switch() {
    let run = fixture::run();
    let all = decisions(&run);
    let sqlite = all.iter().find(|decision| decision.workload == "sqlite").unwrap();
    assert!(
        sqlite.why.contains(
            "On process with 1 worker it takes 2.04x the time of serial, because freed memory goes back to the system and is asked \
             for again (page faults); with freed memory kept it is 1.03x."
        ),
        "{}",
        sqlite.why
    );
}
