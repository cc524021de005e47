use reports::model::{Cell, Input, SERIAL, Sample, Verdict};

use super::*;

/// What one task of a cell takes: nanoseconds of wall-clock time, user and system time, and counts.
#[derive(Clone, Copy, Default)]
struct Task {
    wall: u64,
    user: u64,
    system: u64,
    faults: u64,
    switches: u64,
    queued: u64,
}

const TASKS: u64 = 100;

fn cell(executor: &str, workers: u32, task: Task, blocks: u32) -> Cell {
    let samples: Vec<Sample> = (0..blocks)
        .map(|block| {
            // A drift that meets all cells of a block, and cancels out in ratios of one block.
            let drift = 100 + 3 * u64::from(block);
            Sample {
                block,
                makespan_ns: task.wall * TASKS * drift / 100,
                user_cpu_ns: task.user * TASKS * drift / 100,
                system_cpu_ns: task.system * TASKS * drift / 100,
                minor_faults: task.faults * TASKS,
                voluntary_switches: task.switches * TASKS,
                run_queue_delay_ns: Some(task.queued * TASKS),
                ..Sample::default()
            }
        })
        .collect();
    let times: Vec<f64> = samples.iter().map(|sample| sample.makespan_ns as f64).collect();
    Cell {
        id: format!("sqlite/{executor}/w{workers}"),
        workload: "sqlite".to_owned(),
        executor: executor.to_owned(),
        workers,
        tasks: TASKS,
        makespan_ns: stats::estimate(&times),
        samples,
        verdict: Verdict::Correct,
        ..Cell::default()
    }
}

fn run(cells: Vec<Cell>) -> Run {
    let mut run = Run { cells, ..Run::default() };
    run.host.cores = 2;
    run
}

const QUERY: Task = Task { wall: 100_000, user: 80_000, system: 15_000, faults: 3, switches: 0, queued: 0 };
const HEAP_GIVEN_BACK: Task = Task { wall: 200_000, user: 90_000, system: 105_000, faults: 75, ..QUERY };

fn sentences(run: &mut Run) -> Vec<String> {
    run.causes = decide::slow_cells(run);
    Causes.findings(run).into_iter().map(|finding| finding.text).collect()
}

#[test]
fn a_worker_process_that_faults_needs_more_time_than_serial_and_the_sentence_says_why() {
    let mut run = run(vec![cell(SERIAL, 1, QUERY, 6), cell("process", 1, HEAP_GIVEN_BACK, 6)]);
    assert_eq!(
        sentences(&mut run),
        [
            "sqlite: one worker process needs 2.00x (96.9% CI 2.00x to 2.00x) the time of the serial run: page faults (75 \
          against 3.0 a task, with system time 113 µs against 16.1 µs: memory is given back to the system after tasks and \
          asked for again)."
        ]
    );
    assert_eq!(run.causes[0].kinds, [CauseKind::PageFaults]);
    let ratio = |median, low, high| {
        Some(Switched {
            switch: KEEP_MEMORY.what.to_owned(),
            ratio: Estimate { median, low, high, confidence: 0.96875, n: 6 },
        })
    };
    for (switched, verdict) in [
        (ratio(1.05, 1.0, 1.1), "1.05x (96.9% CI 1.00x to 1.10x) the time, so that is the cause"),
        (ratio(1.6, 1.55, 1.7), "so that is a part of the cause"),
        (ratio(2.0, 1.95, 2.1), "so that is not the cause"),
        (ratio(1.5, 1.0, 2.1), "too uncertain"),
    ] {
        run.causes[0].switched = switched;
        let text = &Causes.findings(&run)[0].text;
        assert!(text.contains(verdict), "{text}");
    }
}

#[test]
fn eight_threads_slower_than_two_are_named_with_faults_and_switches() {
    let two = Task { wall: 60_000, ..QUERY };
    let eight = Task { wall: 120_000, user: 100_000, system: 70_000, faults: 40, switches: 10, queued: 400_000 };
    let mut run = run(vec![
        cell(SERIAL, 1, QUERY, 6),
        cell("thread", 1, QUERY, 6),
        cell("thread", 2, two, 6),
        cell("thread", 8, eight, 6),
        cell("process", 8, two, 6),
    ]);
    let texts = sentences(&mut run);
    assert!(
        texts[0].starts_with("sqlite: 8 threads need 2.00x (96.9% CI 2.00x to 2.00x) the time of 2: "),
        "{texts:?}"
    );
    for part in ["10 against 0.0 switches a task", "40 against 3.0 a task"] {
        assert!(texts[0].contains(part), "{part}: {texts:?}");
    }
    assert!(texts[1].starts_with("sqlite: with 8 workers processes beat threads, which need 2.00x"), "{texts:?}");
    // Eight workers on two cores queue for them whatever the others do.
    assert!(run.causes.iter().all(|cause| !cause.kinds.contains(&CauseKind::Queued)), "{:?}", run.causes);
}

#[test]
fn each_counter_gives_its_own_cause_and_none_gives_unknown() {
    let slow = |change: fn(&mut Task)| {
        let mut task = Task { wall: 200_000, ..QUERY };
        change(&mut task);
        let mut run = run(vec![cell(SERIAL, 1, QUERY, 6), cell("thread", 1, task, 6)]);
        let text = sentences(&mut run).remove(0);
        (run.causes[0].kinds.clone(), text)
    };
    let (kinds, text) = slow(|task| task.user = 180_000);
    assert_eq!(kinds, [CauseKind::UserTime], "{text}");
    let (kinds, text) = slow(|task| task.switches = 3);
    assert_eq!(kinds, [CauseKind::Waiting], "{text}");
    let (kinds, text) = slow(|task| task.queued = 95_000);
    assert_eq!(kinds, [CauseKind::Queued], "{text}");
    assert!(
        text.contains(
            "threads queued for a core, behind other programs or behind the lab's own threads (for 95.0 µs against"
        ),
        "{text}"
    );
    let (kinds, text) = slow(|_| ());
    assert_eq!(kinds, [CauseKind::Idle], "{text}");
    let (kinds, text) = slow(|task| (task.user, task.system) = (105_000, 85_000));
    assert!(kinds.is_empty() && text.contains("cause unknown: nothing that is counted stands out"), "{kinds:?} {text}");
}

#[test]
fn many_faults_are_named_and_switched_off_even_where_others_explain_more() {
    let task = Task { wall: 300_000, user: 250_000, system: 30_000, faults: 75, switches: 2, ..QUERY };
    let mut run = run(vec![cell(SERIAL, 1, QUERY, 6), cell("process", 1, task, 6)]);
    let text = sentences(&mut run).remove(0);
    assert_eq!(run.causes[0].kinds, [CauseKind::UserTime, CauseKind::PageFaults], "{text}");
    assert_eq!(switch_of(&run.causes[0]).is_some(), cfg!(all(target_os = "linux", target_env = "gnu")));
    run.causes[0].kinds = vec![CauseKind::UserTime];
    assert!(switch_of(&run.causes[0]).is_none());
}

#[test]
fn nothing_is_said_of_what_is_even_uncertain_or_waits() {
    let even = Task { wall: 104_000, ..QUERY };
    assert!(sentences(&mut run(vec![cell(SERIAL, 1, QUERY, 6), cell("process", 1, even, 6)])).is_empty());
    // Three blocks reach 75%: only a large difference counts.
    let some = Task { wall: 140_000, ..QUERY };
    assert!(sentences(&mut run(vec![cell(SERIAL, 1, QUERY, 3), cell("process", 1, some, 3)])).is_empty());
    assert_eq!(sentences(&mut run(vec![cell(SERIAL, 1, QUERY, 3), cell("process", 1, HEAP_GIVEN_BACK, 3)])).len(), 1);
    let cells = vec![cell(SERIAL, 1, QUERY, 6), cell("process", 1, HEAP_GIVEN_BACK, 6)];
    let mut waiting = run(cells);
    let (workload, description, fingerprint) = ("sqlite".to_owned(), String::new(), String::new());
    waiting.inputs = vec![Input { workload, description, waits: true, fingerprint }];
    assert!(sentences(&mut waiting).is_empty());
}

#[test]
fn workers_that_are_worth_less_than_their_cores_are_named_once() {
    let half = Task { wall: 95_000, user: 160_000, ..QUERY };
    let mut run = run(vec![cell(SERIAL, 1, QUERY, 6), cell("thread", 1, QUERY, 6), cell("thread", 2, half, 6)]);
    let texts = sentences(&mut run);
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(
        texts[0].starts_with(
            "sqlite: 2 threads are worth 1.05x the serial run (96.9% CI 1.05x to 1.05x), where 2 cores allow 2x: "
        ),
        "{texts:?}"
    );
    assert_eq!(run.causes[0].kinds, [CauseKind::UserTime]);
}
