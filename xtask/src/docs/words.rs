//! The word check: phrases of `xtask/banned-phrases.txt` do not occur in prose.

use anyhow::{Context, Result, ensure};

use super::prose::{Kind, Passage};

/// The list of phrases. Not Rust, so that the check does not find it.
const LIST: &str = include_str!("../../banned-phrases.txt");

/// A phrase that prose must not contain.
#[derive(Debug)]
pub(crate) struct Rule {
    phrase: Vec<String>,
    instead: String,
    excused_before: Vec<String>,
    excused_after: Vec<String>,
}

/// A place where a phrase was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) line: usize,
    pub(crate) phrase: String,
    pub(crate) instead: String,
}

/// The rules of the project.
pub(crate) fn rules() -> Result<Vec<Rule>> {
    parse(LIST).context("xtask/banned-phrases.txt")
}

fn parse(list: &str) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (index, line) in list.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [phrase, instead, excuses] = fields[..] else {
            anyhow::bail!("line {}: expected `phrase | instead | excuses`", index + 1);
        };
        let phrase: Vec<String> = phrase.split_whitespace().map(str::to_lowercase).collect();
        let fixed = phrase.first().is_some_and(|word| word != "*");
        ensure!(fixed && !instead.is_empty(), "line {}: phrase or remedy is missing", index + 1);
        let excuses = || excuses.split(',').map(str::trim);
        rules.push(Rule {
            phrase,
            instead: instead.to_owned(),
            excused_before: excuses()
                .filter_map(|word| word.strip_suffix(" _"))
                .map(Into::into)
                .collect(),
            excused_after: excuses()
                .filter_map(|word| word.strip_prefix("_ "))
                .map(Into::into)
                .collect(),
        });
    }
    Ok(rules)
}

/// Every place of a passage where a rule is broken.
pub(crate) fn hits(passage: &Passage, rules: &[Rule]) -> Vec<Hit> {
    let tokens = tokens(passage);
    let mut hits = Vec::new();
    for start in 0..tokens.len() {
        for rule in rules.iter().filter(|rule| rule.matches(&tokens, start)) {
            let found = &tokens[start..start + rule.phrase.len()];
            let phrase: Vec<&str> = found.iter().map(|token| token.word.as_str()).collect();
            hits.push(Hit {
                line: tokens[start].line,
                phrase: phrase.join(" "),
                instead: rule.instead.clone(),
            });
        }
    }
    hits
}

impl Rule {
    fn matches(&self, tokens: &[Token], start: usize) -> bool {
        let Some(found) = tokens.get(start..start + self.phrase.len()) else { return false };
        let alike = |(token, word): (&Token, &String)| {
            if word == "*" { token.is_word } else { token.word == *word }
        };
        let fixed = self.phrase.iter().take_while(|word| *word != "*").count();
        let before = start.checked_sub(1).and_then(|index| tokens.get(index));
        let after = tokens.get(start + fixed);
        let is_among = |words: &[String], token: Option<&Token>| {
            token.is_some_and(|token| words.contains(&token.word))
        };
        found.iter().zip(&self.phrase).all(alike)
            && !is_among(&self.excused_before, before)
            && !is_among(&self.excused_after, after)
    }
}

/// A word in lower case, or a punctuation mark.
#[derive(Debug)]
struct Token {
    line: usize,
    word: String,
    is_word: bool,
}

/// Words and signs of a passage. Code (backticks, placeholders of a format string) counts as one word that no
/// rule knows; emphasis counts for nothing.
fn tokens(passage: &Passage) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut code_ends_with: Option<&str> = None;
    for (line, text) in &passage.lines {
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            if let Some(end) = code_ends_with {
                match rest.find(end) {
                    Some(at) => {
                        rest = &rest[at + end.len()..];
                        code_ends_with = None;
                    }
                    None => break,
                }
                continue;
            }
            let literal = passage.kind == Kind::Literal;
            let opens = match first {
                '`' if rest.starts_with("``") && rest[2..].contains("``") => Some(("``", "``")),
                '`' => Some(("`", "`")),
                '{' if literal && rest.contains('}') => Some(("{", "}")),
                _ => None,
            };
            if let Some((open, close)) = opens {
                tokens.push(Token { line: *line, word: "`code`".into(), is_word: true });
                rest = &rest[open.len()..];
                code_ends_with = Some(close);
            } else if is_letter(first) {
                let end = rest.find(|next| !is_letter(next)).unwrap_or(rest.len());
                let word = rest[..end].to_lowercase();
                tokens.push(Token { line: *line, word, is_word: true });
                rest = &rest[end..];
            } else {
                if !first.is_whitespace() && first != '*' {
                    tokens.push(Token { line: *line, word: first.into(), is_word: false });
                }
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    tokens
}

fn is_letter(sign: char) -> bool {
    sign.is_alphanumeric() || matches!(sign, '_' | '-' | '\'' | '’')
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::docs::prose::passages;

    const RULES: &str = "# a comment\nfrob no * | do not frob | there _, _ longer\nzonk | quux |\n";

    fn found(name: &str, text: &str) -> Vec<(usize, String)> {
        let rules = parse(RULES).expect("rules");
        let passages = passages(Path::new(name), text);
        let hits = passages.iter().flat_map(|passage| hits(passage, &rules));
        hits.map(|hit| (hit.line, hit.phrase)).collect()
    }

    #[test]
    fn a_phrase_is_found_over_the_end_of_a_line_and_an_excuse_is_heeded() {
        let text = "They **Frob\nno** cat. There frob no cats; they frob no longer. Frob. No cat.\nA Zonk.";
        assert_eq!(found("a.md", text), [(1, "frob no cat".to_owned()), (3, "zonk".to_owned())]);
    }

    #[test]
    fn code_is_not_read_as_prose() {
        assert_eq!(found("a.md", "`zonk` ``a ` zonk``\n\n```\nzonk\n```\n"), []);
        assert_eq!(found("a.rs", "fn zonk() { f(\"{zonk}\") } // `zonk`\nlet zonk_er = 'z';"), []);
        let text = "// a\nlet a = \"frob no {zonk}\"; // zonk\n";
        assert_eq!(found("a.rs", text), [(2, "frob no `code`".to_owned()), (2, "zonk".to_owned())]);
    }

    const PAGE: &str = "../CONTRIBUTING.md";
    const BEGIN: &str = "<!-- banned phrases -->\n";
    const END: &str = "<!-- end of banned phrases -->\n";

    #[test]
    fn the_page_for_contributors_lists_the_phrases() {
        let mut table = String::from("\n| Phrase | Write instead |\n|---|---|\n");
        for Rule { phrase, instead, .. } in rules().expect("the project's own list") {
            table.push_str(&format!("| `{}` | {instead} |\n", phrase.join(" ")));
        }
        table.push('\n');
        let page = std::fs::read_to_string(PAGE).expect("CONTRIBUTING.md");
        let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
        let (found, after) = rest.split_once(END).expect("where it ends");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(PAGE, [before, BEGIN, &table, END, after].concat()).expect("writes");
        } else {
            assert_eq!(found, table, "UPDATE_DOCS=1 cargo test -p xtask updates it");
        }
    }

    #[test]
    fn a_rule_without_a_remedy_is_refused_with_its_line() {
        for (list, line) in [("a |  | b", "line 1"), ("\na | b", "line 2"), ("* | b |", "line 1")] {
            let refusal = parse(list).expect_err(list).to_string();
            assert!(refusal.contains(line), "{refusal}");
        }
        assert!(rules().expect("the project's own list").len() > 10);
    }
}
