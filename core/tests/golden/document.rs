//! What `PROTOCOL.md` says: its vectors and tables.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

const PROTOCOL: &str = include_str!("../../PROTOCOL.md");

/// The vectors of the document, and which of them were asked for.
pub(crate) struct Vectors {
    pub(crate) bytes: BTreeMap<&'static str, Vec<u8>>,
    used: RefCell<BTreeSet<&'static str>>,
}

impl Vectors {
    /// Reads the blocks fenced as `vectors`: `name = hex`, lines that begin with a space continue
    /// the vector before them, `xx*n` is `n` times the byte `xx`, and `;` begins a comment.
    pub(crate) fn read() -> Self {
        let mut bytes = BTreeMap::<&str, Vec<u8>>::new();
        let mut current = None;
        let mut inside = false;
        for line in PROTOCOL.lines() {
            if line.starts_with("```") {
                inside = line == "```vectors";
                current = None;
                continue;
            }
            let text = line.split(';').next().unwrap_or("").trim_end();
            if !inside || text.is_empty() {
                continue;
            }
            let hex = match text.split_once(" =") {
                Some((name, hex)) if !line.starts_with(' ') => {
                    assert!(bytes.insert(name, Vec::new()).is_none(), "{name} is there twice");
                    current = Some(name);
                    hex
                }
                _ => text,
            };
            let name = current.unwrap_or_else(|| panic!("no vector for {line:?}"));
            let vector = bytes.get_mut(name).unwrap();
            for token in hex.split_whitespace() {
                let (byte, times) = token.split_once('*').unwrap_or((token, "1"));
                assert_eq!(byte.len(), 2, "{token:?} in {name}");
                let byte =
                    u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{token:?} in {name}"));
                vector.extend(std::iter::repeat_n(byte, times.parse().unwrap()));
            }
        }
        Self { bytes, used: RefCell::default() }
    }

    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> &[u8] {
        let Some((name, bytes)) = self.bytes.get_key_value(name) else {
            panic!("the document has no vector {name}")
        };
        self.used.borrow_mut().insert(name);
        bytes
    }

    /// The vectors whose names begin with `prefix`: `count` of them.
    pub(crate) fn family(&self, prefix: &str, count: usize) -> Vec<(&'static str, &[u8])> {
        let of: Vec<_> =
            self.bytes.keys().filter(|name| name.starts_with(prefix)).copied().collect();
        assert_eq!(of.len(), count, "vectors {prefix}*");
        of.into_iter().map(|name| (name, self.get(name))).collect()
    }

    /// The `count` cases of `prefix`, each of two vectors: `CASE.first` and `CASE.second`.
    pub(crate) fn cases(
        &self,
        prefix: &str,
        count: usize,
        [first, second]: [&str; 2],
    ) -> Vec<(String, &[u8], &[u8])> {
        let family = self.family(prefix, 2 * count);
        let cases: Vec<_> = family
            .iter()
            .filter_map(|(name, bytes)| {
                let case = name.strip_suffix(first)?.strip_suffix('.')?;
                Some((case.into(), *bytes, self.get(&format!("{case}.{second}"))))
            })
            .collect();
        assert_eq!(cases.len(), count, "vectors {prefix}* are not all pairs");
        cases
    }

    /// Holds `bytes` against the vector `name`.
    #[track_caller]
    pub(crate) fn check(&self, name: &str, bytes: &[u8]) {
        let is = bytes.iter().map(|byte| format!(" {byte:02x}")).collect::<String>();
        let Some(expected) = self.bytes.get(name) else {
            panic!("the document has no vector\n{name} ={is}")
        };
        assert_eq!(expected, bytes, "\n{name} ={is}");
        self.get(name);
    }

    pub(crate) fn unused(&self) -> Vec<&'static str> {
        let used = self.used.borrow();
        self.bytes.keys().filter(|name| !used.contains(*name)).copied().collect()
    }
}

/// The rows of all tables of section `number`, or of subsection `5.2`, without ticks.
pub(crate) fn rows(number: &str) -> Vec<Vec<String>> {
    let depth = if number.contains('.') { "### " } else { "## " };
    let mut lines = PROTOCOL.lines().skip_while(|line| {
        !line.strip_prefix(depth).is_some_and(|title| title.starts_with(&format!("{number} ")))
    });
    assert!(lines.next().is_some(), "no section {number}");
    lines
        .take_while(|line| !(line.starts_with("## ") || line.starts_with(depth)))
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
        })
        .collect()
}

/// Number and name of the rows of section `number` that begin with a number.
pub(crate) fn numbered(number: &str) -> BTreeMap<u8, String> {
    let of = rows(number);
    of.iter().filter_map(|row| Some((row[0].parse().ok()?, row[1].clone()))).collect()
}

/// `x{n}` is `n` times the character `x`.
pub(crate) fn expand(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (count, tail) = after.split_once('}').unwrap();
        result.push_str(before);
        let last = before.chars().last().unwrap();
        result.extend(std::iter::repeat_n(last, count.parse::<usize>().unwrap() - 1));
        rest = tail;
    }
    result + rest
}
