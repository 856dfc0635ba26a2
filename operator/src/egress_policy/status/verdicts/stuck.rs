//! Pure: why pods do not come up, as whoever keeps them says: the scheduler, the API server, a kubelet; and which condition
//! repeats it.

use super::{counted, under_way};
use crate::egress_policy::condition::{Kind, Reason, Verdict};
use crate::egress_policy::status::Facts;

/// The first that says something, with what to do.
pub(super) fn stuck(facts: &Facts<'_>) -> Option<(Reason, String)> {
    if let Some(why) = counted(facts).find_map(|pod| pod.unschedulable.as_ref()) {
        // Behind it stands the same once more about preemption, which cannot help.
        let why = why.split(" preemption: ").next().unwrap_or(why);
        let why = why.trim_end_matches('.');
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

/// Why pods do not come up, if somebody says so. It stands in one condition, and the others name that one.
pub(super) struct Why {
    text: Option<String>,
    told_by: Kind,
}

impl Why {
    pub(super) fn of(facts: &Facts<'_>, ready: &Verdict) -> Self {
        let told_by = if matches!(
            ready.reason,
            Reason::Unschedulable | Reason::NoReadyPods | Reason::Starting
        ) {
            Kind::Ready
        } else if facts.failure.is_none() && !under_way(facts).rolling.is_empty() {
            Kind::Progressing
        } else {
            Kind::Degraded
        };
        Self {
            text: stuck(facts).map(|(_, why)| why),
            told_by,
        }
    }

    /// To be put behind what a condition says.
    pub(super) fn behind(&self, kind: Kind) -> String {
        match &self.text {
            None => String::new(),
            Some(text) if self.told_by == kind => format!("; {text}"),
            Some(_) => format!(", see {}", self.told_by.as_str()),
        }
    }
}
