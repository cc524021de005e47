//! SHA-256 of several files at once, read in small pieces: work for the CPU. Stops at the first file that cannot be read
//! (`try_map`).
//!
//! ```sh
//! cargo run -p workloads --example hashing                         # files made for this
//! cargo run --release -p workloads --example hashing -- FILE...    # yours
//! ```

use std::{
    error::Error,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use executor_core::{Executor, ProcessPoolExecutor, ThreadPoolExecutor};
use sha2::{Digest, Sha256};

/// Bytes that are read at a time, so that a file of any size takes this much memory.
const CHUNK: usize = 4096;

fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = [0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => hasher.update(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

/// The task: owned values in, owned values out, and an error that may cross a process border.
fn hash_file(path: PathBuf) -> Result<(PathBuf, String), String> {
    match digest(&path) {
        Ok(digest) => Ok((path, digest)),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn run(executor: &impl Executor, files: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    for hashed in executor.try_map(hash_file, files.to_vec()) {
        let (path, digest) = hashed?;
        println!("  {digest}  {}", path.display());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    executor_core::init();

    let directory = tempfile::tempdir()?;
    let mut files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        for (name, fill) in [("large_file1.bin", 1), ("large_file2.bin", 2), ("large_file3.bin", 3)] {
            let path = directory.path().join(name);
            fs::write(&path, vec![fill; 1 << 20])?;
            files.push(path);
        }
    }

    println!("in threads:");
    run(&ThreadPoolExecutor::new(4)?, &files)?;
    println!("in processes:");
    run(&ProcessPoolExecutor::new(4)?, &files)?;
    Ok(())
}
