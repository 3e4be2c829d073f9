//! From a path to the module that defines what it names.

use std::collections::BTreeSet;

use super::source::Module;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A module of this crate.
    Module(usize),
    /// Something that a module of this crate defines.
    Item(usize),
    /// Something that this crate does not define.
    Elsewhere,
}

/// The module that defines what `segments` name in module `from`. Re-exports are followed: what counts is where a
/// thing is written, not by which name it is reached.
pub(crate) fn resolve(modules: &[Module], from: usize, segments: &[String]) -> Found {
    Resolver { modules, seen: BTreeSet::new() }.walk(from, segments)
}

struct Resolver<'a> {
    modules: &'a [Module],
    /// Look-ups under way: two re-exports may name each other.
    seen: BTreeSet<(usize, Vec<String>)>,
}

impl Resolver<'_> {
    fn walk(&mut self, from: usize, segments: &[String]) -> Found {
        let Some((first, rest)) = segments.split_first() else { return Found::Module(from) };
        if !self.seen.insert((from, segments.to_vec())) {
            return Found::Elsewhere;
        }
        let found = match first.as_str() {
            "crate" => self.within(0, rest),
            "self" => self.within(from, rest),
            "super" => {
                let mut parent = self.modules[from].parent.unwrap_or(0);
                let above = rest.iter().take_while(|segment| *segment == "super").count();
                for _ in 0..above {
                    parent = self.modules[parent].parent.unwrap_or(0);
                }
                self.within(parent, &rest[above..])
            }
            _ if self.modules[from].names_here(first) => self.within(from, segments),
            _ => Found::Elsewhere,
        };
        self.seen.remove(&(from, segments.to_vec()));
        found
    }

    /// Follows the rest of a path from a module on.
    fn within(&mut self, module: usize, rest: &[String]) -> Found {
        let modules = self.modules;
        let here = &modules[module];
        let Some((first, after)) = rest.split_first() else { return Found::Module(module) };
        // A function or type may have the name of a module beside it; a longer path means the module.
        let is_item = here.items.contains(first);
        if let Some(child) = here.children.get(first)
            && !(is_item && after.is_empty())
        {
            return self.within(*child, after);
        }
        if is_item {
            return Found::Item(module);
        }
        let mut is_import = false;
        for import in here.uses.iter().filter(|import| import.alias.as_ref() == Some(first)) {
            is_import = true;
            match self.walk(module, &import.reference.segments) {
                Found::Module(found) => return self.within(found, after),
                Found::Item(found) => return Found::Item(found),
                // Perhaps the same name in another namespace.
                Found::Elsewhere => {}
            }
        }
        if is_import {
            return Found::Elsewhere;
        }
        for glob in here.uses.iter().filter(|import| import.alias.is_none()) {
            if let Found::Module(found) = self.walk(module, &glob.reference.segments)
                && found != module
                && modules[found].names_here(first)
            {
                return self.within(found, rest);
            }
        }
        // Something that a macro defines.
        Found::Item(module)
    }
}
