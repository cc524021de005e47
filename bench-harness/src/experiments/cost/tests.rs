//! The fit on synthetic blocks with planted terms.

use reports::{
    cost::{BreakEven, CostModel, Fit, Lane, Load, Term},
    model::{Estimate, NoCrossing},
};
use workloads::Random;

use super::{
    crossings::{FIRST, LAST, Line, settle},
    design::shapes,
    fit::{Data, Drawn, fit},
};

const WIDTH: u32 = 2;
const BLOCKS: usize = 9;

/// The planted terms, in the order of `Term::all`: an executor that costs 1.5 µs a task.
fn plant() -> Vec<f64> {
    Term::all()
        .into_iter()
        .map(|term| match term {
            Term::ColdStart => 3e6,
            Term::Batch => 60e3,
            Term::Task => 1500.0,
            Term::Work => 1.0 / 1.9,
            Term::Lane(Lane::Shared) => 8000.0,
            Term::Lane(_) | Term::LaneOut(_) => 900.0,
            Term::ByteIn(Lane::Nested) => 2.5,
            Term::ByteOut(Lane::Nested) => 1.5,
            Term::ByteIn(_) | Term::ByteOut(_) => 0.2,
        })
        .collect()
}

fn normal(random: &mut Random) -> f64 {
    // Irwin and Hall's sum of twelve.
    (0..12).map(|_| (random.next_u64() % 1_000_000) as f64 / 1e6).sum::<f64>() - 6.0
}

/// Blocks with a speed of their own (3%), noise of each batch (4%), and one batch in fifty disturbed by up to a half.
fn data(random: &mut Random, plant: &[f64]) -> Data {
    let shapes = shapes(1.0);
    let terms = Term::all();
    let blocks = (0..BLOCKS).map(|_| {
        let speed = (0.03 * normal(random)).exp();
        let rows = shapes.iter().map(|shape| {
            // The speed of the kernel is one iteration in a microsecond.
            let work = f64::from(shape.tasks) * shape.iterations as f64 * 1000.0 + 50.0;
            let load = shape.load(work * speed * (0.005 * normal(random)).exp());
            let exact = shape.load(work);
            let time: f64 = terms.iter().zip(plant).map(|(term, value)| exact.amount(*term, WIDTH) * value).sum();
            let disturbed = if random.next_u64().is_multiple_of(50) {
                1.0 + 0.5 * (random.next_u64() % 100) as f64 / 100.0
            } else {
                1.0
            };
            (load, time * speed * disturbed * (0.04 * normal(random)).exp())
        });
        rows.collect()
    });
    Data {
        executor: "process".to_owned(),
        workers: WIDTH,
        width: WIDTH,
        held_out: shapes.iter().map(|shape| shape.held_out).collect(),
        blocks: blocks.collect(),
        memory_per_worker: None,
    }
}

fn coefficients(fit: &Fit) -> Vec<f64> {
    fit.terms.iter().map(|fitted| fitted.estimate.median).collect()
}

/// From which work on the executor is faster than serial, for 1,000 tasks.
fn crossing(drawn: &Drawn, coefficients: &[f64], cold: bool) -> f64 {
    let load = Load { tasks: 1000.0, work_ns: 0.0, lane: None, bytes_in: 0.0, bytes_out: 0.0, cold };
    Line::of(&drawn.fit, coefficients, &load).reaches(Line::serial(1000), 1.0)
}

#[test]
fn intervals_cover_planted_terms_and_crossings_in_a_thousand_draws() {
    let (draws, plant, terms) = (1000_u32, plant(), Term::all());
    let mut random = Random::new(14);
    let mut covered = vec![0_u32; terms.len() + 2];
    for draw in 0..draws {
        let drawn = fit(&data(&mut random, &plant), 200, draw.into()).unwrap();
        for (index, (fitted, truth)) in drawn.fit.terms.iter().zip(&plant).enumerate() {
            covered[index] += u32::from(fitted.estimate.low <= *truth && *truth <= fitted.estimate.high);
        }
        for (place, cold) in [(terms.len(), false), (terms.len() + 1, true)] {
            let all: Vec<f64> = drawn.draws.iter().map(|values| crossing(&drawn, values, cold)).collect();
            let found = settle(crossing(&drawn, &coefficients(&drawn.fit), cold), &all, drawn.factor, BLOCKS).unwrap();
            let truth = crossing(&drawn, &plant, cold);
            covered[place] += u32::from(found.low <= truth && truth <= found.high);
        }
    }
    // Three standard errors of a share of 95% in 1,000 draws are 2%.
    let shares: Vec<f64> = covered.iter().map(|count| f64::from(*count) / f64::from(draws)).collect();
    assert!(shares.iter().all(|share| *share > 0.93), "{terms:?}, warm and cold crossing: {shares:?}");
}

#[test]
fn held_out_batches_are_predicted_and_the_residuals_are_small() {
    let drawn = fit(&data(&mut Random::new(1), &plant()), 200, 1).unwrap();
    let (within, all) = drawn.fit.predicted_within(0.15);
    assert_eq!((within, all), (9, 9));
    assert!(drawn.fit.spread < 0.1, "{}", drawn.fit.spread);
    for point in &drawn.fit.points {
        let said = drawn.fit.predict(&point.load);
        assert!(said.low <= said.median && said.median <= said.high);
        assert!((said.median / point.predicted_ns - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_term_that_is_nothing_is_refused() {
    let mut plant = plant();
    let shared = Term::all().iter().position(|term| *term == Term::ByteIn(Lane::Shared)).unwrap();
    plant[shared] = 0.0;
    let refused = (0..20).filter(|seed| {
        let drawn = fit(&data(&mut Random::new(*seed), &plant), 200, 1).unwrap();
        drawn.fit.terms[shared].refused.is_some()
    });
    assert!(refused.count() >= 17);
    let drawn = fit(&data(&mut Random::new(1), &plant), 200, 1).unwrap();
    let work = drawn.fit.terms.iter().find(|fitted| fitted.term == Term::Work).unwrap();
    assert_eq!(work.refused, None);
}

#[test]
fn too_few_rows_give_no_fit() {
    let mut data = data(&mut Random::new(1), &plant());
    data.blocks.clear();
    assert!(fit(&data, 200, 1).is_none());
}

#[test]
fn lines_that_never_meet_are_an_answer() {
    let (slow, fast) = (Line { start: 10.0, slope: 2.0 }, Line { start: 1.0, slope: 1.0 });
    assert_eq!(slow.reaches(fast, 1.0), f64::INFINITY);
    assert_eq!(fast.reaches(slow, 1.0), f64::NEG_INFINITY);
    let never = settle(f64::INFINITY, &[f64::INFINITY; 9], 1.3, 9);
    assert_eq!(never, Err(NoCrossing::Never(FIRST, LAST)));
    assert_eq!(NoCrossing::Never(100.0, 1e6).to_string(), "no crossing between 100 ns and 1.00 ms");
    assert_eq!(settle(f64::NEG_INFINITY, &[f64::NEG_INFINITY; 9], 1.3, 9), Err(NoCrossing::Below(FIRST)));
    let found = settle(1000.0, &[900.0, 1000.0, 1100.0], 1.3, 9).unwrap();
    assert!(found.low < 900.0 && found.high > 1100.0, "{found:?}");
}

#[test]
fn crossings_of_one_batch_are_one_sentence() {
    let crossing = |executor: &str, against: &str, cold, found: Result<f64, NoCrossing>| BreakEven {
        executor: executor.to_owned(),
        against: against.to_owned(),
        workers: 2,
        tasks: 1000,
        bytes_in: 0,
        cold,
        factor: 1.0,
        task_ns: found.ok().map(|at| Estimate { median: at, low: at, high: at, confidence: 0.95, n: 9 }),
        missing: found.err(),
        checks: Vec::new(),
    };
    let never = Err(NoCrossing::Never(100.0, 1e7));
    let mut model = CostModel {
        break_even: vec![
            crossing("thread", "serial", false, Ok(600.0)),
            crossing("thread", "serial", true, Ok(2000.0)),
            crossing("process", "thread", false, never),
        ],
        ..CostModel::default()
    };
    let texts = |model: &CostModel| super::findings(model).into_iter().map(|it| it.text).collect::<Vec<_>>();
    let found = texts(&model);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        found[0],
        "Warm pools, 1000 tasks, 2 workers: thread is as fast as serial from 600 ns (95% CI 600 ns to 600 ns) of work a task on; \
         process is as fast as thread: no crossing between 100 ns and 10.0 ms."
    );
    model.break_even.iter_mut().for_each(|it| it.withhold(NoCrossing::PoorModel));
    assert!(texts(&model).is_empty(), "it is said of the model");
}
