//! A line of the shell, taken apart: words, quotes, comments, and `;` or `&` behind commands.
//!
//! As in other shells, but for variables and the like, of which there are none: `'...'` keeps
//! everything as it is, `"..."` everything but `\"` and `\\`, and outside of quotes a backslash keeps
//! the next character. A `#` that begins a word begins a comment.

use std::fmt;

/// A word, with where it begins in the line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Word {
    pub(super) start: usize,
    pub(super) text: String,
    /// The word as a pattern, where it has `*`, `?` or `[` outside of quotes.
    pub(super) pattern: Option<String>,
}

impl Word {
    /// So that it would be this word again.
    fn as_typed(&self) -> String {
        // What is a pattern was typed as one.
        if self.pattern.is_some() { self.text.clone() } else { quoted(&self.text) }
    }
}

/// A command, with at least one word.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
    /// It ended in `&`: it is to be done in the background.
    pub(super) is_background: bool,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.words.iter().map(|word| word.as_typed()).collect();
        f.write_str(&words.join(" "))
    }
}

/// A line as far as it was typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) commands: Vec<Command>,
    /// The quote that is not closed, or a backslash with nothing behind it.
    pub(super) open: Option<char>,
    /// The line ends in a word, which may go on.
    pub(super) ends_in_word: bool,
}

impl Line {
    /// Takes `line` apart.
    pub(super) fn new(line: &str) -> Self {
        let mut scan = Scan::default();
        let mut chars = line.char_indices();
        while let Some((at, c)) = chars.next() {
            match (scan.quote, c) {
                (Some('\''), '\'') | (Some('"'), '"') => scan.quote = None,
                (Some('"'), '\\') => match chars.clone().next() {
                    Some((_, next @ ('"' | '\\'))) => {
                        chars.next();
                        scan.push_plain(at, next);
                    }
                    _ => scan.push_plain(at, c),
                },
                (Some(_), _) => scan.push_plain(at, c),
                (None, '\'' | '"') => {
                    scan.word(at);
                    scan.quote = Some(c);
                }
                (None, '\\') => match chars.next() {
                    Some((_, next)) => scan.push_plain(at, next),
                    None => {
                        scan.word(at);
                        scan.quote = Some(c);
                    }
                },
                (None, '#') if scan.word.is_none() => break,
                (None, ';' | '&') => scan.end_command(c == '&'),
                (None, c) if c.is_whitespace() => scan.end_word(),
                (None, '*' | '?' | '[') => {
                    scan.is_pattern = true;
                    scan.push(at, c);
                }
                (None, c) => scan.push_plain(at, c),
            }
        }
        let ends_in_word = scan.word.is_some();
        scan.end_command(false);
        Self { commands: scan.commands, open: scan.quote, ends_in_word }
    }
}

#[derive(Default)]
struct Scan {
    commands: Vec<Command>,
    words: Vec<Word>,
    word: Option<Word>,
    /// The word as a pattern, if it is one.
    pattern: String,
    is_pattern: bool,
    quote: Option<char>,
}

impl Scan {
    /// The word that is being read, which begins at `at` if there was none.
    fn word(&mut self, at: usize) -> &mut Word {
        self.word.get_or_insert_with(|| Word { start: at, ..Word::default() })
    }

    fn push(&mut self, at: usize, c: char) {
        self.word(at).text.push(c);
        self.pattern.push(c);
    }

    /// A character that means itself, in patterns too.
    fn push_plain(&mut self, at: usize, c: char) {
        self.word(at).text.push(c);
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            self.pattern.push('\\');
        }
        self.pattern.push(c);
    }

    fn end_word(&mut self) {
        let pattern = std::mem::take(&mut self.pattern);
        let is_pattern = std::mem::take(&mut self.is_pattern);
        if let Some(word) = self.word.take() {
            self.words.push(Word { pattern: is_pattern.then_some(pattern), ..word });
        }
    }

    fn end_command(&mut self, is_background: bool) {
        self.end_word();
        let words = std::mem::take(&mut self.words);
        if !words.is_empty() {
            self.commands.push(Command { words, is_background });
        }
    }
}

/// `name` as it is typed so that it is one word and no pattern.
pub(super) fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_whitespace() || "\\'\"*?[;&#".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(line: &str) -> Vec<Vec<String>> {
        let commands = Line::new(line).commands;
        let texts = |words: &[Word]| words.iter().map(|word| word.text.clone()).collect();
        commands.iter().map(|command| texts(&command.words)).collect()
    }

    #[test]
    fn words_quotes_and_comments() {
        for (line, expected) in [
            ("", vec![]),
            ("  # all comment", vec![]),
            ("list", vec![vec!["list"]]),
            ("get a b  # two", vec![vec!["get", "a", "b"]]),
            ("get a#b", vec![vec!["get", "a#b"]]),
            ("get 'a b' \"c 'd'\" e\\ f", vec![vec!["get", "a b", "c 'd'", "e f"]]),
            ("put \"a\\\"b\\\\c\\d\"", vec![vec!["put", "a\"b\\c\\d"]]),
            ("put '' x", vec![vec!["put", "", "x"]]),
            ("cd a; list;; pwd ;", vec![vec!["cd", "a"], vec!["list"], vec!["pwd"]]),
            ("a';'b '&'", vec![vec!["a;b", "&"]]),
            ("put a& get b &", vec![vec!["put", "a"], vec!["get", "b"]]),
        ] {
            assert_eq!(texts(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_not_closed_is_noticed() {
        for (line, open) in [("a 'b", '\''), ("a \"b", '"'), ("a \\", '\\')] {
            assert_eq!(Line::new(line).open, Some(open), "{line}");
        }
        assert_eq!(Line::new("a 'b' \"c\"").open, None);
        assert!(Line::new("get a").ends_in_word && !Line::new("get a ").ends_in_word);
    }

    #[test]
    fn what_is_for_the_background_ends_in_an_ampersand() {
        let commands = Line::new("put a & get b; list &; put '&'").commands;
        let background: Vec<bool> = commands.iter().map(|command| command.is_background).collect();
        assert_eq!(background, [true, false, true, false]);
    }

    #[test]
    fn only_what_is_not_quoted_is_a_pattern() {
        let pattern = |line: &str| Line::new(line).commands[0].words[0].pattern.clone();
        assert_eq!(pattern("*.log").as_deref(), Some("*.log"));
        assert_eq!(pattern("'*'.log"), None);
        assert_eq!(pattern("\\*.log"), None);
        assert_eq!(pattern("'['?").as_deref(), Some("\\[?"));
        assert_eq!(pattern("plain"), None);
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back_as_one_word(name in "[^\\x00-\\x1f]{1,20}") {
            let line = Line::new(&format!("get {}", quoted(&name))).commands;
            prop_assert_eq!(line.len(), 1);
            let words = &line[0].words;
            prop_assert_eq!(words.len(), 2);
            prop_assert_eq!(&words[1].text, &name);
            prop_assert_eq!(&words[1].pattern, &None);
        }

        #[test]
        fn any_line_can_be_taken_apart(line in "\\PC*") {
            let Line { commands, .. } = Line::new(&line);
            for word in commands.iter().flat_map(|command| &command.words) {
                prop_assert!(word.start < line.len());
            }
        }
    }
}
