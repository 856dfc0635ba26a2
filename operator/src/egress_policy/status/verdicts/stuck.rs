//! Pure: why pods do not come up, as whoever keeps them says: the scheduler, the API server, a kubelet.

use super::counted;
use crate::egress_policy::condition::Reason;
use crate::egress_policy::status::Facts;

/// The first that says something, with what to do.
pub(super) fn stuck(facts: &Facts<'_>) -> Option<(Reason, String)> {
    if let Some(why) = counted(facts).find_map(|pod| pod.unschedulable.as_ref()) {
        let next = "label and taint nodes as the pool's cells say, or add nodes";
        return Some((
            Reason::Unschedulable,
            format!("the scheduler says: {why}. {next}"),
        ));
    }
    let refused = facts.cells.iter();
    if let Some((cell, why)) = refused
        .filter_map(|cell| Some((cell, cell.refused.as_ref()?)))
        .next()
    {
        let next = "look at the quotas and admission policies of the fleet namespace";
        return Some((
            Reason::NoReadyPods,
            format!("no pod can be made for cell {}: {why}: {next}", cell.name),
        ));
    }
    let (pod, trouble) = counted(facts).find_map(|pod| Some((pod, pod.trouble?)))?;
    let node = pod.node.as_deref().unwrap_or("unknown");
    Some((
        Reason::NoReadyPods,
        format!("pod {} on node {node}: {}", pod.name, trouble.text()),
    ))
}
