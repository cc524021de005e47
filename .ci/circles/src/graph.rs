//! Which file needs which, and where that goes in circles.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::tree::{Crate, Import, ModuleId};

/// For each file: the files that it needs, and for which names.
pub type Needs = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// What a path leads to.
enum Found {
    Module(ModuleId),
    /// Something that this module defines, by this name.
    Item(ModuleId, String),
}

impl Crate {
    /// Follows a path from a module. `None` where it leads out of the crate. `trail`: imports that are being followed.
    fn resolve(&self, from: ModuleId, path: &[String], trail: &mut Vec<(ModuleId, String)>) -> Option<Found> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => 0,
            "self" => from,
            "super" => self.modules[from].parent?,
            name => match self.lookup(from, name, trail)? {
                Found::Module(module) => module,
                item => return Some(item),
            },
        };
        while let Some((name, after)) = rest.split_first() {
            rest = after;
            at = match name.as_str() {
                "super" => self.modules[at].parent?,
                name => match self.lookup(at, name, trail)? {
                    Found::Module(module) => module,
                    item => return Some(item),
                },
            };
        }
        Some(Found::Module(at))
    }

    /// What a name stands for in a module.
    fn lookup(&self, at: ModuleId, name: &str, trail: &mut Vec<(ModuleId, String)>) -> Option<Found> {
        let module = &self.modules[at];
        if let Some(child) = module.children.get(name) {
            return Some(Found::Module(*child));
        }
        if module.items.contains(name) {
            return Some(Found::Item(at, name.to_owned()));
        }
        let step = (at, name.to_owned());
        if trail.contains(&step) {
            return None;
        }
        trail.push(step);
        let mut found = None;
        for Import { path, .. } in module.imports.get(name).into_iter().flatten() {
            found = found.or_else(|| self.resolve(at, path, trail));
        }
        for Import { path, .. } in &module.globs {
            found = found.or_else(|| match self.resolve(at, path, trail)? {
                Found::Module(target) if target != at => self.lookup(target, name, trail),
                // The variants of an enum.
                _ => None,
            });
        }
        trail.pop();
        found
    }
}

/// Looks up all that every module names.
pub fn needs(read: &Crate) -> Needs {
    let mut needs = Needs::new();
    for (id, module) in read.modules.iter().enumerate() {
        let needed = needs.entry(module.file.clone()).or_default();
        let imported = module.imports.values().flatten().chain(&module.globs);
        let imported = imported.filter(|import| !import.is_reexport).map(|import| &import.path);
        for path in imported.chain(&module.paths) {
            if let Some(Found::Item(definer, name)) = read.resolve(id, path, &mut Vec::new()) {
                let file = &read.modules[definer].file;
                if *file != module.file {
                    needed.entry(file.clone()).or_default().insert(name);
                }
            }
        }
    }
    needs
}

/// Files that need each other, directly or not; the largest circle first.
pub fn circles(needs: &Needs) -> Vec<BTreeSet<PathBuf>> {
    let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> = needs.keys().map(|file| (file, reach(needs, file))).collect();
    let mut circles = BTreeSet::new();
    for (file, others) in &reached {
        if others.contains(file) {
            let circle = others.iter().filter(|other| reached[**other].contains(file));
            circles.insert(circle.map(|file| (*file).clone()).collect::<BTreeSet<_>>());
        }
    }
    let mut circles: Vec<_> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

fn reach<'a>(needs: &'a Needs, from: &PathBuf) -> BTreeSet<&'a PathBuf> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&PathBuf> = needs[from].keys().collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(needs[file].keys());
        }
    }
    reached
}
