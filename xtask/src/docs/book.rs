//! Builds `docs/` as a book with mdBook.
//!
//! Pages link to files of the repository, as a reader on a code host needs it. The book has only the pages, so it is
//! built from a copy: included files are put in their place, links to pages lead to pages, and links to other files
//! become their names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::fault::Fault;
use super::links;
use crate::step::Steps;

/// The folder of pages.
const PAGES: &str = "docs";

/// The table of contents.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Where tools are installed to.
const TOOLS: &str = "target/tools";

/// Where the copy lies.
const COPY: &str = "target/book-source";

/// Where the book is written to.
const BOOK: &str = "target/book";

/// Pages that are missing in the table of contents, or in it twice.
pub(super) fn faults_of_summary(texts: &BTreeMap<PathBuf, String>) -> Vec<Fault> {
    let summary = PathBuf::from(SUMMARY);
    let mut faults = Vec::new();
    let mut listed = BTreeSet::new();
    let text = texts.get(&summary).map_or("", String::as_str);
    for link in links::links(text) {
        let page = Path::new(PAGES).join(&link.target);
        if !listed.insert(page) {
            let what = format!("page `{}` is listed twice: expected once", link.target);
            faults.push(Fault { file: summary.clone(), line: link.line, what });
        }
    }
    let pages = texts.keys().filter(|page| page.parent() == Some(Path::new(PAGES)));
    for page in pages.filter(|page| **page != summary && !listed.contains(*page)) {
        let what = format!("page is not in the table of contents: expected a link in {SUMMARY}");
        faults.push(Fault { file: page.clone(), line: 1, what });
    }
    faults
}

/// Builds the book, and returns the folder that holds it.
pub(super) fn build(
    steps: &mut Steps,
    root: &Path,
    texts: &BTreeMap<PathBuf, String>,
) -> Result<PathBuf> {
    let tool = mdbook(steps, root)?;
    let copy = root.join(COPY);
    if copy.exists() {
        std::fs::remove_dir_all(&copy).context("cannot remove the former copy of docs")?;
    }
    std::fs::create_dir_all(&copy).with_context(|| format!("cannot create {}", copy.display()))?;
    let folder = root.join(PAGES);
    for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().context("an entry without a name")?;
        let relative = Path::new(PAGES).join(name);
        if let Some(text) = texts.get(&relative) {
            std::fs::write(copy.join(name), page(&relative, text, texts)?)?;
        } else if path.is_file() {
            std::fs::copy(&path, copy.join(name))?;
        }
    }
    let book = root.join(BOOK);
    let (source, destination) = (copy.to_string_lossy(), book.to_string_lossy());
    let arguments = ["build", &*source, "--dest-dir", &*destination];
    let said = steps.program_output("book", &tool, &arguments)?;
    print!("{said}");
    ensure!(book.join("index.html").is_file(), "mdbook has not written {BOOK}/index.html");
    Ok(book)
}

/// Whether a line is part of fenced code.
#[derive(Debug, Default)]
struct Fence {
    open: bool,
}

impl Fence {
    /// Takes the next line; the fences themselves count as code.
    fn holds(&mut self, line: &str) -> bool {
        let is_fence = line.trim_start().starts_with("```");
        self.open ^= is_fence;
        self.open || is_fence
    }
}

/// A page as the book needs it.
fn page(file: &Path, text: &str, texts: &BTreeMap<PathBuf, String>) -> Result<String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut lines = Vec::new();
    let mut fence = Fence::default();
    for line in text.lines() {
        if fence.holds(line) {
            lines.push(line.to_owned());
        } else if let Some(included) = line.strip_prefix("{{#include ") {
            let name = included.trim_end_matches("}}").trim();
            let included = links::normal(&folder.join(name)).context("an include outside")?;
            let text = texts.get(&included);
            let text = text.with_context(|| format!("cannot include {}", included.display()))?;
            lines.push(page(&included, text, texts)?);
        } else {
            lines.push(with_links_of_the_book(line, folder, texts));
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// A line whose links lead to pages of the book, or are replaced by names.
fn with_links_of_the_book(line: &str, folder: &Path, texts: &BTreeMap<PathBuf, String>) -> String {
    let mut result = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((target, after)) = after.split_once(')') else { break };
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let to = links::normal(&folder.join(path)).unwrap_or_default();
        let within = to.strip_prefix(PAGES).ok().map(Path::to_owned);
        let included = || included_by(&to, texts);
        result.push_str(before);
        if links::is_elsewhere(target) || path.is_empty() {
            result.push_str(&format!("]({target})"));
        } else if let Some(page) = within.or_else(included) {
            let anchor = if anchor.is_empty() { String::new() } else { format!("#{anchor}") };
            result.push_str(&format!("]({}{anchor})", page.display()));
        } else {
            // Without a page: the text of the link, and the name of the file.
            if let Some(opening) = result.rfind('[') {
                let text = result.split_off(opening);
                let text = &text[1..];
                let name = to.display().to_string();
                let is_named = text.contains(&name);
                result.push_str(text);
                if !is_named {
                    result.push_str(&format!(" (`{name}`)"));
                }
            }
        }
        rest = after;
    }
    result + rest
}

/// The page that shows a file, if there is one.
fn included_by(file: &Path, texts: &BTreeMap<PathBuf, String>) -> Option<PathBuf> {
    let pages = texts.iter().filter(|(page, _)| page.parent() == Some(Path::new(PAGES)));
    let shows = |text: &str| {
        let names = text.split("{{#include ").skip(1).filter_map(|rest| rest.split("}}").next());
        names
            .into_iter()
            .any(|name| links::normal(&Path::new(PAGES).join(name.trim())).as_deref() == Some(file))
    };
    let (page, _) = pages.into_iter().find(|(_, text)| shows(text))?;
    page.strip_prefix(PAGES).ok().map(Path::to_owned)
}

/// Links of the built book that lead nowhere.
pub(super) fn dead_links(book: &Path) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for entry in book.read_dir().context("no book")? {
        let path = entry?.path();
        // mdBook's own pages: the whole book for the printer, and a page for addresses that do not exist.
        let own = ["print.html", "404.html", "toc.html"];
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "html") || own.contains(&&*name) {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let Some((_, main)) = text.split_once("<main>") else { continue };
        let main = main.split("</main>").next().unwrap_or_default();
        for (index, line) in main.lines().enumerate() {
            for target in ["href=\"", "src=\""].iter().flat_map(|start| line.split(start).skip(1)) {
                let target = target.split('"').next().unwrap_or_default();
                let file = target.split('#').next().unwrap_or_default();
                if links::is_elsewhere(target) || file.is_empty() || book.join(file).exists() {
                    continue;
                }
                let what = format!("link to `{target}`: expected a page of the book");
                faults.push(Fault { file: Path::new(BOOK).join(&name), line: index + 1, what });
            }
        }
    }
    Ok(faults)
}

/// The program `mdbook`, installed once.
fn mdbook(steps: &mut Steps, root: &Path) -> Result<PathBuf> {
    let folder = root.join(TOOLS);
    let program = folder.join("bin/mdbook");
    if !program.exists() {
        let into = folder.to_string_lossy().into_owned();
        let wanted = ["install", "mdbook", "--version", "^0.5", "--locked"];
        // Neither its server nor its watcher.
        let features = ["--no-default-features", "--features", "search", "--root", &into];
        steps.cargo("mdbook (two minutes the first time)", &[&wanted[..], &features].concat())?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pages: &[(&str, &str)]) -> BTreeMap<PathBuf, String> {
        pages.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned())).collect()
    }

    #[test]
    fn a_page_without_an_entry_and_one_with_two_are_named() {
        let texts = texts(&[
            (SUMMARY, "# Summary\n- [A](a.md)\n- [A](a.md)\n"),
            ("docs/a.md", ""),
            ("docs/b.md", ""),
            ("README.md", ""),
        ]);
        let faults: Vec<String> =
            faults_of_summary(&texts).iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "docs/SUMMARY.md:3: page `a.md` is listed twice: expected once",
                "docs/b.md:1: page is not in the table of contents: expected a link in docs/SUMMARY.md",
            ]
        );
    }

    #[test]
    fn links_of_a_page_lead_to_pages_or_become_names() {
        let texts = texts(&[
            ("docs/a.md", "{{#include ../ROOT.md}}\n"),
            ("docs/b.md", ""),
            (
                "ROOT.md",
                "[b](docs/b.md#x) [own](ROOT.md) [web](https://a.b) [lint](clippy.toml) [`deploy`](deploy)\n",
            ),
        ]);
        let file = Path::new("docs/a.md");
        let built = page(file, &texts[file], &texts).expect("a page");
        let expected = "[b](b.md#x) [own](a.md) [web](https://a.b) lint (`clippy.toml`) `deploy`";
        assert_eq!(built.trim(), expected);
    }
}
