//! What ARCHITECTURE.md promises, and what is not so.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::graph::{self, Needs};

/// The promises.
#[derive(Debug, Default, PartialEq)]
pub struct House {
    /// Files that may need each other.
    pub pairs: BTreeSet<BTreeSet<PathBuf>>,
    /// By the folder of a crate: its rooms, from the lowest floor up. A room is a file or a folder.
    pub floors: BTreeMap<PathBuf, Vec<Vec<String>>>,
}

impl House {
    /// Reads the rows ``| `a.rs` | `b.rs` | why |`` of the section on pairs, and the numbered lists of the sections
    /// ``Floors of `folder` ``.
    pub fn read(document: &str) -> Result<Self, String> {
        let mut house = Self::default();
        let (mut in_pairs, mut floors_of) = (false, None);
        for line in document.lines() {
            if let Some(heading) = line.strip_prefix('#') {
                let heading = heading.trim_start_matches('#').trim();
                in_pairs = heading.starts_with("Pairs");
                floors_of = heading.strip_prefix("Floors of").and_then(|of| quoted(of).next()).map(PathBuf::from);
                if let Some(of) = &floors_of {
                    house.floors.insert(of.clone(), Vec::new());
                }
            } else if in_pairs && line.starts_with("| `") {
                let mut cells = line.split('|').skip(1).map(str::trim);
                let mut file = || cells.next().and_then(|cell| quoted(cell).next()).map(PathBuf::from);
                let (Some(one), Some(other)) = (file(), file()) else { return Err(format!("this is no pair: {line}")) };
                if cells.next().is_none_or(str::is_empty) {
                    return Err(format!("a pair without a reason: {line}"));
                }
                house.pairs.insert(BTreeSet::from([one, other]));
            } else if let Some(of) = &floors_of
                && line.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok())
            {
                let rooms = quoted(line).map(str::to_owned).collect();
                house.floors.get_mut(of).ok_or("floors of nothing")?.push(rooms);
            }
        }
        Ok(house)
    }

    /// What is not as promised, in words.
    pub fn faults(&self, needs: &Needs) -> Vec<String> {
        let mut faults = Vec::new();
        let circles = graph::circles(needs);
        for circle in circles.iter().filter(|circle| !self.pairs.contains(*circle)) {
            faults.push(format!("{} files need each other in a circle:", circle.len()));
            for file in circle {
                for (other, names) in needs[file].iter().filter(|(other, _)| circle.contains(*other)) {
                    faults.push(format!("    {} -> {} ({})", file.display(), other.display(), words(names)));
                }
            }
        }
        for pair in self.pairs.iter().filter(|pair| !circles.contains(*pair)) {
            let files: Vec<_> = pair.iter().map(|file| file.display().to_string()).collect();
            faults.push(format!("these need each other no longer, so the pair is to go: {}", files.join(", ")));
        }
        for (folder, floors) in &self.floors {
            let mut unused: BTreeSet<&String> = floors.iter().flatten().collect();
            for (file, needed) in needs {
                let Some((room, floor)) = place(folder, floors, file) else {
                    let only_names = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| file.ends_with(name));
                    if file.starts_with(folder) && !only_names {
                        faults.push(format!("{} is on no floor", file.display()));
                    }
                    continue;
                };
                unused.remove(room);
                for (other, names) in needed {
                    if place(folder, floors, other).is_some_and(|(_, above)| above > floor) {
                        let (file, other) = (file.display(), other.display());
                        faults.push(format!("{file} needs what is on a higher floor: {other} ({})", words(names)));
                    }
                }
            }
            faults.extend(unused.iter().map(|room| format!("there is no room `{room}` in {}", folder.display())));
        }
        faults
    }
}

fn words(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// The room of a file, and its floor: that with the longest name, if a room stands within another one.
fn place<'a>(folder: &Path, floors: &'a [Vec<String>], file: &Path) -> Option<(&'a String, usize)> {
    let within = file.strip_prefix(folder).ok()?.with_extension("");
    let rooms = floors.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (room, floor)));
    rooms.filter(|(room, _)| within.starts_with(room)).max_by_key(|(room, _)| room.len())
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tree::Crate;

    const DOCUMENT: &str = "\
## Pairs of files

| one | other | why |
|---|---|---|
| `src/a.rs` | `src/b.rs` | one thing |

### Floors of `src`

1. `a`, `b`
2. `upper`
";

    /// What is wrong with a crate of these files.
    fn faults(document: &str, files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let needs = graph::needs(&Crate::read(&folder.path().join("src/lib.rs")).unwrap());
        let relative = |file: &PathBuf| file.strip_prefix(folder.path()).unwrap().to_owned();
        let needs = needs.iter().map(|(file, needed)| {
            (relative(file), needed.iter().map(|(other, names)| (relative(other), names.clone())).collect())
        });
        House::read(document).unwrap().faults(&needs.collect())
    }

    const LIB: (&str, &str) = ("src/lib.rs", "mod a; mod b; mod upper;");
    const UPPER: (&str, &str) = ("src/upper/mod.rs", "mod c; pub use c::C; pub use crate::a::A;");
    const PAIR: [(&str, &str); 2] =
        [("src/a.rs", "pub struct A; use crate::b::B;"), ("src/b.rs", "pub struct B; use super::a::A;")];

    #[test]
    fn a_pair_that_is_named_and_arrows_that_go_down_are_as_promised() {
        let c = ("src/upper/c.rs", "pub struct C(crate::b::B);");
        assert_eq!(faults(DOCUMENT, &[LIB, UPPER, PAIR[0], PAIR[1], c]), [""; 0]);
    }

    #[test]
    fn a_circle_that_goes_through_a_re_export_is_found() {
        let through = ("src/b.rs", "pub struct B; use crate::upper::A;");
        let c = ("src/upper/c.rs", "pub struct C;");
        let found = faults("", &[LIB, UPPER, PAIR[0], through, c]);
        assert_eq!(found[0], "2 files need each other in a circle:");
        assert_eq!(found[1..], ["    src/a.rs -> src/b.rs (B)", "    src/b.rs -> src/a.rs (A)"]);
    }

    #[test]
    fn what_only_tests_need_is_none() {
        let b = ("src/b.rs", "pub struct B; #[cfg(all(test, not(loom)))] mod tests { use super::super::a::A; }");
        let c = ("src/upper/c.rs", "pub struct C;");
        assert_eq!(faults("", &[LIB, UPPER, PAIR[0], b, c]), [""; 0]);
    }

    #[test]
    fn an_arrow_upwards_a_stale_pair_and_a_room_that_is_gone_are_faults() {
        let b = ("src/b.rs", "pub struct B(crate::upper::C);");
        let c = ("src/upper/c.rs", "pub struct C;");
        let document = DOCUMENT.replace("`upper`", "`upper`, `attic`");
        assert_eq!(
            faults(&document, &[LIB, UPPER, PAIR[0], b, c]),
            [
                "these need each other no longer, so the pair is to go: src/a.rs, src/b.rs",
                "src/b.rs needs what is on a higher floor: src/upper/c.rs (C)",
                "there is no room `attic` in src",
            ]
        );
    }

    #[test]
    fn a_pair_needs_a_reason() {
        assert!(House::read("## Pairs\n| `a.rs` | `b.rs` | |\n").is_err());
    }
}
