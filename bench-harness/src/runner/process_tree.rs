//! A process and all its descendants, as `/proc` shows them.

use std::{fs, path::Path};

use super::counters;

/// The state and the parent of a process, by its folder in `/proc`.
pub(crate) fn parent_of(process: &Path) -> Option<(String, u32)> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name, in parentheses, may have spaces in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// The living children of a process.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (parent_of(&entry.path())?.1 == parent).then_some(pid)
    });
    pids.collect()
}

/// Proportional set size of the process `root` and all its descendants now, or `None` where the system does not report it.
pub(crate) fn memory(root: u32) -> Option<u64> {
    let mut sum = counters::proportional_memory_of(root)?;
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, parent_of(&entry.path())?.1))
    });
    let processes: Vec<(u32, u32)> = processes.collect();
    let command_line = |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).ok();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        let its_own = command_line(parent);
        for &(child, _) in processes.iter().filter(|(_, other)| *other == parent) {
            // A process that has not begun its program yet runs in its parent's memory (vfork), which has been counted.
            if command_line(child) != its_own {
                // A process that has ended meanwhile has none.
                sum += counters::proportional_memory_of(child).unwrap_or(0);
            }
            tree.push(child);
        }
        next += 1;
    }
    Some(sum)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn children_and_their_children_are_counted() {
        let this = std::process::id();
        // The script holds 16 MiB in a variable, says so, and waits for the end of its input.
        let script = "x=$(head -c 16777216 /dev/zero | tr '\\0' x); echo ready; read -r _";
        let mut child = Command::new("sh")
            .args(["-c", "sh -c \"$0\"; true", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        let (alone, tree) = (counters::proportional_memory_of(child.id()).unwrap(), memory(child.id()).unwrap());
        assert!(alone < 8 << 20 && tree > 16 << 20, "{alone} {tree}");
        assert!(memory(this).unwrap() > tree);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(memory(child.id()), None);
    }
}
