//! Advice: which executor, how many workers, and what it buys, by the cost model of a machine.

use serde::Serialize;

use crate::cost::{CostModel, Fit, Lane, Load, Term};
use crate::format::{bytes, duration};
use crate::model::{Estimate, SERIAL};

/// A worker that waits costs little, but not nothing: more are not advised.
const MOST_WAITING: u32 = 64;

/// The work of someone who asks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Question {
    /// How long a task takes when it runs alone.
    pub task_ns: f64,
    /// Number of tasks.
    pub tasks: u64,
    /// Bytes of an argument.
    pub payload: u64,
    /// Bytes of a result.
    pub result: u64,
    /// The way that the bytes travel.
    pub lane: Lane,
    /// The share of a task's time in which it waits and needs no core.
    pub waits: f64,
    /// Whether a task may crash or has to be stopped, so that it needs a process of its own.
    pub crashes: bool,
    /// Whether the pool is built for these tasks.
    pub cold: bool,
}

/// One choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// Name of the executor.
    pub executor: String,
    /// Number of workers.
    pub workers: u32,
    /// The time of all tasks.
    pub time_ns: Estimate,
    /// How many times as fast as serial.
    pub speed_up: Estimate,
    /// Memory of the workers, and of all arguments and results at the same time; `None` where it was not measured.
    pub memory_bytes: Option<u64>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// The question.
    pub question: Question,
    /// What to take.
    pub best: Choice,
    /// Why not the fastest one, or what else was decisive.
    pub because: String,
    /// All choices, the fastest first.
    pub choices: Vec<Choice>,
    /// What would change the answer.
    pub changes: Vec<String>,
    /// How the question lies outside of what was measured; the answer is an extrapolation then.
    pub outside: Vec<String>,
    /// The models that predict poorly what they have not seen; the answer is not to be relied on then.
    pub poor: Vec<String>,
    /// The line that builds it.
    pub code: String,
}

/// The answer to a question; `None` where the model is empty, or has no executor that fits.
#[must_use]
pub fn advise(model: &CostModel, question: &Question) -> Option<Advice> {
    let (best, because, choices) = choose(model, question)?;
    let changes = changes(model, question, &best);
    Some(Advice {
        question: *question,
        code: code(&best),
        because,
        changes,
        outside: outside(model, question),
        poor: poor(model, &choices),
        best,
        choices,
    })
}

fn serial_ns(question: &Question) -> f64 {
    question.tasks as f64 * question.task_ns
}

/// The best choice, why it is, and all of them.
fn choose(model: &CostModel, question: &Question) -> Option<(Choice, String, Vec<Choice>)> {
    let exact = |value: f64| Estimate { median: value, low: value, high: value, confidence: 1.0, n: 0 };
    let mut choices: Vec<Choice> = model.fits.iter().flat_map(|fit| of_fit(model, fit, question)).collect();
    choices.retain(|choice| !question.crashes || choice.executor == "process");
    if choices.is_empty() {
        return None;
    }
    if !question.crashes {
        choices.push(Choice {
            executor: SERIAL.to_owned(),
            workers: 1,
            time_ns: exact(serial_ns(question)),
            speed_up: exact(1.0),
            memory_bytes: Some(question.payload + question.result),
        });
    }
    choices.sort_by(|a, b| a.time_ns.median.total_cmp(&b.time_ns.median));
    let fastest = choices[0].clone();
    // What may be as fast: the simplest of these, and of the same kind the fewest workers.
    let order = [SERIAL, "thread", "rayon", "process"];
    let simplicity = |choice: &&Choice| {
        let place = order.iter().position(|name| *name == choice.executor).unwrap_or(order.len());
        (place, choice.workers)
    };
    let ties = |choice: &&Choice| {
        choice.time_ns.low <= fastest.time_ns.median && choice.time_ns.median <= fastest.time_ns.high
    };
    let best = choices.iter().filter(ties).min_by_key(simplicity).cloned().unwrap_or_else(|| fastest.clone());
    let because = if question.crashes {
        "A task that crashes ends its process: with threads that is the whole program.".to_owned()
    } else if best == fastest {
        "It is the fastest by the model.".to_owned()
    } else {
        format!(
            "{} with {} workers is not faster beyond the model's uncertainty ({}), and this is simpler.",
            fastest.executor,
            fastest.workers,
            duration(fastest.time_ns.median)
        )
    };
    Some((best, because, choices))
}

/// The choices of one fit: its own workers, and for tasks that wait more of them.
fn of_fit(model: &CostModel, fit: &Fit, question: &Question) -> Vec<Choice> {
    let mut workers = vec![fit.workers];
    let most = model.fits.iter().filter(|other| other.executor == fit.executor).map(|other| other.workers).max();
    if question.waits > 0.0 && most == Some(fit.workers) {
        // As many as keep the cores busy: cores x (1 + wait / compute).
        let busy = f64::from(fit.width) / (1.0 - question.waits).max(1.0 / f64::from(MOST_WAITING));
        let wanted = (busy.round() as u32).min(MOST_WAITING).min(u32::try_from(question.tasks).unwrap_or(u32::MAX));
        workers.extend((wanted > fit.workers).then_some(wanted));
    }
    workers.into_iter().map(|workers| choice(fit, workers, question)).collect()
}

fn choice(fit: &Fit, workers: u32, question: &Question) -> Choice {
    let tasks = question.tasks as f64;
    let has_bytes = question.payload > 0 || question.result > 0;
    let load = Load {
        tasks,
        work_ns: serial_ns(question) * (1.0 - question.waits),
        lane: has_bytes.then_some(question.lane),
        bytes_in: question.payload as f64,
        bytes_out: question.result as f64,
        cold: question.cold,
    };
    let mut time = fit.predict(&load);
    // Workers that were not measured: a cold start takes longer in proportion.
    let more = f64::from(workers) / f64::from(fit.workers) - 1.0;
    let mut further = fit.coefficient(Term::ColdStart) * load.amount(Term::ColdStart, fit.width) * more.max(0.0);
    if question.waits > 0.0 {
        // Tasks of which each takes its whole time, in rounds of all workers; the cores may need longer for their part.
        let rounds = (tasks / f64::from(workers.max(1))).ceil() * question.task_ns;
        let computing = fit.coefficient(Term::Work) * load.amount(Term::Work, fit.width);
        further += (rounds - computing).max(0.0);
    }
    time = Estimate { median: time.median + further, low: time.low + further, high: time.high + further, ..time };
    let serial = serial_ns(question);
    let speed_up = Estimate {
        median: serial / time.median,
        low: serial / time.high,
        // A time of which the interval reaches 0 says nothing of its upper end.
        high: serial / time.low.max(1.0),
        ..time
    };
    let held = question.tasks.saturating_mul(question.payload.saturating_add(question.result));
    let memory = fit.memory_per_worker.map(|each| each.saturating_mul(workers.into()).saturating_add(held));
    Choice { executor: fit.executor.clone(), workers, time_ns: time, speed_up, memory_bytes: memory }
}

/// Which change of the question changes the executor, tried in steps of two.
fn changes(model: &CostModel, question: &Question, best: &Choice) -> Vec<String> {
    let mut found = Vec::new();
    let mut scan = |vary: &dyn Fn(f64) -> Question, tell: &dyn Fn(&Question) -> String| {
        for direction in [2.0_f64, 0.5] {
            let first = (1..=20).find_map(|step| {
                let other = vary(direction.powi(step));
                let (choice, ..) = choose(model, &other)?;
                (choice.executor != best.executor && outside(model, &other).is_empty()).then_some((other, choice))
            });
            if let Some((other, choice)) = first {
                found.push(format!("With {}: {} with {} workers.", tell(&other), choice.executor, choice.workers));
            }
        }
    };
    scan(&|factor| Question { task_ns: question.task_ns * factor, ..*question }, &|other| {
        format!("tasks of {}", duration(other.task_ns))
    });
    scan(&|factor| Question { tasks: ((question.tasks as f64 * factor) as u64).max(1), ..*question }, &|other| {
        format!("{} tasks", crate::format::count(other.tasks))
    });
    if question.payload > 0 {
        scan(&|factor| Question { payload: (question.payload as f64 * factor) as u64, ..*question }, &|other| {
            format!("arguments of {}", bytes(other.payload))
        });
    }
    if !question.crashes && best.executor != "process" {
        found.push("Where tasks may crash, leak or must be stopped: process.".to_owned());
    }
    if question.lane == Lane::Nested && best.executor == "process" && question.payload.max(question.result) >= 4096 {
        found.push(
            "Bytes that are the whole argument, as a Vec<u8> or SharedBytes, cost less than nested ones.".to_owned(),
        );
    }
    found
}

/// How the question lies outside of what was measured.
fn outside(model: &CostModel, question: &Question) -> Vec<String> {
    let loads = || model.fits.iter().flat_map(|fit| &fit.points).map(|point| &point.load);
    let most = |value: fn(&Load) -> f64| loads().map(value).fold(0.0, f64::max);
    let mut found = Vec::new();
    let mut check = |value: f64, most: f64, text: String| {
        // Terms are straight lines: a tenfold is as far as they are trusted.
        if value > 10.0 * most {
            found.push(text);
        }
    };
    let longest = most(|load| load.work_ns / load.tasks.max(1.0));
    let (task, limit) = (duration(question.task_ns), duration(longest));
    // Longer work than that is work alone, which needs no measurement of the executor.
    check(
        question.task_ns,
        1000.0 * longest,
        format!("tasks of {task} are far longer than those that were measured ({limit})"),
    );
    let tasks = most(|load| load.tasks);
    check(
        question.tasks as f64,
        1000.0 * tasks,
        format!("{} tasks are far more than were measured ({tasks})", question.tasks),
    );
    let (size, largest) = (question.payload, most(|load| load.bytes_in));
    check(
        size as f64,
        largest,
        format!("arguments of {} are larger than those that were measured ({})", bytes(size), bytes(largest as u64)),
    );
    let (size, largest) = (question.result, most(|load| load.bytes_out));
    check(
        size as f64,
        largest,
        format!("results of {} are larger than those that were measured ({})", bytes(size), bytes(largest as u64)),
    );
    if question.waits > 0.0 {
        found.push(
            "waiting was not measured: its overlap is computed, and so is the cost of workers beyond those measured"
                .to_owned(),
        );
    }
    found
}

/// Of the executors to choose from, those whose model predicts poorly.
fn poor(model: &CostModel, choices: &[Choice]) -> Vec<String> {
    let is_choice = |fit: &&Fit| choices.iter().any(|choice| choice.executor == fit.executor);
    let told = model.fits.iter().filter(|fit| fit.is_poor()).filter(is_choice).map(|fit| {
        let (within, all) = fit.predicted_within(0.15);
        format!(
            "{} with {} workers: of the batches that the model has not seen it predicts {within} of {all} within 15%",
            fit.executor, fit.workers
        )
    });
    told.collect()
}

fn code(best: &Choice) -> String {
    match best.executor.as_str() {
        "thread" => format!("let pool = executor_core::ThreadPoolExecutor::new({})?;", best.workers),
        "process" => format!("let pool = executor_core::ProcessPoolExecutor::new({})?;", best.workers),
        "rayon" => {
            format!("let pool = executor_core::RayonExecutor::builder().max_workers({}).build()?;", best.workers)
        }
        _ => "let pool = executor_core::SerialExecutor::new();".to_owned(),
    }
}

impl Advice {
    /// The answer as lines for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Choice { executor, workers, time_ns, speed_up, memory_bytes } = &self.best;
        let range = |it: &Estimate, show: fn(f64) -> String| {
            if it.n == 0 {
                show(it.median)
            } else {
                format!("{} ({} to {})", show(it.median), show(it.low), show(it.high))
            }
        };
        let ratio: fn(f64) -> String = |value| format!("{value:.2}x");
        let plural = if *workers == 1 { "" } else { "s" };
        let mut text = format!("take     {executor} with {workers} worker{plural}\n");
        text.push_str(&format!("time     {}\n", range(time_ns, duration)));
        text.push_str(&format!(
            "serial   {}; {} as fast\n",
            duration(serial_ns(&self.question)),
            range(speed_up, ratio)
        ));
        let memory = memory_bytes.map_or_else(|| "not measured".to_owned(), bytes);
        text.push_str(&format!("memory   {memory}, if all arguments and results are there at the same time\n"));
        text.push_str(&format!("because  {}\n", self.because));
        text.push_str(&format!("code     {}\n", self.code));
        for (index, choice) in self.choices.iter().enumerate() {
            let head = if index == 0 { "choices  " } else { "         " };
            let time = range(&choice.time_ns, duration);
            text.push_str(&format!("{head}{} with {}: {time}\n", choice.executor, choice.workers));
        }
        for (index, change) in self.changes.iter().enumerate() {
            text.push_str(&format!("{}{change}\n", if index == 0 { "changes  " } else { "         " }));
        }
        for outside in &self.outside {
            text.push_str(&format!("CAUTION  outside of what was measured: {outside}\n"));
        }
        for poor in &self.poor {
            text.push_str(&format!("CAUTION  do not rely on it: {poor}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

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
}
