//! Files of the repository that a Markdown file names in code spans, such as `src/main.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pulldown_cmark::Event;

use super::fault::Fault;
use super::links;

/// Endings by which a name with a folder is known to be a file of the repository.
const ENDINGS: [&str; 6] = [".rs", ".md", ".toml", ".yml", ".txt", ".Dockerfile"];

/// Names of a Markdown file that are the end of no path in the repository.
pub(super) fn unknown(file: &Path, text: &str, files: &BTreeSet<PathBuf>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (event, line) in links::events(text) {
        let Event::Code(name) = event else { continue };
        if names_a_file(&name) && !files.iter().any(|known| known.ends_with(&*name)) {
            let what = format!("no file `{name}`: expected the end of a path in the repository");
            faults.push(Fault { file: file.to_owned(), line, what });
        }
    }
    faults
}

fn names_a_file(span: &str) -> bool {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "/._-".contains(sign);
    let is_relative = !span.starts_with(['/', '.']);
    is_relative
        && span.contains('/')
        && span.chars().all(is_plain)
        && ENDINGS.iter().any(|ending| span.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_exist_is_named_with_line_and_remedy() {
        let files = BTreeSet::from(["a/src/b/c.rs", "docs/d.md"].map(PathBuf::from));
        let text = "`b/c.rs` and `src/b/c.rs`, `docs/d.md`, `/etc/x.toml`, `NAME/x.rs y`\n```\n`x/y.rs`\n```\n\
                    See `b/d.rs`.\n";
        let faults = unknown(Path::new("e.md"), text, &files);
        assert_eq!(faults.len(), 1, "{faults:?}");
        let expected = "e.md:5: no file `b/d.rs`: expected the end of a path in the repository";
        assert_eq!(faults[0].to_string(), expected);
    }
}
