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
mod ranks;
mod resolve;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use self::graph::Graph;
use self::resolve::Found;
use self::source::{Module, Reference};

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

/// A crate of the workspace.
#[derive(Debug)]
struct Crate {
    name: String,
    /// Its `Cargo.toml`, relative to the repository.
    manifest: PathBuf,
    /// Root files of its library and programs, relative to the repository; the library first.
    roots: Vec<PathBuf>,
    /// Crates of the workspace that it needs, other than for its tests.
    needs: BTreeSet<String>,
}

/// An import within a crate, from one file to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    file: PathBuf,
    line: usize,
    module: String,
    name: String,
    to_file: PathBuf,
    to_module: String,
    /// Whether it leads to the module directly around.
    from_scope: bool,
}

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

/// The crates of the workspace at `root`.
fn crates(root: &Path) -> Result<Vec<Crate>> {
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
fn imports(root: &Path, package: &Crate) -> Result<Vec<Import>> {
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
fn top_module(modules: &[Module], mut module: usize) -> String {
    while let Some(parent) = modules[module].parent {
        if parent == 0 {
            let own = modules[0].children.iter().find(|(_, child)| **child == module);
            return own.map_or_else(String::new, |(name, _)| name.clone());
        }
        module = parent;
    }
    modules[0].file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
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
mod tests {
    use super::*;

    const PAGE: &str = "../ARCHITECTURE.md";

    /// A list of ranks as the page shows it.
    fn shown(order: Order<'_>) -> String {
        let line = |(index, names): (usize, &&[&str])| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("{}. {}\n", index + 1, names.join(", "))
        };
        order.iter().enumerate().map(line).collect()
    }

    #[test]
    fn no_import_of_the_workspace_goes_up_or_closes_a_circle() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("there");
        let mut faults = check(&root, RANKS).expect("a workspace");
        faults.extend(needless_ranks(&root, RANKS).expect("a workspace"));
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    }

    #[test]
    fn the_architecture_page_lists_the_ranks() {
        let mut page = std::fs::read_to_string(PAGE).expect("ARCHITECTURE.md");
        for (name, order) in [&[("crates", RANKS.crates)], RANKS.modules].concat() {
            let begin = format!("<!-- ranks: {name} -->\n");
            let (before, rest) = page.split_once(&begin).expect("where the list begins");
            let (found, after) = rest.split_once("<!-- end of ranks -->\n").expect("its end");
            let expected = format!("\n{}\n", shown(order));
            if std::env::var_os("UPDATE_DOCS").is_some() {
                page = [before, &begin, &expected, "<!-- end of ranks -->\n", after].concat();
                std::fs::write(PAGE, &page).expect("writes");
            } else {
                assert_eq!(found, expected, "UPDATE_DOCS=1 cargo test -p xtask updates it");
            }
        }
    }

    #[test]
    fn a_rank_without_a_crate_or_module_is_named() {
        let fixture = Fixture::new(
            &[("house", &[])],
            &[("house/src/lib.rs", "mod cellar;\n"), ("house/src/cellar.rs", "")],
        );
        let root = fixture.folder.path().canonicalize().expect("there");
        let needless = |ranks| needless_ranks(&root, ranks).expect("a workspace");
        let faults = needless(HOUSE);
        assert_one_fault(
            &faults,
            &["house/src/lib.rs:1:", "module `hall` of house", "does not exist", "ranks.rs"],
        );
        let ranks = Ranks { crates: &[&["house"], &["shed"]], modules: &[] };
        assert_one_fault(&needless(ranks), &["Cargo.toml:1:", "crate `shed`", "does not exist"]);
    }

    /// A workspace with these files. Crates get their manifest from their name and what they need.
    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new(crates: &[(&str, &[&str])], files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let fixture = Self { folder };
            let names: Vec<String> = crates.iter().map(|(name, _)| format!("{name:?}")).collect();
            let members =
                format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n", names.join(", "));
            fixture.write("Cargo.toml", &members);
            for (name, needs) in crates {
                let mut manifest =
                    format!("[package]\nname = {name:?}\nversion = \"0.1.0\"\n\n[dependencies]\n");
                for needed in *needs {
                    manifest.push_str(&format!("{needed} = {{ path = \"../{needed}\" }}\n"));
                }
                fixture.write(&format!("{name}/Cargo.toml"), &manifest);
                fixture.write(&format!("{name}/src/lib.rs"), "");
            }
            files.iter().for_each(|(name, text)| fixture.write(name, text));
            fixture
        }

        fn write(&self, name: &str, text: &str) {
            let file = self.folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("created");
            std::fs::write(file, text).expect("written");
        }

        fn faults(&self, ranks: Ranks<'_>) -> Vec<String> {
            // The folder's own name may be a link to it, as on macOS.
            let root = self.folder.path().canonicalize().expect("there");
            check(&root, ranks).expect("a workspace")
        }
    }

    const NONE: Ranks<'static> = Ranks { crates: &[], modules: &[] };

    const HOUSE: Ranks<'static> =
        Ranks { crates: &[], modules: &[("house", &[&["cellar"], &["hall"], &["lib"]])] };

    #[track_caller]
    fn assert_one_fault(faults: &[String], parts: &[&str]) {
        assert_eq!(faults.len(), 1, "{faults:#?}");
        for part in parts {
            assert!(faults[0].contains(part), "{part} in {}", faults[0]);
        }
    }

    #[test]
    fn an_import_that_goes_up_is_named_with_line_ranks_and_remedy() {
        for import in [
            "use crate::hall::Lamp;",
            "use super::hall::Lamp;",
            "fn f() { crate::hall::light(); }",
            "fn f() { println!(\"{}\", crate::hall::light()); }",
            "#[serde(with = \"crate::hall\")] struct A;",
            "use crate::{hall::{Lamp as Bulb}};",
        ] {
            let fixture = Fixture::new(
                &[("house", &[])],
                &[
                    ("house/src/lib.rs", "mod cellar;\nmod hall;\n"),
                    ("house/src/cellar.rs", &format!("//! Below.\n\n{import}\n")),
                    ("house/src/hall.rs", "pub struct Lamp;\npub fn light() {}\n"),
                ],
            );
            let remedy = "move the definition to a module of a lower rank than 1";
            let parts =
                ["house/src/cellar.rs:3:", "`cellar` (rank 1)", "from `hall` (rank 2)", remedy];
            assert_one_fault(&fixture.faults(HOUSE), &parts);
            assert_eq!(
                fixture.faults(NONE),
                [""; 0],
                "{import}: without ranks there is nothing above"
            );
        }
    }

    #[test]
    fn a_module_without_a_rank_is_named() {
        let fixture = Fixture::new(
            &[("house", &[])],
            &[
                ("house/src/lib.rs", "mod attic;\nmod hall;\n"),
                ("house/src/attic.rs", "use crate::hall::Lamp;\n"),
                ("house/src/hall.rs", "pub struct Lamp;\n"),
            ],
        );
        let parts = ["house/src/attic.rs:1:", "module `attic`", "xtask/src/layers/ranks.rs"];
        assert_one_fault(&fixture.faults(HOUSE), &parts);
    }

    #[test]
    fn a_circle_of_files_is_named_with_every_import_on_it() {
        let fixture = Fixture::new(
            &[("house", &[])],
            &[
                ("house/src/lib.rs", "mod hall;\n"),
                ("house/src/hall.rs", "mod door;\nmod stair;\n"),
                ("house/src/hall/door.rs", "\nuse super::stair::Step;\npub struct Key;\n"),
                ("house/src/hall/stair.rs", "use crate::hall::door::Key;\npub struct Step;\n"),
            ],
        );
        let parts = [
            "house/src/hall/door.rs:2: imports `super::stair::Step`",
            "house/src/hall/stair.rs:1: imports `crate::hall::door::Key`",
            "circle of 2 files",
            "move what they share",
        ];
        assert_one_fault(&fixture.faults(HOUSE), &parts);
    }

    #[test]
    fn a_circle_through_a_re_export_is_one_of_the_files_that_define() {
        let fixture = Fixture::new(
            &[("house", &[])],
            &[
                ("house/src/lib.rs", "mod hall;\n"),
                (
                    "house/src/hall.rs",
                    "mod door;\nmod stair;\npub use door::Key;\npub use stair::Step;\n",
                ),
                ("house/src/hall/door.rs", "use super::Step;\npub struct Key;\n"),
                ("house/src/hall/stair.rs", "use super::Key;\npub struct Step;\n"),
            ],
        );
        assert_one_fault(&fixture.faults(HOUSE), &["circle of 2 files", "door.rs:1", "stair.rs:1"]);
    }

    #[test]
    fn the_module_around_is_a_scope_and_what_is_further_out_is_not() {
        let files = |import: &'static str| {
            [
                ("house/src/lib.rs", "mod hall;\n"),
                ("house/src/hall.rs", "mod door;\nuse self::door::Key;\npub struct Lamp(Key);\n"),
                ("house/src/hall/door.rs", "mod lock;\npub struct Key(lock::Lock);\n"),
                ("house/src/hall/door/lock.rs", import),
            ]
        };
        let crates: [(&str, &[&str]); 1] = [("house", &[])];
        let scope = Fixture::new(&crates, &files("use super::Key;\npub struct Lock;\n"));
        assert_eq!(scope.faults(HOUSE), [""; 0]);
        let further = Fixture::new(&crates, &files("use super::super::Lamp;\npub struct Lock;\n"));
        assert_one_fault(&further.faults(HOUSE), &["lock.rs:1:", "circle of 3 files"]);
    }

    #[test]
    fn tests_may_import_what_they_like() {
        let fixture = Fixture::new(
            &[("house", &[])],
            &[
                ("house/src/lib.rs", "mod cellar;\nmod hall;\n"),
                (
                    "house/src/cellar.rs",
                    "#[cfg(test)]\nmod tests {\n    use crate::hall::Lamp;\n}\n#[cfg(test)]\nuse crate::hall::Lamp;\n\
                 struct A;\nimpl A {\n    #[cfg(test)]\n    fn f() { crate::hall::light() }\n}\n",
                ),
                ("house/src/hall.rs", "use crate::cellar::A;\npub struct Lamp;\n"),
            ],
        );
        assert_eq!(fixture.faults(HOUSE), [""; 0]);
    }

    #[test]
    fn a_dependency_that_goes_up_and_a_circle_of_crates_are_named() {
        let crates: [(&str, &[&str]); 2] = [("upper", &["lower"]), ("lower", &["upper"])];
        let fixture = Fixture::new(&crates, &[]);
        let ranks = Ranks { crates: &[&["lower"], &["upper"]], modules: &[] };
        let faults = fixture.faults(ranks);
        assert_eq!(faults.len(), 2, "{faults:#?}");
        let up = "lower/Cargo.toml:6: crate `lower` (rank 1) depends on `upper` (rank 2): move what both need";
        assert!(faults[0].contains(up), "{}", faults[0]);
        let circle = "lower/Cargo.toml:6: crates depend on each other in a circle: lower -> upper -> lower: move";
        assert!(faults[1].contains(circle), "{}", faults[1]);
    }
}
