//! Notes which compiler builds the lab, and from which revision: runs by different compilers are not comparable, and the folder
//! in which the lab runs later does not say from which sources it was built.

use std::{path::Path, process::Command};

fn main() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output();
    let version = version
        .map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo::rustc-env=LAB_RUSTC={version}");
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(revision) = revision() {
        println!("cargo::rustc-env=LAB_REVISION={revision}");
    }
}

/// The revision of the checkout that has this crate in it, with `-dirty` when it has changes. A copy of the sources in the
/// repository of another project has none, since it is not one of that repository's files.
fn revision() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    // A commit moves the branch that HEAD names, and a checkout HEAD itself.
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(place) = git(&["rev-parse", "--git-path", name]).filter(|place| Path::new(place).exists()) {
            println!("cargo::rerun-if-changed={place}");
        }
    }
    // A change of the sources makes the revision a dirty one.
    for name in ["Cargo.toml", "Cargo.lock", "bench-harness/src", "executor-core/src", "reports", "workloads/src"] {
        println!("cargo::rerun-if-changed=../{name}");
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12"])
}

/// The output of a git command, in one line.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
