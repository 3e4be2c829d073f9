//! Links of Markdown files to other files of the repository, and to headings.
//!
//! Links to the web are not followed: the check gives the same answer without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::fault::Fault;

/// A link or an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) line: usize,
    pub(super) target: String,
}

/// The links of a Markdown file that lead nowhere. `texts` holds every Markdown file, `files` every file and folder.
pub(super) fn dead(
    file: &Path,
    texts: &BTreeMap<PathBuf, String>,
    files: &BTreeSet<PathBuf>,
) -> Vec<Fault> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut faults = Vec::new();
    for Link { line, target } in links(&texts[file]) {
        if is_elsewhere(&target) {
            continue;
        }
        let mut fault = |what: String| faults.push(Fault { file: file.to_owned(), line, what });
        let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let to = if path.is_empty() { Some(file.to_owned()) } else { normal(&folder.join(path)) };
        let Some(to) = to.filter(|to| files.contains(to)) else {
            fault(format!("link to `{target}`: expected a file or folder of the repository"));
            continue;
        };
        if anchor.is_empty() {
            continue;
        }
        let known = texts.get(&to).map(|text| anchors(text)).unwrap_or_default();
        if !known.contains(anchor) {
            let near = nearest(anchor, &known).map(|near| format!(", such as `#{near}`"));
            let near = near.unwrap_or_default();
            let to = to.display();
            fault(format!("link to `{target}`: expected the anchor of a heading of {to}{near}"));
        }
    }
    faults
}

/// Whether a target is on the web.
pub(super) fn is_elsewhere(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:") || target.starts_with('<')
}

/// A path without `.` and `..`, if it stays below the root.
pub(super) fn normal(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !parts.pop() {
                    return None;
                }
            }
            Component::Normal(name) => parts.push(name),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts)
}

fn nearest<'a>(anchor: &str, known: &'a BTreeSet<String>) -> Option<&'a String> {
    let words: BTreeSet<&str> = anchor.split('-').collect();
    let shared = |other: &String| other.split('-').filter(|word| words.contains(word)).count();
    known.iter().filter(|other| shared(other) > 0).max_by_key(|other| shared(other))
}

/// Every link, image and include of a Markdown text, outside of code.
pub(super) fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, text) in lines_without_code(text) {
        let mut add = |target: &str| links.push(Link { line, target: target.to_owned() });
        let mut rest = text.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let target = rest.split(')').next().unwrap_or_default();
            // `[text](target "title")`
            add(target.split_whitespace().next().unwrap_or_default());
        }
        if text.starts_with('[')
            && let Some((_, target)) = text.split_once("]: ")
        {
            add(target.split_whitespace().next().unwrap_or_default());
        }
        for attribute in ["src=\"", "href=\""] {
            for found in text.split(attribute).skip(1) {
                add(found.split('"').next().unwrap_or_default());
            }
        }
        for found in text.split("{{#include ").skip(1) {
            add(found.split("}}").next().unwrap_or_default().trim());
        }
    }
    links
}

/// The anchors of a Markdown text's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut fence = Fence::default();
    for line in text.lines() {
        if fence.holds(line) {
            continue;
        }
        for name in line.split("<a id=\"").chain(line.split("<a name=\"")).skip(1) {
            if let Some((name, _)) = name.split_once('"') {
                anchors.insert(name.to_owned());
            }
        }
        let Some(heading) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#')) else {
            continue;
        };
        if !heading.starts_with(' ') {
            continue;
        }
        let slug = slug(heading.trim());
        let mut unique = slug.clone();
        let mut number = 0;
        while !anchors.insert(unique.clone()) {
            number += 1;
            unique = format!("{slug}-{number}");
        }
    }
    anchors
}

fn slug(heading: &str) -> String {
    // Of a link in a heading only its text counts.
    let mut text = String::new();
    let mut rest = heading;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    let kept = text.chars().filter_map(|sign| match sign {
        ' ' => Some('-'),
        '-' | '_' => Some(sign),
        _ if sign.is_alphanumeric() => Some(sign),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

/// Lines with their numbers, without fenced code, and with code spans blanked.
fn lines_without_code(text: &str) -> Vec<(usize, String)> {
    let mut fence = Fence::default();
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if fence.holds(line) {
            continue;
        }
        let parts = line.split('`').enumerate();
        let outside = parts.map(|(part, text)| if part % 2 == 0 { text } else { " " });
        lines.push((index + 1, outside.collect::<Vec<_>>().join("`")));
    }
    lines
}

/// Whether a line is part of fenced code.
#[derive(Debug, Default)]
pub(super) struct Fence {
    open: bool,
}

impl Fence {
    /// Takes the next line; the fences themselves count as code.
    pub(super) fn holds(&mut self, line: &str) -> bool {
        let is_fence = line.trim_start().starts_with("```");
        self.open ^= is_fence;
        self.open || is_fence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        let file = PathBuf::from("docs/a.md");
        let other = "# Head\n## The `code` & more\n## Twice\n## Twice\n```\n# no heading\n```\n";
        let texts = BTreeMap::from([
            (file.clone(), text.to_owned()),
            (PathBuf::from("docs/b.md"), other.to_owned()),
        ]);
        let files = ["docs/a.md", "docs/b.md", "docs/c.png", "deploy"].map(PathBuf::from).into();
        dead(&file, &texts, &files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere_are_not_named() {
        let text = "# Own\n[a](b.md) [b](b.md#the-code--more \"title\") ![c](c.png) [d](../deploy) [e](#own)\n\
                    [f](https://example.org/x#y) `[g](nowhere.md)` [h](b.md#twice-1)\n```\n[i](nowhere.md)\n```\n\
                    <img src=\"c.png\"> {{#include b.md}}\n[j]: b.md\n";
        assert_eq!(faults_of(text), [""; 0]);
    }

    #[test]
    fn broken_links_are_named_with_file_line_and_remedy() {
        for (link, expected) in [
            ("[a](c.md)", "expected a file or folder of the repository"),
            ("![a](d.png)", "expected a file or folder of the repository"),
            ("[a](../../outside.md)", "expected a file or folder of the repository"),
            ("[a](b.md#no-heading)", "expected the anchor of a heading of docs/b.md"),
            ("[a](b.md#the-code)", "such as `#the-code--more`"),
            ("[a](#nothing)", "expected the anchor of a heading of docs/a.md"),
            ("[a]: c.md", "expected a file or folder of the repository"),
            ("<img src=\"d.png\">", "expected a file or folder of the repository"),
            ("{{#include c.md}}", "expected a file or folder of the repository"),
        ] {
            let faults = faults_of(&format!("\n\n{link}\n"));
            assert_eq!(faults.len(), 1, "{link}: {faults:?}");
            assert!(faults[0].starts_with("docs/a.md:3: link to `"), "{faults:?}");
            assert!(faults[0].contains(expected), "{faults:?}");
        }
    }
}
