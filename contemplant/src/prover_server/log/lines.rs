//! Splitting a server's output into lines.

/// Longest line; the rest of a longer one is dropped.
const MAX_LINE_BYTES: usize = 4096;

/// An incomplete line.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    /// Appends `chunk`, and calls `line` with every complete line, without colours.
    pub(crate) fn feed(&mut self, chunk: &[u8], mut line: impl FnMut(&str)) {
        for byte in chunk {
            match byte {
                b'\n' => self.flush(&mut line),
                _ if self.0.len() < MAX_LINE_BYTES => self.0.push(*byte),
                _ => {}
            }
        }
    }

    /// Calls `line` with the rest, if it is not empty.
    pub(crate) fn flush(&mut self, mut line: impl FnMut(&str)) {
        let text = without_colours(&String::from_utf8_lossy(&self.0));
        self.0.clear();
        if !text.trim().is_empty() {
            line(text.trim_end());
        }
    }
}

/// Removes terminal sequences (`ESC [ … letter`) and other control characters.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    characters.by_ref().find(char::is_ascii_alphabetic);
                }
            }
            _ if character.is_control() && character != '\t' => {}
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.feed(chunk, |line| found.push(line.to_owned()));
        }
        lines.flush(|line| found.push(line.to_owned()));
        found
    }

    #[test]
    fn lines_are_put_together_from_any_chunks() {
        assert_eq!(lines(&[b"one\ntw", b"o\r\n\nthree"]), ["one", "two", "three"]);
        assert_eq!(lines(&[b"\x1b[32m INFO\x1b[0m it \xff runs\n"]), [" INFO it \u{fffd} runs"]);
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory() {
        let endless = vec![b'x'; 3 * MAX_LINE_BYTES];
        let found = lines(&[&endless, b"\nnext"]);
        assert_eq!((found[0].len(), found[1].as_str()), (MAX_LINE_BYTES, "next"));
    }
}
