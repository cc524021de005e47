//! The modules of a crate as its files have them: what each defines, imports and names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, File, Item, Meta, UseTree, Visibility,
    punctuated::Punctuated,
    visit::{self, Visit},
};

/// A module's place in a [`Crate`].
pub type ModuleId = usize;

/// A crate, without what only its tests have.
pub struct Crate {
    /// The first one is the root.
    pub modules: Vec<Module>,
}

/// One module, of a file of its own or within one.
pub struct Module {
    /// Of which file it is a part.
    pub file: PathBuf,
    pub parent: Option<ModuleId>,
    pub children: BTreeMap<String, ModuleId>,
    /// Names that are defined here.
    pub items: BTreeSet<String>,
    /// What other names stand for, and whether that is a re-export.
    pub imports: BTreeMap<String, Vec<Import>>,
    /// Modules of which every name may be meant.
    pub globs: Vec<Import>,
    /// Paths of more than one segment that are written here.
    pub paths: Vec<Vec<String>>,
}

#[derive(Clone)]
pub struct Import {
    pub path: Vec<String>,
    pub is_reexport: bool,
}

impl Crate {
    /// Reads the crate with this root file, and the files of its modules.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut modules = Self { modules: Vec::new() };
        let directory = root.parent().unwrap_or(Path::new("")).to_owned();
        modules.add_file(root, directory, None)?;
        Ok(modules)
    }

    /// `directory` is where the files of its children are.
    fn add_file(&mut self, path: &Path, directory: PathBuf, parent: Option<ModuleId>) -> io::Result<ModuleId> {
        let text = fs::read_to_string(path).map_err(|error| with_path(path, &error))?;
        let parsed: File = syn::parse_file(&text).map_err(|error| {
            let start = error.span().start();
            io::Error::other(format!("{}:{}: {error}", path.display(), start.line))
        })?;
        self.add(path, directory, parent, &parsed.items)
    }

    fn add(
        &mut self,
        file: &Path,
        directory: PathBuf,
        parent: Option<ModuleId>,
        items: &[Item],
    ) -> io::Result<ModuleId> {
        let id = self.modules.len();
        let mut module = Module {
            file: file.to_owned(),
            parent,
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
            paths: Vec::new(),
        };
        let shipped: Vec<&Item> = items.iter().filter(|item| !is_for_tests(attributes(item))).collect();
        for item in &shipped {
            match item {
                Item::Use(item) => {
                    let is_reexport = !matches!(item.vis, Visibility::Inherited);
                    module.import(&item.tree, &mut Vec::new(), is_reexport);
                }
                Item::Mod(_) => {}
                item => {
                    module.items.extend(name(item));
                    Paths(&mut module.paths).visit_item(item);
                }
            }
        }
        self.modules.push(module);
        for item in shipped {
            let Item::Mod(item) = item else { continue };
            let (name, inner) = (item.ident.to_string(), directory.join(item.ident.to_string()));
            let child = match &item.content {
                Some((_, items)) => self.add(file, inner, Some(id), items)?,
                None => {
                    let beside = [inner.with_extension("rs"), inner.join("mod.rs")];
                    let path = beside.iter().find(|path| path.exists()).ok_or_else(|| {
                        io::Error::other(format!("{}: there is no file for `mod {name}`", file.display()))
                    })?;
                    self.add_file(path, inner, Some(id))?
                }
            };
            // The same name may be there once for each platform: the first is as good as the other.
            self.modules[id].children.entry(name).or_insert(child);
        }
        Ok(id)
    }
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Module {
    fn import(&mut self, tree: &UseTree, path: &mut Vec<String>, is_reexport: bool) {
        match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                self.import(&tree.tree, path, is_reexport);
                path.pop();
            }
            UseTree::Name(tree) => {
                let name = tree.ident.to_string();
                if name != "self" {
                    path.push(name.clone());
                }
                let known_as = path.last().cloned().unwrap_or_default();
                self.imports.entry(known_as).or_default().push(Import { path: path.clone(), is_reexport });
                if name != "self" {
                    path.pop();
                }
            }
            UseTree::Rename(tree) => {
                let mut path = path.clone();
                if tree.ident != "self" {
                    path.push(tree.ident.to_string());
                }
                self.imports.entry(tree.rename.to_string()).or_default().push(Import { path, is_reexport });
            }
            UseTree::Glob(_) => self.globs.push(Import { path: path.clone(), is_reexport }),
            UseTree::Group(tree) => tree.items.iter().for_each(|tree| self.import(tree, path, is_reexport)),
        }
    }
}

/// Collects the paths of an item.
struct Paths<'a>(&'a mut Vec<Vec<String>>);

impl Paths<'_> {
    /// Of a macro's arguments, which may be anything: what looks like a path.
    fn look_into(&mut self, tokens: proc_macro2::TokenStream) {
        use proc_macro2::TokenTree;

        let (mut path, mut colons) = (Vec::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 || path.is_empty() => {
                    path.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() && colons < 2 => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    self.0.push(std::mem::replace(&mut path, vec![ident.to_string()]));
                    colons = 0;
                    continue;
                }
                TokenTree::Group(group) => self.look_into(group.stream()),
                _ => {}
            }
            self.0.push(std::mem::take(&mut path));
            colons = 0;
        }
        self.0.push(path);
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.look_into(called.tokens.clone());
    }

    /// A `use` within a function.
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        fn leaves(tree: &UseTree, path: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
            match tree {
                UseTree::Path(tree) => {
                    path.push(tree.ident.to_string());
                    leaves(&tree.tree, path, into);
                    path.pop();
                }
                UseTree::Name(tree) => into.push([&path[..], &[tree.ident.to_string()]].concat()),
                UseTree::Rename(tree) => into.push([&path[..], &[tree.ident.to_string()]].concat()),
                UseTree::Glob(_) => into.push(path.clone()),
                UseTree::Group(tree) => tree.items.iter().for_each(|tree| leaves(tree, path, into)),
            }
        }
        leaves(&item.tree, &mut Vec::new(), self.0);
    }
}

fn name(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Macro(item) => item.ident.as_ref()?.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::TraitAlias(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether it is there only where tests, models or fuzzers are built.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<Meta>().is_ok_and(|condition| needs_tests(&condition))
    })
}

fn needs_tests(condition: &Meta) -> bool {
    let Meta::List(list) = condition else {
        return ["test", "loom", "doctest", "fuzzing"].iter().any(|name| condition.path().is_ident(name));
    };
    let Ok(parts) = list.parse_args_with(Punctuated::<Meta, syn::Token![,]>::parse_terminated) else { return false };
    match () {
        () if list.path.is_ident("all") => parts.iter().any(needs_tests),
        () if list.path.is_ident("any") => !parts.is_empty() && parts.iter().all(needs_tests),
        () => false,
    }
}
