//! Crates of the workspace, and the imports between the files of each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::resolve::{self, Found};
use super::source::{self, Module, Reference};

/// A crate of the workspace.
#[derive(Debug)]
pub(super) struct Crate {
    pub(super) name: String,
    /// Its `Cargo.toml`, relative to the repository.
    pub(super) manifest: PathBuf,
    /// Root files of its library and programs, relative to the repository; the library first.
    pub(super) roots: Vec<PathBuf>,
    /// Crates of the workspace that it needs, other than for its tests.
    pub(super) needs: BTreeSet<String>,
}

/// An import within a crate, from one file to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) module: String,
    pub(super) name: String,
    pub(super) to_file: PathBuf,
    pub(super) to_module: String,
    /// Whether it leads to the module directly around.
    pub(super) from_scope: bool,
}

/// The crates of the workspace at `root`.
pub(super) fn crates(root: &Path) -> Result<Vec<Crate>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        manifest_path: PathBuf,
        targets: Vec<Target>,
        dependencies: Vec<Dependency>,
    }
    #[derive(Deserialize)]
    struct Target {
        kind: Vec<String>,
        src_path: PathBuf,
    }
    #[derive(Deserialize)]
    struct Dependency {
        name: String,
        kind: Option<String>,
        path: Option<PathBuf>,
    }
    let mut cargo = Command::new(crate::step::cargo_program());
    cargo.current_dir(root).args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let output = cargo.output().context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo metadata failed ({}): {said}", output.status);
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("unexpected output of cargo metadata")?;
    let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
    let mut crates = Vec::new();
    for package in metadata.packages {
        let of_kind = |kind: &'static str| {
            let targets = package.targets.iter();
            let matching = targets.filter(move |target| target.kind.iter().any(|of| of == kind));
            matching.map(|target| relative(&target.src_path))
        };
        let roots = of_kind("lib").chain(of_kind("proc-macro")).chain(of_kind("bin")).collect();
        let needs = package
            .dependencies
            .iter()
            .filter(|needed| needed.path.is_some() && needed.kind.as_deref() != Some("dev"));
        crates.push(Crate {
            manifest: relative(&package.manifest_path),
            roots,
            needs: needs.map(|needed| needed.name.clone()).collect(),
            name: package.name,
        });
    }
    crates.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(crates)
}

/// The imports of a crate that lead from one of its files to another.
pub(super) fn imports(root: &Path, package: &Crate) -> Result<Vec<Import>> {
    let mut imports = BTreeSet::new();
    for root_file in &package.roots {
        let modules = source::read(root, root_file)?;
        for from in 0..modules.len() {
            for (reference, found) in references(&modules, from) {
                let (Found::Module(to) | Found::Item(to)) = found else { continue };
                let (here, there) = (&modules[from], &modules[to]);
                if here.file != there.file {
                    imports.insert(Import {
                        file: here.file.clone(),
                        line: reference.line,
                        module: top_module(&modules, from),
                        name: reference.segments.join("::"),
                        to_file: there.file.clone(),
                        to_module: top_module(&modules, to),
                        from_scope: here.parent == Some(to),
                    });
                }
            }
        }
    }
    Ok(imports.into_iter().collect())
}

/// What a module imports.
fn references(modules: &[Module], from: usize) -> Vec<(&Reference, Found)> {
    let module = &modules[from];
    let resolved = |reference: &Reference| resolve::resolve(modules, from, &reference.segments);
    let mut references = Vec::new();
    for import in &module.uses {
        let found = resolved(&import.reference);
        let only_passed_on = import.is_public
            && match found {
                Found::Module(to) | Found::Item(to) => is_inside(modules, to, from),
                Found::Elsewhere => true,
            }
            && import.alias.as_ref().is_none_or(|alias| !module.names.contains(alias));
        if !only_passed_on {
            references.push((&import.reference, found));
        }
    }
    references.extend(module.paths.iter().map(|reference| (reference, resolved(reference))));
    references
}

/// Whether a module is one of those of another, at any depth.
fn is_inside(modules: &[Module], inner: usize, outer: usize) -> bool {
    let parent = modules[inner].parent;
    parent.is_some_and(|parent| parent == outer || is_inside(modules, parent, outer))
}

/// The top-level module that a module is part of, or the name of the root's file.
pub(super) fn top_module(modules: &[Module], mut module: usize) -> String {
    while let Some(parent) = modules[module].parent {
        if parent == 0 {
            let own = modules[0].children.iter().find(|(_, child)| **child == module);
            return own.map_or_else(String::new, |(name, _)| name.clone());
        }
        module = parent;
    }
    modules[0].file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
