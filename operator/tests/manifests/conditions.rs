//! `docs/conditions.md` beside the code: every condition, reason and Event stands in it, nothing else does, and the test that
//! each row names brings that very state about.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use egressway_operator::egress_policy::condition::{Kind, Reason};
use egressway_operator::events;

/// Bodies of all functions of the operator by name.
fn functions() -> BTreeMap<String, String> {
    fn read(folder: &Path, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, into);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let mut parts = text.split("fn ");
                parts.next();
                for part in parts {
                    let name: String = part
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    into.entry(name).or_default().push_str(part);
                }
            }
        }
    }
    let mut functions = BTreeMap::new();
    for folder in ["src", "tests"] {
        read(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut functions,
        );
    }
    functions
}

/// The rows of the tables below a heading, cell by cell, with their first cell carried on.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let section = text.split(&format!("## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in section.lines().filter(|line| line.starts_with('|')).skip(2) {
        let line = line.trim_matches('|').replace("\\|", "");
        let mut cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        if cells[0].is_empty() {
            cells[0] = rows.last().unwrap()[0].clone();
        }
        rows.push(cells);
    }
    rows
}

fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

#[test]
fn every_condition_reason_and_event_has_its_row_and_its_test() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conditions.md");
    let text = fs::read_to_string(path).unwrap();
    let functions = functions();
    let (mut kinds, mut reasons, mut told) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let check = |what: &str, spellings: &[String], test: &str| {
        let test = code(test).unwrap_or_else(|| panic!("{what} names no test: {test}"));
        let body = functions.get(test);
        let body = body.unwrap_or_else(|| panic!("{what}: there is no test {test}"));
        assert!(
            spellings.iter().any(|spelling| body.contains(spelling)),
            "{what}: {test} says nothing of it"
        );
    };
    for heading in ["EgressPolicy", "EgressPool"] {
        for row in rows(&text, heading) {
            kinds.insert(row[0].clone());
            let Some(reason) = code(&row[1]) else { continue };
            let known = Reason::ALL.iter().find(|known| known.as_str() == reason);
            let known = known.unwrap_or_else(|| panic!("no condition has the reason {reason}"));
            reasons.insert(known.as_str());
            check(
                &format!("{} {reason}", row[0]),
                &[reason.to_owned(), format!("{known:?}")],
                row.last().unwrap(),
            );
        }
    }
    for row in rows(&text, "Events") {
        let name = code(&row[0]).unwrap().to_owned();
        check(&name, &[format!("\"{name}\"")], row.last().unwrap());
        told.insert(name);
    }
    let all = |list: &[&str]| {
        list.iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(kinds, all(&Kind::ALL.map(Kind::as_str)));
    let missing: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !reasons.contains(reason.as_str()))
        .collect();
    assert!(missing.is_empty(), "no row: {missing:?}");
    assert_eq!(told, events::good_news());
}
