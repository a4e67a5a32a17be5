//! The tables of `README.md` name tests, and those are there.

use std::fs;
use std::path::Path;

/// What a table of tests may begin with, and no other has.
const HEADS: [&str; 2] = ["| feature | tests |", "| where | tests |"];

#[test]
fn every_test_in_the_table_is_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(here.join("README.md")).unwrap();
    let mut rows = 0;
    for head in HEADS {
        let (_, table) = readme.split_once(head).expect(head);
        // Below the line of dashes.
        for row in table.lines().skip(2).take_while(|line| line.starts_with("| ")) {
            let mut cells = row.trim_matches('|').split(" | ");
            let (feature, tests) = (cells.next().unwrap(), cells.next().expect("two cells"));
            for test in tests.split(',').map(|test| test.trim().trim_matches('`')) {
                let (file, function) = test.split_once("::").expect(feature);
                let source = here.join("tests").join(file).with_extension("rs");
                let source = fs::read_to_string(&source).expect(test);
                let is_there = source.contains(&format!("#[test]\nfn {function}() {{\n"));
                assert!(is_there, "{feature}: there is no test {test}");
            }
            rows += 1;
        }
    }
    assert_eq!(rows, 14 + 8, "a row each");
}
