//! Reads the commented file that `init` writes as a list of keys, for the page about all of them and for
//! the tests that hold it to the defaults.
//!
//! A template is made of paragraphs. One that ends in `# key = value` tells of that key; one that does not
//! tells of its section, or of the one whose `[header]` follows at once. The value is the default, unless
//! the paragraph has a sentence that begins with `Default: `: then it is an example. A `# [[header]]` begins a
//! section of which there may be any number; all of it is an example.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// Its name, empty for the keys before the first header; in brackets if there may be any number of it.
    pub name: String,
    /// What it is about, in Markdown; empty if nothing is said.
    pub about: String,
    /// Its keys, in the template's order.
    pub keys: Vec<Key>,
}

/// A key of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name within the section.
    pub name: String,
    /// What it means, in Markdown.
    pub meaning: String,
    /// A description of its default; none if `value` is the default.
    pub default: Option<String>,
    /// The value that the template shows, as TOML.
    pub value: String,
    /// Its line in the template, from 1.
    pub line: usize,
}

/// The sections of a template. The first has no name; its text is that of the whole file.
#[must_use]
pub fn sections(template: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut comment: Vec<&str> = Vec::new();
    for (number, line) in (1..).zip(template.lines().chain([""])) {
        let text = line.strip_prefix('#').map(|text| text.strip_prefix(' ').unwrap_or(text));
        let header = text.filter(|text| text.starts_with("[[")).unwrap_or(line);
        if let Some(name) = header.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let about = in_markdown(&std::mem::take(&mut comment));
            sections.push(Section { name: name.to_owned(), about, keys: Vec::new() });
            continue;
        }
        let Some(section) = sections.last_mut() else { break };
        match text {
            Some(text) => match text.split_once(" = ").filter(|(key, _)| is_key(key)) {
                Some((key, value)) => {
                    let (meaning, default) = split_default(&std::mem::take(&mut comment));
                    let (name, value) = (key.to_owned(), value.to_owned());
                    section.keys.push(Key { name, meaning, default, value, line: number });
                }
                None => comment.push(text),
            },
            None if !comment.is_empty() => {
                let about = in_markdown(&std::mem::take(&mut comment));
                section.about = match section.about.is_empty() {
                    true => about,
                    false => format!("{}\n\n{about}", section.about),
                };
            }
            None => {}
        }
    }
    sections
}

/// Where a template does not show the defaults: `LINE: what is wrong: what is expected`, one for each fault.
#[must_use]
pub fn differences(template: &str, defaults: &Table) -> Vec<String> {
    let mut missing = keys_of(defaults);
    let mut found = Vec::new();
    for section in sections(template).iter().filter(|section| !section.name.starts_with('[')) {
        for Key { name, default, value, line, .. } in &section.keys {
            let key = match section.name.as_str() {
                "" => name.clone(),
                section => format!("{section}.{name}"),
            };
            if default.is_some() {
                continue;
            }
            match missing.remove(&key) {
                None => found.push(format!("{line}: unknown key `{key}`: expected no such key")),
                Some(wanted) if !is_same(&wanted, value) => {
                    found.push(format!(
                        "{line}: wrong default `{value}`: expected `# {name} = {wanted}`"
                    ));
                }
                Some(_) => {}
            }
        }
    }
    let end = template.lines().count();
    found.extend(missing.into_iter().map(|(key, value)| {
        format!(
            "{end}: key `{key}` is missing: expected a paragraph that ends in its default, {value}"
        )
    }));
    found
}

/// Every key of a table and of the sections in it, with dots.
fn keys_of(table: &Table) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    for (name, value) in table {
        match value {
            Value::Table(section) => {
                keys.extend(
                    keys_of(section).into_iter().map(|(key, it)| (format!("{name}.{key}"), it)),
                );
            }
            value => drop(keys.insert(name.clone(), value.clone())),
        }
    }
    keys
}

fn is_same(value: &Value, text: &str) -> bool {
    let table: Result<Table, _> = format!("value = {text}").parse();
    table.is_ok_and(|table| table.get("value") == Some(value))
}

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The meaning, and the sentence about the default.
fn split_default(comment: &[&str]) -> (String, Option<String>) {
    let text = in_markdown(comment);
    let Some((before, after)) = text.split_once("Default: ") else { return (text, None) };
    let (default, rest) = after.split_once(". ").unwrap_or((after.trim_end_matches('.'), ""));
    let meaning = format!("{} {rest}", before.trim_end());
    (meaning.trim().to_owned(), Some(default.to_owned()))
}

/// One paragraph; indented lines stay lines.
fn in_markdown(comment: &[&str]) -> String {
    let mut text = String::new();
    for line in comment {
        if !text.is_empty() {
            text.push_str(if line.starts_with(' ') { "<br>" } else { " " });
        }
        text.push_str(&line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "\
# All about it.

# How many
# there are:
#   0  none
# count = 3

# Who. Default: unknown. Better not.
# name = \"amos\"

# For later.
[later]
# More of it.

# When.
# at = 1

# Any number of these.
# [[others]]

# Who else.
# name = \"hosea\"
";

    #[test]
    fn a_template_is_read_paragraph_by_paragraph() {
        let sections = sections(TEMPLATE);
        let [all, later, others] = sections.as_slice() else { panic!("{sections:?}") };
        assert_eq!((all.name.as_str(), all.about.as_str()), ("", "All about it."));
        assert_eq!(all.keys[0].meaning, "How many there are:<br>0 none");
        assert_eq!((all.keys[0].value.as_str(), &all.keys[0].default), ("3", &None));
        assert_eq!(all.keys[1].meaning, "Who. Better not.");
        assert_eq!(all.keys[1].default.as_deref(), Some("unknown"));
        assert_eq!(
            (later.name.as_str(), later.about.as_str()),
            ("later", "For later.\n\nMore of it.")
        );
        assert_eq!(later.keys[0].name, "at");
        assert_eq!(
            (others.name.as_str(), others.about.as_str()),
            ("[others]", "Any number of these.")
        );
    }

    #[test]
    fn a_wrong_default_is_found_with_its_line_and_what_is_expected() {
        let defaults = |text: &str| text.parse::<Table>().expect("TOML");
        assert_eq!(differences(TEMPLATE, &defaults("count = 3\n[later]\nat = 1")), [""; 0]);
        assert_eq!(
            differences(TEMPLATE, &defaults("count = 4\nmore = true\n[later]")),
            [
                "6: wrong default `3`: expected `# count = 4`",
                "16: unknown key `later.at`: expected no such key",
                "22: key `more` is missing: expected a paragraph that ends in its default, true",
            ]
        );
    }
}
