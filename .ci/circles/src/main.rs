//! Checks what ARCHITECTURE.md says of files: which of them may need one another, and which rooms stand above which.
//!
//! `circles ARCHITECTURE.md CRATE_ROOT...` fails where files need each other in a circle that is no pair of the document, where a
//! pair of the document is none any more, and where a file needs one of a higher floor.
//!
//! A file needs the one that defines what it names: re-exports are followed, and are no need of the file that has them. That a
//! module has another one within it is none either. What only tests have is left out.

mod graph;
mod house;
mod tree;

use std::{env, fs, io, path::Path, process::ExitCode};

use graph::Needs;
use house::House;
use tree::Crate;

fn main() -> ExitCode {
    match run() {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            faults.iter().for_each(|fault| println!("{fault}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("circles: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> io::Result<Vec<String>> {
    let mut arguments = env::args().skip(1);
    let usage = || io::Error::other("usage: circles ARCHITECTURE.md CRATE_ROOT...");
    let document = arguments.next().ok_or_else(usage)?;
    let house = House::read(&fs::read_to_string(&document)?)
        .map_err(|fault| io::Error::other(format!("{document}: {fault}")))?;
    let mut needs = Needs::new();
    let roots: Vec<String> = arguments.collect();
    for root in &roots {
        needs.extend(graph::needs(&Crate::read(Path::new(root))?));
    }
    println!("{} files of {} crates, {} pairs that may need one another", needs.len(), roots.len(), house.pairs.len());
    Ok(house.faults(&needs))
}
