//! What is left of banned phrases in folders that are not finished: a number for each, which may only shrink.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::fault::Fault;

/// The file of the numbers.
pub(super) const LIST: &str = "xtask/banned-phrases-left.txt";

/// A folder or file, and the number of banned phrases in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    folder: PathBuf,
    count: usize,
}

/// The numbers of the project.
pub(super) fn left(root: &Path) -> Result<Vec<Left>> {
    parse(&std::fs::read_to_string(root.join(LIST)).context(LIST)?).context(LIST)
}

fn parse(list: &str) -> Result<Vec<Left>> {
    let mut left = Vec::new();
    for (index, line) in list.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields = line.split_once(' ');
        let fields = fields.and_then(|(count, folder)| Some((count.parse().ok()?, folder)));
        let (count, folder) =
            fields.with_context(|| format!("line {}: expected `COUNT FOLDER`", index + 1))?;
        left.push(Left { folder: folder.into(), count });
    }
    Ok(left)
}

/// Faults that count: those outside of the folders, and all of a folder that has more than its number. A folder that
/// has fewer is a fault of its own, so that the number shrinks with them.
pub(super) fn over(faults: Vec<Fault>, left: &[Left]) -> Vec<Fault> {
    let folder_of = |fault: &Fault| folder_of(fault, left);
    let counts = counts(&faults, left);
    let is_over =
        |fault: &Fault| folder_of(fault).is_none_or(|index| counts[index] > left[index].count);
    let mut over: Vec<Fault> = faults.into_iter().filter(is_over).collect();
    for (Left { folder, count }, found) in left.iter().zip(counts) {
        if found < *count {
            let folder = folder.display();
            over.push(Fault {
                file: LIST.into(),
                line: 1,
                what: format!("`{folder}` has {found} banned phrases, fewer than {count}: write {found} (UPDATE_DOCS=1 cargo test -p xtask prose)"),
            });
        }
    }
    over
}

/// The number of faults in each folder.
fn counts(faults: &[Fault], left: &[Left]) -> Vec<usize> {
    let mut counts = vec![0; left.len()];
    for index in faults.iter().filter_map(|fault| folder_of(fault, left)) {
        counts[index] += 1;
    }
    counts
}

/// The most specific folder that holds the file of a fault.
fn folder_of(fault: &Fault, left: &[Left]) -> Option<usize> {
    let holds = |index: &usize| fault.file.starts_with(&left[*index].folder);
    (0..left.len()).filter(holds).max_by_key(|index| left[*index].folder.as_os_str().len())
}

/// Lowers the numbers in the file to those of `faults`, and removes what has become zero.
#[cfg(test)]
pub(super) fn lower(root: &Path, faults: &[Fault], left: &[Left]) -> Result<()> {
    let list = std::fs::read_to_string(root.join(LIST))?;
    let comments: Vec<String> =
        list.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect();
    let found = left.iter().zip(counts(faults, left));
    let lowered = found.map(|(left, found)| (left.count.min(found), left.folder.display()));
    let lowered = lowered.filter(|(count, _)| *count > 0);
    let lines: Vec<String> = comments
        .into_iter()
        .chain(lowered.map(|(count, name)| format!("{count} {name}")))
        .collect();
    Ok(std::fs::write(root.join(LIST), lines.join("\n") + "\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(files: &[&str]) -> Vec<Fault> {
        let fault = |(index, file): (usize, &&str)| Fault {
            file: file.into(),
            line: index,
            what: "\"zonk\": write quux".into(),
        };
        files.iter().enumerate().map(fault).collect()
    }

    fn over(files: &[&str], list: &str) -> Vec<String> {
        let left = parse(list).expect("a list");
        super::over(faults(files), &left).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_phrase_outside_of_the_folders_is_named() {
        assert_eq!(over(&["a/b.rs", "c.md"], "1 a\n"), ["c.md:1: \"zonk\": write quux"]);
    }

    #[test]
    fn a_folder_with_more_than_its_number_is_named_in_full() {
        assert_eq!(over(&["a/b.rs", "a/c.rs"], "2 a\n"), [""; 0]);
        assert_eq!(over(&["a/b.rs", "a/c.rs"], "# a comment\n1 a\n").len(), 2);
        assert_eq!(over(&["a/b/c.rs", "a/c.rs"], "1 a\n1 a/b\n"), [""; 0]);
    }

    #[test]
    fn a_number_that_is_too_high_is_named() {
        let expected = "xtask/banned-phrases-left.txt:1: `a` has 1 banned phrases, fewer than 2: write 1 (UPDATE_DOCS=1 cargo test \
                        -p xtask prose)";
        assert_eq!(over(&["a/b.rs"], "2 a\n"), [expected]);
    }

    #[test]
    fn a_line_without_a_number_is_refused_with_its_line() {
        let refusal = parse("1 a\nb\n").expect_err("refused").to_string();
        assert!(refusal.contains("line 2"), "{refusal}");
    }
}
