//! The workload on lists of files and of words.

use std::{fs, path::Path};

use super::Spec;
use crate::{Digest, Place, PrepareError, Workload};

/// A spec that has begun, with its folder.
fn begun(words: &[&str], entries: &[&Path]) -> (Spec, Box<dyn std::any::Any>) {
    let words: Vec<_> = words.iter().map(|word| word.into()).collect();
    let mut spec = Spec {
        words: super::program::words(&words).unwrap(),
        entries: entries.iter().map(|entry| entry.to_path_buf()).collect(),
        timeout_s: 600,
        ..Spec::default()
    };
    let folder = spec.begin(&|_| unreachable!()).unwrap().unwrap();
    (spec, folder)
}

/// The outputs of all tasks, with their digest.
fn run(spec: &Spec) -> (Vec<<Spec as Workload>::Output>, String) {
    let prepared = spec.prepare(&Place { data: Path::new(""), again: true }).unwrap();
    let outputs: Vec<_> = prepared.items.into_iter().map(Spec::run).collect();
    let mut digest = Digest::new();
    outputs.iter().for_each(|output| spec.add_to(&mut digest, output));
    (outputs, digest.finish())
}

fn reason(spec: &Spec) -> String {
    run(spec).0.remove(0).unwrap_err().to_string()
}

#[test]
fn output_is_beside_a_link_to_the_input_and_goes_with_its_run() {
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("-a b.txt");
    fs::write(&input, "x").unwrap();
    let (mut spec, folder) = begun(&["sh", "-c", "cat \"$0\"; cp \"$0\" \"$0.copy\"; ls -A", "{}"], &[&input]);
    spec.outputs = vec!["{}.copy".into()];
    let (outputs, digest) = run(&spec);
    let finished = outputs[0].as_ref().unwrap();
    assert_eq!(fs::read_to_string(&finished.stdout).unwrap(), "x-a b.txt\n-a b.txt.copy\n");
    assert_eq!(fs::read_to_string(&finished.outputs[0]).unwrap(), "x");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing beside the user's file");
    assert_eq!(run(&spec).1, digest, "a second run begins with empty folders");

    fs::write(&input, "y").unwrap();
    assert_ne!(run(&spec).1, digest);
    let first = finished.outputs[0].clone();
    drop(folder);
    assert!(!first.exists() && !spec.folder.exists() && input.exists());
}

#[test]
fn the_content_of_output_files_is_compared_and_standard_output_unless_it_is_ignored() {
    let words = |text: &str| format!("echo {text}; echo {text} > file");
    let digest = |script: &str, ignore_stdout, outputs: &[&str]| {
        let (mut spec, _folder) = begun(&["sh", "-c", script, "{}"], &[Path::new("1")]);
        spec.ignore_stdout = ignore_stdout;
        spec.outputs = outputs.iter().map(|output| output.into()).collect();
        run(&spec).1
    };
    assert_ne!(digest(&words("a"), false, &[]), digest(&words("b"), false, &[]));
    assert_eq!(digest(&words("a"), true, &[]), digest(&words("b"), true, &[]));
    assert_ne!(digest(&words("a"), true, &["file"]), digest(&words("b"), true, &["file"]));
}

#[test]
fn a_copy_can_be_changed_and_has_the_time_of_its_original() {
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("a");
    fs::write(&input, "x").unwrap();
    let (mut spec, _folder) = begun(&["sh", "-c", "stat -c %y \"$0\"; echo y >> \"$0\"", "{}"], &[&input]);
    spec.copy = true;
    let (outputs, digest) = run(&spec);
    assert!(outputs[0].is_ok(), "{outputs:?}");
    assert_eq!(run(&spec).1, digest);
    assert_eq!(fs::read_to_string(&input).unwrap(), "x");
}

#[test]
fn failures_name_the_entry_the_command_and_the_cure() {
    let one = [Path::new("17")];
    let (spec, _folder) = begun(&["sh", "-c", "echo no such color >&2; exit 3", "{}"], &one);
    let text = reason(&spec);
    assert!(
        text.starts_with("17: `sh -c echo no such color >&2; exit 3 17` ended with exit code 3 (no such color)"),
        "{text}"
    );
    assert!(text.contains("whole path"), "{text}");

    let (spec, _folder) = begun(&["sh", "-c", "kill -9 $$", "{}"], &one);
    assert!(reason(&spec).contains("was ended by signal 9"), "{}", reason(&spec));

    let (mut spec, _folder) = begun(&["true"], &one);
    spec.outputs = vec!["{}.png".into()];
    assert!(reason(&spec).contains("has not written the file 17.png of --output"), "{}", reason(&spec));

    let (mut spec, _folder) = begun(&["sleep"], &[Path::new("600")]);
    spec.timeout_s = 1;
    assert!(reason(&spec).contains("`sleep 600` has not ended within 1 s: give it more with --timeout"));
    assert!(reason(&spec).contains("has not ended"), "the next run tries again, unless a hanging command ends it");
}

#[test]
fn output_files_outside_of_the_commands_folder_are_refused() {
    for output in ["/tmp/{}", "../{}"] {
        let (mut spec, _folder) = begun(&["true"], &[Path::new("1")]);
        spec.outputs = vec![output.into()];
        let refused = spec.prepare(&Place { data: Path::new(""), again: false }).unwrap_err();
        assert!(matches!(&refused, PrepareError::Usage { reason } if reason.contains("in the folder")), "{refused}");
    }
}

#[test]
fn a_program_that_is_missing_is_told_before_anything_runs() {
    let refused = |words: &[&str]| {
        let words: Vec<_> = words.iter().map(|word| word.into()).collect();
        super::program::words(&words).unwrap_err().to_string()
    };
    assert!(refused(&[]).contains("-- gzip"));
    assert!(refused(&["no-such-program", "{}"]).contains("no program no-such-program in the folders of PATH: install"));
    assert!(refused(&["./no-such-program"]).contains("correct its path"));
    assert!(refused(&["{}"]).contains("is the program"));
    // A file of the current folder, which is that of the crate, and no program.
    assert!(refused(&["Cargo.toml"]).contains("is ./Cargo.toml"));
}

#[test]
fn files_of_the_current_folder_are_given_with_their_whole_path_and_the_entry_comes_last() {
    let words: Vec<_> = ["cat", "Cargo.toml", "src"].iter().map(Into::into).collect();
    let here = std::env::current_dir().unwrap();
    assert_eq!(
        super::program::words(&words).unwrap(),
        ["cat".into(), here.join("Cargo.toml"), "src".into(), "{}".into()]
    );
}
