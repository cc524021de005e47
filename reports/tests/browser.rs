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

use reports::model::Run;

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
    let Some(cut) = cut_off(&fixture::run(), 688, print) else { return };
    assert_eq!(cut, "");
}

#[test]
fn on_a_small_screen_every_picture_is_whole_but_one_that_says_so() {
    let Some(cut) = cut_off(&fixture::run(), 500, str::to_owned) else { return };
    assert_eq!(cut, "efficiency-curves");
    assert!(include_str!("../templates/report.css").contains("Scroll the picture sideways"));
}
