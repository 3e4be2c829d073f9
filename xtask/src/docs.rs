//! The documentation checks: links and names of files lead somewhere, prose follows the rules, the book builds.

mod book;
mod fault;
mod links;
mod paths;
mod prose;
mod sample;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::fault::Fault;
use crate::step::Steps;

/// What to do with the documentation.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print this number of passages chosen at random, for a reader to judge, instead of checking.
    #[arg(long)]
    sample: Option<usize>,
    /// The seed of the choice.
    #[arg(long, default_value_t = 1, requires = "sample")]
    seed: u64,
}

/// Folders whose text must stay as it is: applied migrations are compared by digest.
const NOT_CHECKED: [&str; 2] = ["hierophant/migrations", "hierophant/store/migrations"];

/// May name files of earlier versions.
const HISTORY: &str = "CHANGELOG.md";

/// Runs every check of the documentation, or prints a sample of it.
pub(crate) fn run(steps: &mut Steps, root: &Path, options: &Options) -> Result<()> {
    if let Some(count) = options.sample {
        return print_sample(root, count, options.seed);
    }
    // The book is built all the same: the author of a page wants to see it.
    let outcome = check_texts(root);
    let texts = markdown(root, &tracked(root)?)?;
    let book = book::build(steps, root, &texts)?;
    print(&book::dead_links(&book)?)?;
    println!("== the book: {}", book.join("index.html").display());
    outcome
}

/// The checks that need no other program: words, links, names of files, table of contents.
pub(crate) fn check_texts(root: &Path) -> Result<()> {
    print(&faults(root)?)
}

/// The faults of all texts.
fn faults(root: &Path) -> Result<Vec<Fault>> {
    let files = tracked(root)?;
    let texts = markdown(root, &files)?;
    let mut faults = banned_phrases(root, &files)?;
    faults.extend(dead_links(&texts, &files));
    faults.extend(unknown_files(&texts, &files));
    faults.extend(book::faults_of_summary(&texts));
    Ok(faults)
}

/// Prints faults, and fails if there are any.
fn print(faults: &[Fault]) -> Result<()> {
    for fault in faults {
        println!("{fault}");
    }
    ensure!(faults.is_empty(), "{} faults in the documentation, listed above", faults.len());
    Ok(())
}

fn print_sample(root: &Path, count: usize, seed: u64) -> Result<()> {
    let mut all = Vec::new();
    for file in tracked(root)? {
        if let Ok(text) = std::fs::read_to_string(root.join(&file)) {
            all.extend(sample::candidates(&file, &text));
        }
    }
    println!("== {count} of {} passages, seed {seed}", all.len());
    for passage in sample::choose(all, count, seed) {
        println!("\n{}:{}\n    {}", passage.file.display(), passage.line, passage.text);
    }
    Ok(())
}

/// Files that git knows, in order, relative to the root.
fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let list = Command::new("git").current_dir(root).args(["ls-files", "-z"]).output();
    let list = list.context("cannot run git")?;
    ensure!(list.status.success(), "git ls-files failed ({})", list.status);
    let names = String::from_utf8(list.stdout).context("a file name is not UTF-8")?;
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(files.filter(|file| root.join(file).is_file()).collect())
}

/// The Markdown files among `files`.
fn markdown(root: &Path, files: &[PathBuf]) -> Result<BTreeMap<PathBuf, String>> {
    let is_markdown = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "md");
    let mut texts = BTreeMap::new();
    for file in files.iter().filter(is_markdown) {
        let text = std::fs::read_to_string(root.join(file));
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        texts.insert(file.clone(), text);
    }
    Ok(texts)
}

/// Every link in a Markdown file that leads nowhere.
fn dead_links(texts: &BTreeMap<PathBuf, String>, files: &[PathBuf]) -> Vec<Fault> {
    // A folder is there if a file in it is.
    let there: BTreeSet<PathBuf> =
        files.iter().flat_map(|file| file.ancestors().map(Path::to_owned)).collect();
    texts.keys().flat_map(|file| links::dead(file, texts, &there)).collect()
}

/// Every file that a Markdown file names and that does not exist.
fn unknown_files(texts: &BTreeMap<PathBuf, String>, files: &[PathBuf]) -> Vec<Fault> {
    let files: BTreeSet<PathBuf> = files.iter().cloned().collect();
    let texts = texts.iter().filter(|(file, _)| file.as_path() != Path::new(HISTORY));
    texts.flat_map(|(file, text)| paths::unknown(file, text, &files)).collect()
}

/// Every banned phrase in the prose of the repository.
fn banned_phrases(root: &Path, files: &[PathBuf]) -> Result<Vec<Fault>> {
    let rules = words::rules()?;
    let mut faults = Vec::new();
    for file in files {
        if NOT_CHECKED.iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        for passage in prose::passages(file, &text) {
            for hit in words::hits(&passage, &rules) {
                let what = format!("\"{}\": write {}", hit.phrase, hit.instead);
                faults.push(Fault { file: file.clone(), line: hit.line, what });
            }
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[track_caller]
    fn assert_none(faults: &[Fault]) {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(faults.is_empty(), "{} faults:\n{}", lines.len(), lines.join("\n"));
    }

    #[test]
    fn each_fault_of_a_text_is_named_with_file_line_and_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("created");
            std::fs::write(file, text).expect("written");
        };
        write("docs/SUMMARY.md", "[A](a.md)\n");
        // Split, so that this file does not hold the phrase.
        write("docs/a.md", &["# A\n\nSee [B](b.md), `c/d.rs`. It is done a", "new.\n"].concat());
        write("src/e.rs", &["fn e() -> &'static str {\n    \"who", "ever calls\"\n}\n"].concat());
        for arguments in [&["init", "--quiet"][..], &["add", "."]] {
            let status = Command::new("git").current_dir(folder.path()).args(arguments).status();
            assert!(status.expect("git").success(), "{arguments:?}");
        }
        let faults: Vec<String> =
            faults(folder.path()).expect("checked").iter().map(ToString::to_string).collect();
        let expected = [
            "docs/a.md:3: \"a||new\": write \"again\", or a verb with re-",
            "src/e.rs:2: \"who||ever\": write \"anyone who\", or the role",
            "docs/a.md:3: link to `b.md`: expected a file or folder of the repository",
            "docs/a.md:3: no file `c/d.rs`: expected the end of a path in the repository",
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.starts_with(&expected.replace("||", "")), "{fault}");
        }
    }

    #[test]
    fn every_link_leads_somewhere() {
        let files = tracked(&root()).expect("a repository");
        assert_none(&dead_links(&markdown(&root(), &files).expect("pages"), &files));
    }

    #[test]
    fn every_file_that_a_page_names_exists() {
        let files = tracked(&root()).expect("a repository");
        assert_none(&unknown_files(&markdown(&root(), &files).expect("pages"), &files));
    }

    #[test]
    fn prose_has_no_banned_phrase() {
        let files = tracked(&root()).expect("a repository");
        assert_none(&banned_phrases(&root(), &files).expect("rules"));
    }

    #[test]
    fn the_architecture_page_lists_every_crate() {
        let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("a page");
        let row = |folder: &Path| format!("\n| `{}/` |", folder.display());
        for file in tracked(&root()).expect("a repository") {
            let folder = file.parent().expect("a folder");
            // The crates of examples have one row.
            let folder =
                if folder.starts_with("examples") { Path::new("examples") } else { folder };
            let is_crate = file.ends_with("Cargo.toml") && file.parent() != Some(Path::new(""));
            if is_crate && !folder.starts_with("fuzz/engine") {
                let lacks =
                    format!("ARCHITECTURE.md: no row for the crate `{}/`", folder.display());
                assert!(page.contains(&row(folder)), "{lacks}");
            }
        }
    }

    #[test]
    fn every_page_is_in_the_table_of_contents() {
        let files = tracked(&root()).expect("a repository");
        assert_none(&book::faults_of_summary(&markdown(&root(), &files).expect("pages")));
    }
}
