//! What a program said that is not what was expected.

/// The beginning of an output that is not what was expected, for an error.
pub(super) fn beginning(output: &[u8]) -> String {
    const LONGEST: usize = 80;
    let text = String::from_utf8_lossy(output);
    let line = text.lines().next().unwrap_or_default();
    let start: String = line.chars().take(LONGEST).collect();
    if start.is_empty() { "nothing".to_owned() } else { format!("{start:?}") }
}

/// Whether the system found no program of this name.
pub(super) fn is_no_program(error: &str) -> bool {
    error.contains("No such file or directory (os error 2)")
}
