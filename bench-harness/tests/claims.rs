//! `lab claims`: the claims that are about what happens, and what the command prints of them.

use std::{path::Path, process::Command};

use reports::model::{Claim, ClaimVerdict, Run};
use serde_json::Value;

fn lab(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_lab")).current_dir(folder).args(arguments).output().unwrap()
}

/// Judges these claims by one run of each; what was printed as JSON, and the run.
fn judged(only: &str) -> (Value, Run) {
    let folder = tempfile::tempdir().unwrap();
    // Other tests run beside this one.
    let arguments =
        ["claims", "--only", only, "--quick", "--reps", "1", "--accept-unfit", "--out", "run", "--format", "json"];
    let output = lab(folder.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap(), reports::load(folder.path().join("run")).unwrap())
}

#[test]
fn what_happens_is_as_claimed_or_under_a_condition_or_refuted() {
    let (_, run) = judged("1,4,5,7,8,9,24,25,26,27,28,29,30,31,32");
    assert_eq!(run.claims.len(), 15);
    for Claim { number, verdict, seen, timed, .. } in &run.claims {
        let is_expected = match number {
            24 | 28 | 30 => matches!(verdict, ClaimVerdict::Conditional { .. }),
            32 => *verdict == ClaimVerdict::Refuted || !cfg!(target_os = "linux"),
            _ => *verdict == ClaimVerdict::Supported,
        };
        assert!(is_expected && !timed, "claim {number}: {verdict:?} {seen}");
    }
}

#[test]
fn some_claims_are_printed_as_json_with_the_command_that_judges_them_again() {
    let (printed, run) = judged("16,4");
    let claims = printed["claims"].as_array().unwrap();
    assert_eq!(claims.iter().map(|claim| claim["number"].as_u64()).collect::<Vec<_>>(), [Some(4), Some(16)]);
    assert_eq!(claims[0]["verdict"]["kind"], "supported");
    // One sample has no interval.
    assert_eq!(claims[1]["verdict"]["kind"], if run.host.cores < 2 { "untestable" } else { "unknown" }, "{printed}");
    assert!(claims[1]["command"].as_str().unwrap().starts_with("cargo lab claims --only 16 --quick --seed "));
    assert!(run.command.contains("claims --only 16,4 --reps 1 --quick --seed"), "{}", run.command);
}

#[test]
fn a_claim_that_is_none_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let output = lab(folder.path(), &["claims", "--only", "33"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1..=32"));
}
