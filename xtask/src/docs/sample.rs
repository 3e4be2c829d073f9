//! Passages chosen by a seed, for a reader to judge: paragraphs of the documentation, module documentation, error texts.

use std::path::{Path, PathBuf};

use super::prose::{self, Kind};

/// A passage that is long enough to judge.
const MIN_WORDS: usize = 6;

/// A passage with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) text: String,
}

/// The passages of a file that a reader could judge.
pub(super) fn candidates(file: &Path, text: &str) -> Vec<Sample> {
    // The tests of a Rust file are its last part.
    let tests = text.lines().position(|line| line.trim() == "#[cfg(test)]");
    let is_test = file.components().any(|part| part.as_os_str() == "tests");
    let of_code = file.extension().is_some_and(|extension| extension == "rs");
    let passages = prose::passages(file, text).into_iter().filter(|passage| match passage.kind {
        Kind::Text => !of_code && file.extension().is_some_and(|extension| extension == "md"),
        Kind::ModuleDoc | Kind::Doc => true,
        Kind::Literal => !is_test && of_code && tests.is_none_or(|tests| passage.line() <= tests),
        Kind::Comment => false,
    });
    let samples = passages.map(|passage| Sample {
        file: file.to_owned(),
        line: passage.line(),
        text: passage.text(),
    });
    samples.filter(|sample| words(&sample.text) >= MIN_WORDS && is_prose(&sample.text)).collect()
}

/// Whether four of five characters are letters or spaces: neither code nor a row of figures.
fn is_prose(text: &str) -> bool {
    let plain = text.chars().filter(|sign| sign.is_alphabetic() || *sign == ' ').count();
    plain * 5 >= text.chars().count() * 4
}

fn words(text: &str) -> usize {
    let is_word = |word: &&str| word.chars().filter(|sign| sign.is_alphabetic()).count() > 1;
    text.split_whitespace().filter(is_word).count()
}

/// Chooses `count` of them; the same seed chooses the same ones.
pub(super) fn choose(mut all: Vec<Sample>, count: usize, seed: u64) -> Vec<Sample> {
    let mut state = seed;
    let mut chosen = Vec::new();
    while chosen.len() < count && !all.is_empty() {
        let index = usize::try_from(next(&mut state) % all.len() as u64).unwrap_or_default();
        chosen.push(all.swap_remove(index));
    }
    chosen
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_of_six_words_is_a_candidate_and_code_is_not() {
        let text = "//! One two three four five six.\n\nlet x = \"cannot open the file of the user\";\n\
                    // One two three four five six.\n#[cfg(test)]\nmod tests { let y = \"one two three four five six\"; }\n";
        let found = candidates(Path::new("a/src/b.rs"), text);
        let lines: Vec<usize> = found.iter().map(|sample| sample.line).collect();
        assert_eq!(lines, [1, 3]);
    }

    #[test]
    fn code_and_rows_of_figures_are_no_candidates() {
        for text in [
            "body{margin:0} td,th{color:#14722e} .a{b:c} .d{e:f} .g{h:i} .j{k:l}",
            "| a second, each in KiB | 298 | 234 | 157 | 157 | 1,000 | 2,000 |",
        ] {
            assert_eq!(candidates(Path::new("a.md"), text), []);
        }
    }

    #[test]
    fn a_seed_chooses_the_same_passages_again_and_none_twice() {
        let sample = |line| Sample { file: "a".into(), line, text: "a".into() };
        let all: Vec<Sample> = (0..100).map(sample).collect();
        let lines = |seed| {
            let chosen = choose(all.clone(), 10, seed);
            chosen.into_iter().map(|sample| sample.line).collect::<Vec<_>>()
        };
        assert_eq!(lines(1), lines(1));
        assert_ne!(lines(1), lines(2));
        let once: std::collections::BTreeSet<usize> = lines(3).into_iter().collect();
        assert_eq!(once.len(), 10);
        assert_eq!(choose(all.clone(), 1000, 1).len(), 100);
    }
}
