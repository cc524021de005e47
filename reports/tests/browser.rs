//! Opens a report in a real browser, from disk and without a network: it must be complete, and write nothing to the console.
//!
//! Without a browser the tests say so and pass; with `REQUIRE_BROWSER=1` that is a failure. `REPORT_DIR` names a
//! folder in which the written reports stay for inspection.

mod fixture;

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reports::{
    advice::{Question, advise},
    cost::{CostModel, Lane},
    model::{Fitness, Run, Unfit},
};
use serde_json::Value;

/// The programs that are tried, in this order.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The first browser that answers; `None` after a visible note.
fn browser() -> Option<&'static str> {
    let works = |name: &&&str| {
        let mut command = Command::new(name);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = BROWSERS.iter().find(works).copied();
    if found.is_none() {
        // The note is not written by `eprintln`, which the harness hides as long as a test passes.
        let note = format!("\nSKIPPED: no chromium (tried {}); install one to run this test\n", BROWSERS.join(", "));
        io::stderr().write_all(note.as_bytes()).expect("standard error takes a line");
        assert!(env::var_os("REQUIRE_BROWSER").is_none_or(|value| value != "1"), "REQUIRE_BROWSER=1, and no chromium");
    }
    found
}

/// The page as the browser has it after its script ran, and the output of its console.
struct Opened {
    dom: String,
    console: Vec<String>,
}

fn open(browser: &str, page: &Path, fragment: &str) -> Opened {
    open_wide(browser, page, fragment, 1280)
}

fn open_wide(browser: &str, page: &Path, fragment: &str, width: u32) -> Opened {
    let profile = tempfile::tempdir().expect("a folder for the profile");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--v=0",
            "--hide-scrollbars",
            "--dump-dom",
        ])
        .arg(format!("--window-size={width},1000"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}{fragment}", page.display()))
        .stdin(Stdio::null())
        .output()
        .expect("the browser starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the browser failed: {stderr}");
    Opened {
        dom: String::from_utf8(output.stdout).expect("the page is UTF-8"),
        console: stderr.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect(),
    }
}

/// Where the report is written; the folder vanishes with the second value unless `REPORT_DIR` is set.
fn folder(name: &str) -> (PathBuf, Option<tempfile::TempDir>) {
    match env::var_os("REPORT_DIR") {
        Some(dir) => (PathBuf::from(dir).join(name), None),
        None => {
            let dir = tempfile::tempdir().expect("a folder for the report");
            (dir.path().join(name), Some(dir))
        }
    }
}

/// Writes a report and opens it.
fn show(run: &Run, name: &str, fragment: &str) -> Option<Opened> {
    let (dir, _keep) = folder(name);
    let written = reports::write(run, &dir).expect("the report is written");
    assert!(fs::metadata(&written.html).expect("the page is there").len() > 10_000);
    let opened = open(browser()?, &written.html.canonicalize().expect("the page is there"), fragment);
    assert!(opened.console.is_empty(), "the console is not quiet: {:#?}", opened.console);
    assert!(opened.dom.contains("data-ready=\"yes\""), "the script ran to its end");
    Some(opened)
}

/// The part of the page from an element's id to the end of its figure.
fn figure<'a>(dom: &'a str, id: &str) -> &'a str {
    let start = dom.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no `{id}` in the page"));
    let rest = &dom[start..];
    &rest[..rest.find("</figure>").expect("the figure ends")]
}

#[test]
fn a_full_report_opens_with_every_chart_and_table() {
    let Some(opened) = show(&fixture::run(), "full", "") else { return };
    let charts = [
        "scaling-sha256",
        "scaling-fetch",
        "scaling-sqlite",
        "overhead-cost",
        "efficiency-curves",
        "latency-sha256",
        "latency-fetch",
        "latency-sqlite",
    ];
    for id in charts {
        let figure = figure(&opened.dom, id);
        assert!(
            figure.contains("<svg class=\"chart\"") && figure.contains("<circle class=\"hit\""),
            "{id} has its picture"
        );
        assert!(figure.contains("<details>") && figure.contains("<tbody>"), "{id} has its table");
    }
    assert!(opened.dom.contains("WRONG answers"));
    assert!(!opened.dom.contains("hidden=\"\""), "the buttons are shown once the script runs");
}

#[test]
fn an_empty_report_opens_and_says_what_is_missing() {
    let Some(opened) = show(&fixture::empty(), "empty", "") else { return };
    for id in ["scaling-none", "overhead-none", "efficiency-none", "cost-none", "latency-none"] {
        assert!(figure(&opened.dom, id).contains("class=\"missing\""), "{id}");
    }
}

#[test]
fn the_theme_can_be_asked_for_in_the_address() {
    let Some(opened) = show(&fixture::run(), "dark", "#theme=dark") else { return };
    assert!(opened.dom.contains("data-theme=\"dark\"") && opened.dom.contains("Theme: dark"));
}

#[test]
fn hostile_names_stay_text() {
    let mut run = fixture::run();
    let hostile = "</title></svg><script>console.error('escaped')</script><img src=x onerror=console.error(1)>";
    for cell in &mut run.cells {
        cell.executor.push_str(hostile);
        cell.workload.push_str(hostile);
    }
    for row in &mut run.overhead {
        row.name.insert_str(0, hostile);
    }
    for crossing in &mut run.crossings {
        crossing.label.push_str(hostile);
    }
    hostile.clone_into(&mut run.command);
    run.id.push_str(hostile);
    let Some(opened) = show(&run, "hostile", "") else { return };
    assert!(!opened.dom.contains("<img"));
}

/// The page in a window of some width, with `style` made of its style sheet, and all that can be opened open: the captions of
/// parts that are wider than their place.
fn cut_off(run: &Run, width: u32, style: impl Fn(&str) -> String) -> Option<String> {
    const FIND_CUT_OFF: &str = "<script>document.querySelectorAll('details').forEach((it) => { it.open = true; });\
        const cut = [...document.querySelectorAll('PLACES')].filter((it) => it.scrollWidth > it.clientWidth + 1);\
        document.body.dataset.cut = cut.map((it) => (it.closest('figure, section') ?? it).id).join(' ');</script>";
    let browser = browser()?;
    let dir = tempfile::tempdir().expect("a folder for the page");
    let page = dir.path().join("page.html");
    let places = if width > 640 { ".scroll, .picture, main > section" } else { ".picture, main > section" };
    let html = style(&reports::render_html(run).expect("the page is rendered"));
    fs::write(&page, html.replace("</body>", &(FIND_CUT_OFF.replace("PLACES", places) + "</body>")))
        .expect("it is written");
    let dom = open_wide(browser, &page, "", width).dom;
    let start = dom.find("data-cut=\"").expect("the script ran") + 10;
    Some(dom[start..].split('"').next().unwrap_or_default().to_owned())
}

#[test]
fn nothing_is_cut_off_on_paper() {
    // A4 less its margins, at 96 dots an inch.
    let print = |html: &str| html.replace("@media print", "@media all");
    let mut unfit = fixture::run();
    unfit.fitness = Some(Fitness { unfit: vec![Unfit::Others(1.0)], ..Fitness::default() });
    for run in [fixture::run(), unfit] {
        let Some(cut) = cut_off(&run, 688, print) else { return };
        assert_eq!(cut, "");
    }
}

#[test]
fn on_a_small_screen_every_picture_is_whole_but_one_that_says_so() {
    let Some(cut) = cut_off(&fixture::run(), 500, str::to_owned) else { return };
    assert_eq!(cut, "efficiency-curves");
    assert!(include_str!("../templates/report.css").contains("Scroll the picture sideways"));
}

/// Questions of every kind: short and long tasks, few and many, bytes of each lane, waiting, crashes, cold pools.
fn questions() -> Vec<Question> {
    let mut all = Vec::new();
    let sizes = [(0, 0), (16, 0), (64 << 10, 0), (0, 4096), (64 << 10, 1 << 20), (1 << 20, 3), (1 << 34, 0)];
    for task_ns in [0.0, 50.0, 1e3, 12_345.678, 1e5, 1e6, 1.25e6, 7.7e7, 3e10] {
        for tasks in [1, 3, 10, 1000, 123_457, 50_000_000] {
            for (payload, result) in sizes {
                for waits in [0.0, 0.3, 0.9, 1.0] {
                    let number = all.len();
                    let lane = Lane::ALL[number % 3];
                    let (crashes, cold) = (number % 5 == 0, number % 7 < 2);
                    all.push(Question { task_ns, tasks, payload, result, lane, waits, crashes, cold });
                }
            }
        }
    }
    // An odd step meets every value beside every other one.
    all.into_iter().step_by(3).collect()
}

/// The first difference of two answers; sums may differ in their last digit.
fn difference(rust: &Value, script: &Value, path: &str) -> Option<String> {
    let differ = || Some(format!("{path}: {rust} and {script}"));
    match (rust, script) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64()?, b.as_f64()?);
            if (a - b).abs() <= 1e-12 * a.abs() { None } else { differ() }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(at, (a, b))| difference(a, b, &format!("{path}/{at}")))
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().find_map(|(key, value)| difference(value, &b[key], &format!("{path}/{key}")))
        }
        _ if rust == script => None,
        _ => differ(),
    }
}

#[test]
fn the_calculator_answers_as_the_adviser_does() {
    const ASK: &str = "<script type=\"application/json\" id=\"asked\">QUESTIONS</script><script>\
        const models = JSON.parse(document.getElementById('asked').textContent);\
        const told = document.createElement('script'); told.type = 'application/json'; told.id = 'told';\
        told.textContent = JSON.stringify(models.map(([model, all]) => all.map((it) => labAdvice.advise(model, it))));\
        document.body.append(told);</script></body>";
    let Some(browser) = browser() else { return };
    let run = fixture::run();
    let model = run.cost.clone().expect("the fixture has a model");
    let mut poor = model.clone();
    for point in poor.fits.iter_mut().filter(|fit| fit.executor == "thread").flat_map(|fit| &mut fit.points) {
        point.predicted_ns *= if point.held_out { 2.0 } else { 1.0 };
    }
    poor.fits.iter_mut().for_each(|fit| fit.spread = 0.4);
    let mut threads = model.clone();
    threads.fits.retain(|fit| fit.executor == "thread");
    threads.fits[0].memory_per_worker = None;
    let asked: Vec<(CostModel, Vec<Question>)> = [model, poor, threads].map(|model| (model, questions())).into();
    let json = serde_json::to_string(&asked).expect("questions are JSON").replace('<', "\\u003c");
    let dir = tempfile::tempdir().expect("a folder for the page");
    let page = dir.path().join("page.html");
    let html = reports::render_html(&run).expect("the page is rendered");
    fs::write(&page, html.replace("</body>", &ASK.replace("QUESTIONS", &json))).expect("it is written");
    let opened = open(browser, &page, "");
    assert!(opened.console.is_empty(), "the console is not quiet: {:#?}", opened.console);
    let told = opened.dom.split("id=\"told\">").nth(1).expect("the script answered");
    let told: Vec<Vec<Value>> =
        serde_json::from_str(told.split("</script>").next().unwrap_or_default()).expect("answers are JSON");
    let mut answers = std::collections::BTreeSet::new();
    for ((model, questions), told) in asked.iter().zip(&told) {
        assert_eq!(told.len(), questions.len());
        for (question, told) in questions.iter().zip(told) {
            let advice = advise(model, question);
            let own = serde_json::to_value(&advice).expect("an answer is JSON");
            assert_eq!(difference(&own, told, ""), None, "{question:?}");
            answers.insert(advice.map(|it| (it.best.executor, it.cannot_tell.is_some(), it.poor.is_empty())));
        }
    }
    // The grid meets every kind of answer, and none.
    assert!(answers.len() > 8 && answers.contains(&None), "{answers:?}");
}

#[test]
fn the_calculator_stands_on_the_page_with_an_answer() {
    let Some(opened) = show(&fixture::run(), "calculator", "") else { return };
    let (_, answer) = opened.dom.split_once("id=\"answer\">").expect("there is a place for the answer");
    let answer = answer.split("</dl>").next().unwrap_or_default();
    assert!(answer.starts_with("<dt>Take</dt><dd class=\"\">thread with 2 workers</dd>"), "{answer}");
    assert!(answer.contains("ThreadPoolExecutor::new(2)"), "{answer}");
}
