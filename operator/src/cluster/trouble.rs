//! Pure: why a pod of a fleet does not come up, as its kubelet tells, in words that name the next step.
//!
//! Tenants cannot look into the fleet namespace, so a policy's status has to say it. A kubelet alternates between
//! spellings of one trouble (`ErrImagePull`, `ImagePullBackOff`) and puts changing numbers into its messages: only the
//! kind of trouble is taken, or a status would be written with every attempt.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

/// What keeps a container from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no image to run.
    Image,
    /// The kubelet cannot make the container.
    Container,
    /// It was killed because its memory has a limit.
    Memory,
    /// It ends again and again.
    Crash,
}

impl Trouble {
    /// Of the first container that has any.
    #[must_use]
    pub fn of(pod: &PodStatus) -> Option<Self> {
        pod.container_statuses.iter().flatten().find_map(of_container)
    }

    /// What it is and what to do.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Image => {
                "its image cannot be pulled: correct the chart's proxy.image and proxy.imagePullSecrets, or the node's way to the registry"
            }
            Self::Container => {
                "its container cannot be made: look at the pod's Events in the fleet namespace"
            }
            Self::Memory => "it ran out of memory: raise spec.fleet.resources.limits.memory",
            Self::Crash => {
                "it ends again and again: look at its log in the fleet namespace with kubectl logs --previous"
            }
        }
    }
}

fn of_container(container: &ContainerStatus) -> Option<Trouble> {
    let state = container.state.as_ref()?;
    let ended = [Some(state), container.last_state.as_ref()];
    let ended = ended
        .into_iter()
        .flatten()
        .find_map(|state| state.terminated.as_ref());
    let crash = match ended.and_then(|ended| ended.reason.as_deref()) {
        Some("OOMKilled") => Trouble::Memory,
        _ => Trouble::Crash,
    };
    let waiting = state
        .waiting
        .as_ref()
        .and_then(|waiting| waiting.reason.as_deref());
    match waiting {
        Some(
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed",
        ) => Some(Trouble::Image),
        Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
            Some(Trouble::Container)
        }
        Some("CrashLoopBackOff") => Some(crash),
        _ => state.terminated.is_some().then_some(crash),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(state: Value, last_state: Value, expected: Option<Trouble>) {
        let pod = json!({"containerStatuses": [
            {"name": "fine", "image": "i", "imageID": "", "ready": true, "restartCount": 7, "state": {"running": {}}},
            {"name": "proxy", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state, "lastState": last_state},
        ]});
        let pod: PodStatus = serde_json::from_value(pod).unwrap();
        assert_eq!(Trouble::of(&pod), expected, "{state} {last_state}");
    }

    #[test]
    fn what_a_kubelet_tells_is_one_of_four_troubles_or_none() {
        let waiting = |reason: &str| json!({"waiting": {"reason": reason, "message": "attempt 7"}});
        let ended = |reason: &str| json!({"terminated": {"reason": reason, "exitCode": 1}});
        let none = || json!({});
        for reason in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"] {
            check(waiting(reason), none(), Some(Trouble::Image));
        }
        check(
            waiting("CreateContainerConfigError"),
            none(),
            Some(Trouble::Container),
        );
        check(waiting("CrashLoopBackOff"), ended("Error"), Some(Trouble::Crash));
        check(
            waiting("CrashLoopBackOff"),
            ended("OOMKilled"),
            Some(Trouble::Memory),
        );
        check(ended("OOMKilled"), none(), Some(Trouble::Memory));
        check(waiting("ContainerCreating"), none(), None);
        check(json!({"running": {}}), ended("OOMKilled"), None);
        check(none(), none(), None);
        assert_eq!(Trouble::of(&PodStatus::default()), None);
    }
}
