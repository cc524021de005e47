//! `command`: starts a program for each entry of a list, such as `convert {} {}.png`.
//!
//! A task starts the program, waits for its end and checks its exit code. The work is the program's: a worker of an executor is
//! then a place in which one program runs at a time, and `W` workers run `W` programs beside each other, as `xargs -P W` does.
//!
//! Each run of a list has a folder of its own, and in it each task has one, in which its program starts. An entry that names a
//! file or a folder is linked into it (or copied), and the placeholders stand for the name of the link. So programs that put their
//! output beside their input put it there, two runs never see each other's files, and the output has the same names in each.
//! Standard output and standard error go to files outside of the folder. What is compared is read after the time was taken.

mod item;
mod placeholder;
mod program;
mod run;
mod spec;
mod stage;
#[cfg(test)]
mod tests;
mod wait;
mod workload;

pub use item::{Finished, Item};
pub use spec::Spec;
