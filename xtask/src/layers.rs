//! The layer check: imports lead down, and close no circle.
//!
//! It reads every crate of the workspace (its library and programs, without tests), and sees arrows on three levels:
//!
//! - **Crates**, by the dependencies in `Cargo.toml`. Each has a rank in [`ranks::CRATES`].
//! - **Top-level modules** of a crate; `lib` and `main` are the root files. Those of the two programs have their
//!   ranks in [`ranks::MODULES`]. In other crates they need only be free of circles.
//! - **Files** of a crate: no circle. One arrow does not count here: what a module takes from the module directly
//!   around it (`super::`), which is its scope and may in turn use it. Further out it counts.
//!
//! An import is a `use`, or any other path that names a module or something in it, also in a macro. It counts for the
//! file that defines the name, whatever re-exports are on the way. So a module may re-export what its own modules
//! define; that alone is not an import, but if it uses the name itself, it is.

mod graph;
mod imports;
mod ranks;
mod resolve;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use self::graph::Graph;
use self::imports::{Crate, Import, crates, imports, top_module};

/// Names of equal rank, from the bottom up.
type Order<'a> = &'a [&'a [&'a str]];

/// The ranks that a workspace is checked by.
#[derive(Debug, Clone, Copy)]
struct Ranks<'a> {
    /// Of crates; of none, if that is empty.
    crates: Order<'a>,
    modules: &'a [(&'a str, Order<'a>)],
}

/// The ranks of this workspace.
const RANKS: Ranks<'static> = Ranks { crates: ranks::CRATES, modules: ranks::MODULES };

/// Prints the layers of the workspace, and fails if an import breaks the rules.
pub(crate) fn run(root: &Path) -> Result<()> {
    let crates = crates(root)?;
    let mut graph = Graph::default();
    for package in &crates {
        graph.add(&package.name);
        package.needs.iter().for_each(|needed| graph.point(&package.name, needed));
    }
    print("crates", &graph);
    for package in &crates {
        let mut graph = Graph::default();
        for import in imports(root, package)? {
            graph.add(&import.module);
            if import.module != import.to_module {
                graph.point(&import.module, &import.to_module);
            }
        }
        print(&package.name, &graph);
    }
    println!();
    check_workspace(root)
}

/// Fails if an import of the workspace breaks the rules.
pub(crate) fn check_workspace(root: &Path) -> Result<()> {
    let mut faults = check(root, RANKS)?;
    faults.extend(needless_ranks(root, RANKS)?);
    for fault in &faults {
        println!("{fault}");
    }
    ensure!(faults.is_empty(), "{} imports go up or close a circle, listed above", faults.len());
    println!("no import goes up, and none closes a circle");
    Ok(())
}

/// Prints names from the bottom up, each with what it imports.
fn print(title: &str, graph: &Graph) {
    let mut by_rank: Vec<(usize, String)> =
        graph.ranks().into_iter().map(|(name, rank)| (rank, name)).collect();
    by_rank.sort();
    println!("\n== {title}");
    for (rank, name) in by_rank {
        let targets: Vec<&str> = graph.targets(&name).collect();
        println!("{rank:>3} {name} -> {}", targets.join(" "));
    }
}

/// Every import of a workspace that breaks the rules, as file, line, what is wrong, and the remedy.
fn check(root: &Path, ranks: Ranks<'_>) -> Result<Vec<String>> {
    let crates = crates(root)?;
    let mut faults = crate_faults(root, &crates, ranks)?;
    for package in &crates {
        faults.extend(import_faults(&package.name, &imports(root, package)?, ranks));
    }
    Ok(faults)
}

/// Ranks of crates and modules that do not exist.
fn needless_ranks(root: &Path, ranks: Ranks<'_>) -> Result<Vec<String>> {
    let crates = crates(root)?;
    let remedy = "remove it from xtask/src/layers/ranks.rs";
    let mut faults = Vec::new();
    for name in ranks.crates.concat() {
        if !crates.iter().any(|package| package.name == name) {
            faults.push(format!(
                "Cargo.toml:1: crate `{name}` has a rank and does not exist: {remedy}"
            ));
        }
    }
    for package in &crates {
        let mut modules = BTreeSet::new();
        for root_file in &package.roots {
            let read = source::read(root, root_file)?;
            modules.extend((0..read.len()).map(|module| top_module(&read, module)));
        }
        let order = ranks.modules.iter().find(|(name, _)| *name == package.name);
        let named = order.map(|(_, order)| order.concat()).unwrap_or_default();
        for name in named.into_iter().filter(|name| !modules.contains(*name)) {
            faults.push(format!(
                "{}:1: module `{name}` of {} has a rank and does not exist: {remedy}",
                package.roots[0].display(),
                package.name,
            ));
        }
    }
    Ok(faults)
}

/// Crates without a rank, dependencies that go up, and circles of crates.
fn crate_faults(root: &Path, crates: &[Crate], ranks: Ranks<'_>) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut graph = Graph::default();
    for package in crates {
        let manifest = std::fs::read_to_string(root.join(&package.manifest));
        let manifest =
            manifest.with_context(|| format!("cannot read {}", package.manifest.display()))?;
        let rank = rank_of(&package.name, ranks.crates);
        if rank.is_none() && !ranks.crates.is_empty() {
            faults.push(format!(
                "{}:1: crate `{}` has no rank: add it to xtask/src/layers/ranks.rs",
                package.manifest.display(),
                package.name
            ));
        }
        for needed in &package.needs {
            graph.point(&package.name, needed);
            if let Some(rank) = rank
                && let Some(other) = rank_of(needed, ranks.crates)
                && other >= rank
            {
                faults.push(format!(
                    "{}:{}: crate `{}` (rank {rank}) depends on `{needed}` (rank {other}): move what both need into \
                     a crate of a lower rank",
                    package.manifest.display(),
                    line_with(&manifest, needed),
                    package.name,
                ));
            }
        }
    }
    let of = |name: &str| crates.iter().find(|package| package.name == name);
    for circle in graph.circles() {
        let Some(package) = circle.first().and_then(|name| of(name)) else { continue };
        let needed = circle.get(1).unwrap_or(&circle[0]);
        let manifest = std::fs::read_to_string(root.join(&package.manifest))?;
        faults.push(format!(
            "{}:{}: crates depend on each other in a circle: {} -> {}: move what they share into a crate below \
             them",
            package.manifest.display(),
            line_with(&manifest, needed),
            circle.join(" -> "),
            circle[0],
        ));
    }
    Ok(faults)
}

/// The line of a manifest that names a dependency.
fn line_with(manifest: &str, needed: &str) -> usize {
    let names = |line: &str| {
        line.strip_prefix(needed).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    manifest.lines().position(names).map_or(1, |index| index + 1)
}

/// The rank of a name, from 1.
fn rank_of(name: &str, order: Order<'_>) -> Option<usize> {
    order.iter().position(|equals| equals.contains(&name)).map(|index| index + 1)
}

/// Modules without a rank, imports that go up, and circles of modules and of files.
fn import_faults(package: &str, imports: &[Import], ranks: Ranks<'_>) -> Vec<String> {
    let order = ranks.modules.iter().find(|(name, _)| *name == package).map(|(_, order)| *order);
    let mut faults = Vec::new();
    let mut modules = Graph::default();
    let mut files = Graph::default();
    let mut unranked: BTreeMap<&str, &Import> = BTreeMap::new();
    for import in imports {
        if !import.from_scope {
            files.point(&name_of(&import.file), &name_of(&import.to_file));
        }
        if import.module == import.to_module {
            continue;
        }
        let Some(order) = order else {
            modules.point(&import.module, &import.to_module);
            continue;
        };
        let (rank, other) = (rank_of(&import.module, order), rank_of(&import.to_module, order));
        for (module, rank) in [(&import.module, rank), (&import.to_module, other)] {
            if rank.is_none() {
                unranked.entry(module).or_insert(import);
            }
        }
        if let (Some(rank), Some(other)) = (rank, other)
            && other >= rank
        {
            faults.push(format!(
                "{}:{}: `{}` (rank {rank}) imports `{}` from `{}` (rank {other}): move the definition to a module of \
                 a lower rank than {rank}",
                import.file.display(),
                import.line,
                import.module,
                import.name,
                import.to_module,
            ));
        }
    }
    for (module, import) in unranked {
        faults.push(format!(
            "{}:{}: module `{module}` of {package} has no rank: add it to xtask/src/layers/ranks.rs",
            import.file.display(),
            import.line,
        ));
    }
    let by_module = |import: &Import| (import.module.clone(), import.to_module.clone());
    faults.extend(circles("modules", &modules, imports, by_module));
    let by_file = |import: &Import| (name_of(&import.file), name_of(&import.to_file));
    faults.extend(circles("files", &files, imports, by_file));
    faults
}

fn name_of(file: &Path) -> String {
    file.display().to_string()
}

/// A fault for each circle, which names an import of each of its arrows.
fn circles(
    of: &str,
    graph: &Graph,
    imports: &[Import],
    arrow: impl Fn(&Import) -> (String, String),
) -> Vec<String> {
    let mut faults = Vec::new();
    for circle in graph.circles() {
        let mut steps = Vec::new();
        for (index, from) in circle.iter().enumerate() {
            let ends = (from.clone(), circle[(index + 1) % circle.len()].clone());
            let mut names: Vec<&Import> =
                imports.iter().filter(|import| arrow(import) == ends).collect();
            names.sort_by_key(|import| (&import.file, import.line));
            if let Some(first) = names.first() {
                let named: BTreeSet<&str> =
                    names.iter().map(|import| import.name.as_str()).collect();
                let named: Vec<&str> = named.into_iter().collect();
                steps.push(format!(
                    "{}:{}: imports `{}` from {}",
                    first.file.display(),
                    first.line,
                    named.join("`, `"),
                    ends.1,
                ));
            }
        }
        faults.push(format!(
            "{}\n    in a circle of {} {of}: move what they share into one below them, or the one who uses \
             both above",
            steps.join("\n    "),
            circle.len(),
        ));
    }
    faults
}

#[cfg(test)]
mod tests;
