//! Prose of the repository: paragraphs, comments and string literals, each line with its number.
//!
//! This is a reader of text, not a parser: it knows as much of each language as it takes to tell prose from code.

use std::path::Path;

/// What a passage is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A paragraph, list item, heading or table row of a Markdown file, or text of a file without a syntax here.
    Text,
    /// A module's documentation (`//!`).
    ModuleDoc,
    /// An item's documentation (`///`).
    Doc,
    /// Any other comment.
    Comment,
    /// A string literal.
    Literal,
}

/// Text that belongs together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) kind: Kind,
    /// Line numbers, from 1, and text.
    pub(crate) lines: Vec<(usize, String)>,
}

impl Passage {
    /// The number of its first line.
    pub(crate) fn line(&self) -> usize {
        self.lines.first().map_or(0, |(number, _)| *number)
    }

    /// Its text on one line.
    pub(crate) fn text(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(|(_, text)| text.trim()).collect();
        lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The passages of a file, or none if it holds no prose that is checked.
pub(crate) fn passages(path: &Path, text: &str) -> Vec<Passage> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match &*extension {
        "md" => markdown(text),
        "rs" | "js" | "proto" | "css" => Lexer::new(text, &extension).passages(),
        "html" | "toml" | "yml" | "yaml" | "sh" | "Dockerfile" => plain(text),
        _ if name == "Dockerfile" || path.ends_with(".ci/run") => plain(text),
        _ => Vec::new(),
    }
}

/// Every run of lines that are not empty.
fn plain(text: &str) -> Vec<Passage> {
    let mut passages = Passages::default();
    for (number, line) in numbered(text) {
        if line.trim().is_empty() {
            passages.end();
        } else {
            let line = line.trim_start_matches(['#', ' ']);
            passages.add(Kind::Text, number, line.to_owned());
        }
    }
    passages.finish()
}

/// Paragraphs, list items, headings and table rows; no fenced code.
fn markdown(text: &str) -> Vec<Passage> {
    let mut passages = Passages::default();
    let mut fence: Option<&str> = None;
    for (number, line) in numbered(text) {
        let trimmed = line.trim();
        if let Some(marker) = fence {
            if trimmed.starts_with(marker) && trimmed.trim_matches(['`', '~']).is_empty() {
                fence = None;
            }
            continue;
        }
        if let Some(marker) = ["```", "~~~"].into_iter().find(|marker| trimmed.starts_with(marker))
        {
            fence = Some(marker);
            passages.end();
            continue;
        }
        let alone = trimmed.starts_with('#') || trimmed.starts_with('|');
        if trimmed.is_empty() || alone || starts_an_item(trimmed) {
            passages.end();
        }
        // A cell ends what is said in it.
        let text = if alone { trimmed.replace('|', " | ") } else { trimmed.to_owned() };
        if !trimmed.is_empty() {
            passages.add(Kind::Text, number, text);
        }
        if alone {
            passages.end();
        }
    }
    passages.finish()
}

/// Whether a line is the first of a list item.
fn starts_an_item(line: &str) -> bool {
    let after_number = line.trim_start_matches(|first: char| first.is_ascii_digit());
    ["- ", "* ", "+ "].iter().any(|marker| line.starts_with(marker))
        || (after_number.len() < line.len() && after_number.starts_with(". "))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Passages while they are gathered.
#[derive(Debug, Default)]
struct Passages {
    done: Vec<Passage>,
    open: Option<Passage>,
}

impl Passages {
    /// Adds a line to the open passage, if that is of the same kind and ends on the line before.
    fn add(&mut self, kind: Kind, number: usize, text: String) {
        let follows = self.open.as_ref().is_some_and(|open| {
            open.kind == kind && open.lines.last().is_some_and(|(last, _)| last + 1 == number)
        });
        if !follows {
            self.end();
        }
        let open = self.open.get_or_insert(Passage { kind, lines: Vec::new() });
        open.lines.push((number, text));
    }

    fn end(&mut self) {
        self.done.extend(self.open.take());
    }

    fn finish(mut self) -> Vec<Passage> {
        self.end();
        self.done
    }
}

/// Finds comments and string literals in source code.
struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    language: Language,
    /// The last character of code, by which a regular expression of JavaScript is known.
    before: char,
    passages: Passages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Rust,
    JavaScript,
    /// `//` and `/* */` are all that matters.
    Other,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, extension: &str) -> Self {
        let language = match extension {
            "rs" => Language::Rust,
            "js" => Language::JavaScript,
            _ => Language::Other,
        };
        Self { rest: text, line: 1, language, before: ';', passages: Passages::default() }
    }

    fn passages(mut self) -> Vec<Passage> {
        while let Some(first) = self.rest.chars().next() {
            if self.rest.starts_with("//") && self.language_has_line_comments() {
                self.line_comment();
            } else if self.rest.starts_with("/*") {
                self.block_comment();
            } else if let Some(hashes) = self.raw_string() {
                self.literal(hashes, &format!("\"{}", "#".repeat(hashes)));
            } else if first == '"' && self.language != Language::Other {
                self.escaped('"');
            } else if first == '\'' && self.language == Language::Rust {
                self.character();
            } else if self.language == Language::JavaScript && matches!(first, '\'' | '`') {
                self.escaped(first);
            } else if self.language == Language::JavaScript && first == '/' && self.expects_value()
            {
                self.regular_expression();
            } else {
                if !first.is_whitespace() {
                    self.before = first;
                    // Code parts what stands before it from what stands behind it.
                    self.passages.end();
                }
                self.take(first.len_utf8());
            }
        }
        self.passages.finish()
    }

    fn language_has_line_comments(&self) -> bool {
        // In CSS, which alone has none, two slashes are part of a URL.
        self.language != Language::Other || !self.rest.starts_with("///")
    }

    /// Removes bytes from the front, and returns them.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn line_comment(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let number = self.line;
        let comment = self.take(end);
        let (kind, marker) = match self.language {
            Language::Rust if comment.starts_with("//!") => (Kind::ModuleDoc, "//!"),
            Language::Rust if comment.starts_with("///") && !comment.starts_with("////") => {
                (Kind::Doc, "///")
            }
            _ => (Kind::Comment, "//"),
        };
        let text = comment.strip_prefix(marker).unwrap_or_default();
        if text.trim().is_empty() {
            self.passages.end();
        } else {
            self.passages.add(kind, number, text.to_owned());
        }
    }

    fn block_comment(&mut self) {
        let number = self.line;
        let mut depth = 0_usize;
        let mut length = 0;
        while length < self.rest.len() {
            let rest = &self.rest[length..];
            let step = rest.chars().next().map_or(1, char::len_utf8);
            if rest.starts_with("/*") && (depth == 0 || self.language == Language::Rust) {
                depth += 1;
                length += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                length += 2;
                if depth == 0 {
                    break;
                }
            } else {
                length += step;
            }
        }
        let comment = self.take(length);
        for (index, line) in comment.lines().enumerate() {
            let text = line.trim().trim_matches(['/', '*']).to_owned();
            if text.trim().is_empty() {
                self.passages.end();
            } else {
                self.passages.add(Kind::Comment, number + index, text);
            }
        }
    }

    /// The number of `#` of a raw string that begins here.
    fn raw_string(&self) -> Option<usize> {
        if self.language != Language::Rust || self.before.is_alphanumeric() || self.before == '_' {
            return None;
        }
        let rest = self.rest.strip_prefix("br").or_else(|| self.rest.strip_prefix('r'))?;
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        rest[hashes..].starts_with('"').then_some(hashes)
    }

    /// A raw string, up to its end.
    fn literal(&mut self, hashes: usize, end: &str) {
        let open = self.rest.find('"').unwrap_or_default() + 1;
        self.take(open);
        let number = self.line;
        let length = self.rest.find(end).unwrap_or(self.rest.len());
        let text = self.take(length);
        self.take((hashes + 1).min(self.rest.len()));
        self.add_literal(number, text.lines().map(str::to_owned));
        self.before = '"';
    }

    /// A string with escapes, up to its quote.
    fn escaped(&mut self, quote: char) {
        self.take(1);
        let number = self.line;
        let mut lines = vec![String::new()];
        while let Some(first) = self.rest.chars().next() {
            let taken = self.take(first.len_utf8());
            match first {
                '\\' => {
                    let Some(next) = self.rest.chars().next() else { break };
                    self.take(next.len_utf8());
                    if next == '\n' {
                        lines.push(String::new());
                    } else {
                        // Neither a letter nor the end of a word: `\n` parts two of them.
                        push(&mut lines, " | ");
                    }
                }
                '\n' => lines.push(String::new()),
                _ if first == quote => break,
                '$' if quote == '`' && self.rest.starts_with('{') => {
                    self.interpolation();
                    push(&mut lines, "{}");
                }
                _ => push(&mut lines, taken),
            }
        }
        self.add_literal(number, lines.into_iter());
        self.before = '"';
    }

    /// An expression inside a template, with the strings inside of it.
    fn interpolation(&mut self) {
        let mut depth = 0_usize;
        while let Some(first) = self.rest.chars().next() {
            match first {
                '\'' | '"' | '`' => {
                    self.escaped(first);
                    continue;
                }
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            self.take(first.len_utf8());
            if depth == 0 {
                return;
            }
        }
    }

    fn add_literal(&mut self, number: usize, lines: impl Iterator<Item = String>) {
        self.passages.end();
        for (index, line) in lines.enumerate() {
            if line.trim().is_empty() {
                self.passages.end();
            } else {
                self.passages.add(Kind::Literal, number + index, line);
            }
        }
        self.passages.end();
    }

    /// A character, or the mark of a lifetime or label.
    fn character(&mut self) {
        self.passages.end();
        self.before = '\'';
        let mut inside = self.rest[1..].chars();
        let length = match (inside.next(), inside.next()) {
            (Some('\\'), _) => {
                // The escaped character may be the quote.
                self.rest.get(3..).and_then(|rest| rest.find('\'')).map_or(1, |end| end + 4)
            }
            (Some(first), Some('\'')) => first.len_utf8() + 2,
            _ => 1,
        };
        self.take(length);
    }

    /// Whether a `/` here begins a regular expression rather than being a division.
    fn expects_value(&self) -> bool {
        "(,=:[!&|?{};+-*%<>~^".contains(self.before)
    }

    fn regular_expression(&mut self) {
        self.passages.end();
        self.before = '/';
        self.take(1);
        let mut in_class = false;
        while let Some(first) = self.rest.chars().next() {
            self.take(first.len_utf8());
            match first {
                '\\' => {
                    let next = self.rest.chars().next().map_or(0, char::len_utf8);
                    self.take(next);
                }
                '[' => in_class = true,
                ']' => in_class = false,
                '\n' => return,
                '/' if !in_class => return,
                _ => {}
            }
        }
    }
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Vec<(Kind, usize, String)> {
        let passages = passages(Path::new(name), text);
        passages.iter().map(|passage| (passage.kind, passage.line(), passage.text())).collect()
    }

    #[test]
    fn rust_is_read_as_comments_and_literals() {
        let text = "//! Module\n//! doc.\n//!\n//! Next.\n\n/// Item.\nfn f<'a>(x: &'a str) -> char {\n    // Why\n    // so.\n    g(\"a \\\n       b\", '\"', r#\"raw \" one\"#, '\\'');\n    /* block\n     * two */ 'x'\n}\n";
        let expected = [
            (Kind::ModuleDoc, 1, "Module doc."),
            (Kind::ModuleDoc, 4, "Next."),
            (Kind::Doc, 6, "Item."),
            (Kind::Comment, 8, "Why so."),
            (Kind::Literal, 10, "a b"),
            (Kind::Literal, 11, "raw \" one"),
            (Kind::Comment, 12, "block two"),
        ];
        let expected = expected.map(|(kind, line, text)| (kind, line, text.to_owned()));
        assert_eq!(found("a.rs", text), expected);
    }

    #[test]
    fn javascript_is_read_past_templates_and_regular_expressions() {
        let text = "const a = /[\"/]'/; // one\nb(`two ${c('three')} four`, a / 2);\n";
        let texts: Vec<String> = found("a.js", text).into_iter().map(|(.., text)| text).collect();
        assert_eq!(texts, ["one", "three", "two {} four"]);
    }

    #[test]
    fn markdown_is_read_by_paragraph_item_and_row_without_fences() {
        let text = "# Head\nOne\ntwo.\n\n- item\n  more\n- next\n\n```sh\ncode\n```\n| a | b |\n";
        let texts: Vec<String> = found("a.md", text).into_iter().map(|(.., text)| text).collect();
        assert_eq!(texts, ["# Head", "One two.", "- item more", "- next", "| a | b |"]);
    }
}
