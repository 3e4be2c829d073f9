//! Links of Markdown files to other files of the repository, and to headings.
//!
//! Links to the web are not followed: the check gives the same answer without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd};

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

/// The events of a Markdown text, each with its line.
pub(super) fn events(text: &str) -> impl Iterator<Item = (Event<'_>, usize)> {
    let mut lines = Lines::new(text);
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter();
    events.map(move |(event, place)| (event, lines.of(place.start)))
}

/// Every link, image and include of a Markdown text, outside of code.
pub(super) fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut add = |line, target: &str| links.push(Link { line, target: target.to_owned() });
    for (event, line) in events(text) {
        match event {
            // A reference leads to its definition, which is below.
            Event::Start(
                Tag::Link { link_type: LinkType::Inline, dest_url, .. }
                | Tag::Image { link_type: LinkType::Inline, dest_url, .. },
            ) => add(line, &dest_url),
            Event::Html(html) | Event::InlineHtml(html) => {
                for attribute in ["src=\"", "href=\""] {
                    let values = html.split(attribute).skip(1);
                    values.for_each(|rest| add(line, rest.split('"').next().unwrap_or_default()));
                }
            }
            _ => {}
        }
    }
    let mut lines = Lines::new(text);
    let parser = Parser::new(text);
    let mut definitions: Vec<_> =
        parser.reference_definitions().iter().map(|(_, found)| found).collect();
    definitions.sort_by_key(|found| found.span.start);
    for found in definitions {
        add(lines.of(found.span.start), &found.dest);
    }
    // mdBook includes files in code too.
    for (index, line) in text.lines().enumerate() {
        for found in line.split("{{#include ").skip(1) {
            add(index + 1, found.split("}}").next().unwrap_or_default().trim());
        }
    }
    links.sort_by_key(|link| link.line);
    links
}

/// Line numbers of ascending offsets.
struct Lines<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    const fn new(text: &'a str) -> Self {
        Self { text, offset: 0, line: 1 }
    }

    /// The line of an offset. An earlier one than before counts from the start.
    fn of(&mut self, offset: usize) -> usize {
        if offset < self.offset {
            (self.offset, self.line) = (0, 1);
        }
        self.line += self.text[self.offset..offset].matches('\n').count();
        self.offset = offset;
        self.line
    }
}

/// The anchors of a Markdown text's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<String> = None;
    for (event, _) in events(text) {
        match (event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
            (Event::Text(words) | Event::Code(words), Some(heading)) => heading.push_str(&words),
            (Event::End(TagEnd::Heading(_)), _) => {
                let slug = slug(&heading.take().unwrap_or_default());
                let mut unique = slug.clone();
                let mut number = 0;
                while !anchors.insert(unique.clone()) {
                    number += 1;
                    unique = format!("{slug}-{number}");
                }
            }
            (Event::Html(html) | Event::InlineHtml(html), _) => {
                let names = html.split("<a id=\"").skip(1).chain(html.split("<a name=\"").skip(1));
                anchors.extend(names.filter_map(|name| Some(name.split_once('"')?.0.to_owned())));
            }
            _ => {}
        }
    }
    anchors
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter_map(|sign| match sign {
        ' ' => Some('-'),
        '-' | '_' => Some(sign),
        _ if sign.is_alphanumeric() => Some(sign),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
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
