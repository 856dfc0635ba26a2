//! Pure: which cells may replace their pods now. Never two cells that serve, and never a deadlock.
//!
//! Only a cell that serves has something to lose, so only such cells wait for each other. One that serves nobody, be it
//! drained, disabled, in quarantine, without nodes or broken, goes at once and holds nobody: what is missing in it may be
//! missing for ever. What serves and is being replaced, or serves with fewer pods than it should, is waited for: it may
//! be what is new that keeps it from being whole.

use egressway_core::wire::document;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;

use super::cells;
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
    /// The view of a live Deployment that is wanted so. `lacks_nodes`: some of its pods find none, which no waiting ends,
    /// so that it is as whole as it gets.
    #[must_use]
    pub fn new(live: &Deployment, wanted: &Deployment, lacks_nodes: bool) -> Self {
        let template = |deployment: &Deployment| deployment.annotations().get(TEMPLATE_HASH).cloned();
        let status = live.status.clone().unwrap_or_default();
        Self {
            name: live.name_any(),
            replaces: template(wanted) != template(live),
            rolling: cells::rolls(live) && !lacks_nodes,
            whole: cells::settled(live) || lacks_nodes,
            serves: status.available_replicas.unwrap_or(0) > 0,
        }
    }
}

/// The Deployments that may replace their pods now.
///
/// `fleet` is any text that is the fleet's own: cells go in an order that follows from it, so that fleets that all have
/// to roll, as after an upgrade, do not all roll the same cell and load one NAT at a time.
#[must_use]
pub fn may_roll<'a>(fleet: &str, cells: &'a [View]) -> Vec<&'a str> {
    let mut due: Vec<&View> = cells.iter().filter(|cell| cell.replaces).collect();
    due.sort_by_cached_key(|cell| document::digest(&(fleet, &cell.name)));
    let (serving, dark): (Vec<&View>, Vec<&View>) = due.into_iter().partition(|cell| cell.serves);
    let mut chosen: Vec<&str> = dark.iter().map(|cell| cell.name.as_str()).collect();
    let mut others = cells.iter().filter(|cell| cell.serves);
    if others.all(|cell| !cell.rolling) {
        let others_whole = |name: &str| {
            cells
                .iter()
                .all(|cell| cell.name == name || cell.whole || !cell.serves)
        };
        // Broken cells first: they have the least to lose.
        let broken = serving.iter().find(|cell| !cell.whole);
        let next = broken.or_else(|| serving.iter().find(|cell| others_whole(&cell.name)));
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
        let cells = cells(text);
        // The order among whole cells is the fleet's own: here one that goes by the alphabet.
        let fleet = (0..).map(|n| n.to_string()).find(|fleet| {
            let key = |name: &str| document::digest(&(fleet, name));
            key("a") < key("b") && key("b") < key("c")
        });
        let mut chosen = may_roll(&fleet.unwrap(), &cells);
        chosen.sort_unstable();
        assert_eq!(chosen, expected, "{text}");
    }

    #[test]
    fn whole_cells_go_one_after_the_other() {
        check("a:WS* b:WS*", &["a"]);
        check("a:SR b:WS*", &[]);
        check("a:WS b:WS*", &["b"]);
        check("a:WS b:WS", &[]);
    }

    #[test]
    fn a_cell_that_serves_nobody_goes_at_once_and_holds_nobody() {
        check("a:R* b:R*", &["a", "b"]);
        check("a:R* b:WS*", &["a", "b"]);
        check("a: b:WS*", &["b"]);
        check("a:R b:WS*", &["b"]);
        check("a:R b:WS* c:WS*", &["b"]);
        check("a:R* b:WSR c:WS*", &["a"]);
    }

    #[test]
    fn half_broken_cells_go_before_whole_ones_and_one_by_one() {
        check("a:WS* b:S*", &["b"]);
        check("a:S* b:S*", &["a"]);
        check("a:S b:WS*", &[]);
    }

    #[test]
    fn fleets_that_all_have_to_roll_do_not_begin_with_the_same_cell() {
        let cells = cells("a:WS* b:WS* c:WS*");
        let mut first = [0; 3];
        for fleet in 0..300 {
            let fleet = format!("fleet-{fleet}");
            let chosen = may_roll(&fleet, &cells);
            assert_eq!(chosen, may_roll(&fleet, &cells), "and each keeps to its order");
            let at = cells.iter().position(|cell| chosen == [cell.name.as_str()]);
            first[at.unwrap()] += 1;
        }
        assert!(first.iter().all(|count| *count > 60), "{first:?}");
    }

    proptest! {
        #[test]
        fn at_most_one_serving_cell_goes_and_never_beside_another_that_rolls(
            flags in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), 1..5)
        ) {
            let cells: Vec<View> = (0..).zip(flags).map(|(n, (replaces, rolling, whole, serves))| View {
                name: format!("c{n}"), replaces, rolling: rolling && !whole, whole, serves: serves || whole,
            }).collect();
            let chosen = may_roll("fleet", &cells);
            let serving = cells.iter().filter(|cell| cell.serves && chosen.contains(&cell.name.as_str())).count();
            prop_assert!(serving <= 1);
            if serving == 1 {
                prop_assert!(cells.iter().all(|cell| !cell.rolling || !cell.serves));
            }
            // Something due goes, unless a cell that serves rolls, or is broken and nobody wants to change it.
            let waited_for = |cell: &View| cell.serves && (cell.rolling || !(cell.whole || cell.replaces));
            if cells.iter().any(|cell| cell.replaces) && !cells.iter().any(waited_for) {
                prop_assert!(!chosen.is_empty());
            }
        }
    }
}
