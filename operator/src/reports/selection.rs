//! Pure: whether a pod's table of client pods follows the selectors that the policy has now.
//!
//! The table changes whenever a client's pod comes or goes, and a pod is always a moment behind: whether it has the very
//! last one says nothing. So it is enough that, since the selectors changed, a pod has once had a table made from them.

use std::collections::VecDeque;

/// Tables of the present selectors that are remembered. A pod is asked several times a second while it is behind, and
/// tables are written more seldom than that; one that was missed all the same is followed by the next.
const TABLES_MAX: usize = 64;

/// The selectors of one policy, and the tables made from them.
#[derive(Debug, Default)]
pub(super) struct Selection {
    selectors: Option<String>,
    /// How often they have changed since this operator runs, its start included: what a pod has had before nobody knows.
    changes: u64,
    tables: VecDeque<String>,
}

impl Selection {
    /// As an operator before this one has left it: a table, and what it was made from.
    pub(super) fn left(selectors: String, table: String) -> Self {
        Self {
            selectors: Some(selectors),
            changes: 1,
            tables: [table].into(),
        }
    }

    /// A table is to be had; true where the selectors that it is made from are others than before.
    pub(super) fn write(&mut self, selectors: &str, table: &str) -> bool {
        let changed = self.selectors.as_deref() != Some(selectors);
        if changed {
            self.selectors = Some(selectors.to_owned());
            self.tables.clear();
        }
        self.changes += u64::from(changed);
        if !self.has(table) {
            self.tables.truncate(TABLES_MAX - 1);
            self.tables.push_front(table.to_owned());
        }
        changed
    }

    /// The change that a pod with this table has followed, if it is not one of before.
    pub(super) fn followed(&self, table: &str) -> Option<u64> {
        self.has(table).then_some(self.changes)
    }

    /// Whether a pod that has followed so many changes, and has this table, follows the selectors.
    pub(super) fn is_followed(&self, changes: u64, table: Option<&str>) -> bool {
        changes >= self.changes || table.is_some_and(|table| self.has(table))
    }

    fn has(&self, table: &str) -> bool {
        self.tables.iter().any(|known| known == table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_before_this_one_has_left_is_followed_while_the_selectors_are_the_same() {
        let left = || Selection::left("a".to_owned(), "1".to_owned());
        let mut same = left();
        assert!(!same.write("a", "2"));
        let follows = ["0", "1", "2"].map(|table| same.is_followed(0, Some(table)));
        assert_eq!(follows, [false, true, true]);
        let mut edited = left();
        assert!(edited.write("b", "2"), "while no operator ran");
        let follows = ["0", "1", "2"].map(|table| edited.is_followed(0, Some(table)));
        assert_eq!(follows, [false, false, true]);
        let mut nothing = Selection::default();
        assert!(nothing.write("a", "1"));
        let follows = ["0", "1"].map(|table| nothing.is_followed(0, Some(table)));
        assert_eq!(follows, [false, true]);
    }

    #[test]
    fn new_selectors_are_followed_by_a_table_made_from_them() {
        let mut selection = Selection::default();
        selection.write("a", "1");
        assert!(selection.write("b", "2"));
        assert!(!selection.is_followed(0, None) && !selection.is_followed(0, Some("1")));
        assert!(selection.is_followed(0, Some("2")));
        assert_eq!(
            (selection.followed("1"), selection.followed("2")),
            (None, Some(2))
        );
        // Back to the selectors of before: who has not followed that has not followed.
        assert!(selection.write("a", "1"));
        assert!(!selection.is_followed(2, Some("2")) && selection.is_followed(2, Some("1")));
    }

    #[test]
    fn pods_that_come_and_go_take_nothing_back() {
        let mut selection = Selection::default();
        selection.write("a", "first");
        selection.write("b", "0");
        for table in 1..=TABLES_MAX {
            assert!(!selection.write("b", &table.to_string()));
        }
        assert!(selection.is_followed(2, Some("0")), "it has followed once");
        assert!(
            selection.is_followed(0, Some("1")) && !selection.is_followed(0, Some("0")),
            "as many are remembered as there is room for"
        );
    }
}
