//! Finds circles between the files of a crate: files each of which needs all others.
//!
//! A file needs the one that defines what it names: re-exports are followed, and are no need of the file that has them. That a
//! module has another one within it is none either.

mod graph;
mod tree;

use std::{collections::BTreeSet, env, io, path::Path, process::ExitCode};

use tree::Crate;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("circles: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> io::Result<bool> {
    let mut is_good = true;
    for root in env::args().skip(1) {
        let read = Crate::read(Path::new(&root))?;
        let needs = graph::needs(&read);
        let circles = graph::circles(&needs);
        let files: BTreeSet<_> = read.modules.iter().map(|module| &module.file).collect();
        println!("{root}: {} files, {} circles", files.len(), circles.len());
        for circle in &circles {
            is_good = false;
            println!("  {} files:", circle.len());
            for file in circle {
                let within: Vec<_> = needs[file].keys().filter(|other| circle.contains(*other)).collect();
                println!("    {}", file.display());
                for other in within {
                    println!("      -> {} ({})", other.display(), needs[file][other].iter().cloned().collect::<Vec<_>>().join(", "));
                }
            }
        }
    }
    Ok(is_good)
}
