//! Pure: which cells may replace their pods now. Never two cells that serve, and never a deadlock.
//!
//! A cell without a single available pod loses nothing, so it may always go: otherwise a bad image in all cells could
//! not be replaced by a good one. A cell that is whole waits until all others are whole, so that one failure domain
//! always stays.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;

use super::observe;
use crate::desired::deployment::TEMPLATE_HASH;

/// One cell's Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Name of the Deployment.
    pub name: String,
    /// What is wanted would replace its pods.
    pub replaces: bool,
    /// Pods are being replaced.
    pub rolling: bool,
    /// All its pods are up to date and available.
    pub whole: bool,
    /// Some pods are available.
    pub serves: bool,
}

impl View {
    /// The view of a live Deployment that may be wanted otherwise.
    #[must_use]
    pub fn new(live: &Deployment, wanted: Option<&Deployment>) -> Self {
        let template = |deployment: &Deployment| deployment.annotations().get(TEMPLATE_HASH).cloned();
        let status = live.status.clone().unwrap_or_default();
        Self {
            name: live.name_any(),
            replaces: wanted.is_some_and(|wanted| template(wanted) != template(live)),
            rolling: observe::rolls(live),
            whole: observe::settled(live),
            serves: status.available_replicas.unwrap_or(0) > 0,
        }
    }
}

/// The Deployments that may replace their pods now.
#[must_use]
pub fn may_roll(cells: &[View]) -> Vec<&str> {
    let due = || cells.iter().filter(|cell| cell.replaces);
    let dark = due().filter(|cell| !cell.serves);
    let mut chosen: Vec<&str> = dark.map(|cell| cell.name.as_str()).collect();
    let nobody_rolls = chosen.is_empty() && cells.iter().all(|cell| !cell.rolling);
    if nobody_rolls {
        let others_whole = |name: &str| cells.iter().all(|cell| cell.name == name || cell.whole);
        // Broken cells first: they have the least to lose.
        let broken = due().find(|cell| !cell.whole);
        let next = broken.or_else(|| due().find(|cell| others_whole(&cell.name)));
        chosen.extend(next.map(|cell| cell.name.as_str()));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `a:WS*` is cell a, whole and serving, and due; `R` rolls.
    fn cells(text: &str) -> Vec<View> {
        text.split_whitespace()
            .map(|cell| {
                let (name, flags) = cell.split_once(':').unwrap();
                View {
                    name: name.to_owned(),
                    replaces: flags.contains('*'),
                    rolling: flags.contains('R'),
                    whole: flags.contains('W'),
                    serves: flags.contains('S'),
                }
            })
            .collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(may_roll(&cells(text)), expected, "{text}");
    }

    #[test]
    fn whole_cells_go_one_after_the_other() {
        check("a:WS* b:WS*", &["a"]);
        check("a:SR b:WS*", &[]);
        check("a:WS b:WS*", &["b"]);
        check("a:WS b:WS", &[]);
    }

    #[test]
    fn a_cell_that_serves_nobody_goes_at_once_and_holds_whole_ones_back() {
        check("a:R* b:R*", &["a", "b"]);
        check("a:R* b:WS*", &["a"]);
        check("a: b:WS*", &[]);
    }

    #[test]
    fn half_broken_cells_go_before_whole_ones_and_one_by_one() {
        check("a:WS* b:S*", &["b"]);
        check("a:S* b:S*", &["a"]);
    }

    proptest! {
        #[test]
        fn at_most_one_serving_cell_goes_and_never_beside_another_that_rolls(
            flags in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), 1..5)
        ) {
            let cells: Vec<View> = (0..).zip(flags).map(|(n, (replaces, rolling, whole, serves))| View {
                name: format!("c{n}"), replaces, rolling: rolling && !whole, whole, serves: serves || whole,
            }).collect();
            let chosen = may_roll(&cells);
            let serving = cells.iter().filter(|cell| cell.serves && chosen.contains(&cell.name.as_str())).count();
            prop_assert!(serving <= 1);
            if serving == 1 {
                prop_assert!(cells.iter().all(|cell| !cell.rolling));
            }
            // Something due goes, unless a cell rolls or is broken and nobody wants to change it.
            if cells.iter().any(|cell| cell.replaces) && cells.iter().all(|cell| cell.whole || cell.replaces) && cells.iter().all(|cell| !cell.rolling) {
                prop_assert!(!chosen.is_empty());
            }
        }
    }
}
