//! Pure: compute resources, checked and in the API server's own spelling.
//!
//! The spelling matters: the API server stores `1000m` as `1`, and an object that is never equal to what was applied
//! would be applied again and again.

use std::collections::BTreeMap;

use egressway_core::acl::compile::Problems;
use egressway_crds::{ResourceAmounts, Resources};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Requests and limits, `cpu` and `memory`.
#[derive(Clone, Debug, PartialEq)]
pub struct Compute {
    /// What the scheduler sets aside.
    pub requests: BTreeMap<String, Quantity>,
    /// What may not be exceeded.
    pub limits: BTreeMap<String, Quantity>,
}

impl Default for Compute {
    fn default() -> Self {
        parse(&Resources::default(), &mut Problems::default())
    }
}

/// 50m: an idle proxy needs less, a busy one takes what is free.
const CPU_REQUEST: Milli = Milli(50);
/// 64Mi: some 2 KiB an idle tunnel, so this carries thousands.
const MEMORY_REQUEST: Milli = Milli(64 * 1024 * 1024 * 1000);
/// 256Mi: 10 000 tunnels with buffers under way.
const MEMORY_LIMIT: Milli = Milli(256 * 1024 * 1024 * 1000);

/// Thousandths of a core or of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Milli(u128);

/// Reads resources, with defaults for what is absent.
pub fn parse(resources: &Resources, problems: &mut Problems) -> Compute {
    let mut amount = |which: &str,
                      amounts: Option<&ResourceAmounts>,
                      pick: fn(&ResourceAmounts) -> Option<&IntOrString>| {
        let text = match amounts.and_then(pick)? {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(text) => text.clone(),
        };
        let parsed = milli(&text);
        if parsed.is_none() {
            let field = format!("spec.fleet.resources.{which}");
            problems.push(
                field,
                format!("{text:?} is no quantity: write one like 250m, 1 or 128Mi"),
            );
        }
        parsed
    };
    let (requests, limits) = (resources.requests.as_ref(), resources.limits.as_ref());
    let cpu_limit = amount("limits.cpu", limits, |amounts| amounts.cpu.as_ref());
    let memory_limit =
        amount("limits.memory", limits, |amounts| amounts.memory.as_ref()).unwrap_or(MEMORY_LIMIT);
    let cpu_request = amount("requests.cpu", requests, |amounts| amounts.cpu.as_ref());
    let memory_request = amount("requests.memory", requests, |amounts| amounts.memory.as_ref());
    let mut pair = |name: &str, request: Option<Milli>, default: Milli, limit: Option<Milli>| {
        let request = request.unwrap_or_else(|| limit.map_or(default, |limit| limit.min(default)));
        if limit.is_some_and(|limit| limit < request) {
            let field = format!("spec.fleet.resources.limits.{name}");
            problems.push(
                field,
                format!("is below requests.{name}: write a limit of at least the request"),
            );
        }
        request
    };
    let cpu_request = pair("cpu", cpu_request, CPU_REQUEST, cpu_limit);
    let memory_request = pair("memory", memory_request, MEMORY_REQUEST, Some(memory_limit));
    let entry = |name: &str, amount: String| (name.to_owned(), Quantity(amount));
    let mut compute = Compute {
        requests: [
            entry("cpu", decimal(cpu_request)),
            entry("memory", binary(memory_request)),
        ]
        .into(),
        limits: [entry("memory", binary(memory_limit))].into(),
    };
    compute
        .limits
        .extend(cpu_limit.map(|limit| entry("cpu", decimal(limit))));
    compute
}

fn milli(text: &str) -> Option<Milli> {
    let digits = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    let (number, suffix) = text.split_at_checked(digits)?;
    let scale: u128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 15 || fraction.len() > 9 || number.ends_with('.') {
        return None;
    }
    let whole = whole.parse::<u128>().ok()?.checked_mul(scale)?;
    let fraction = if fraction.is_empty() {
        0
    } else {
        let unit = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        // Rounded up, as Kubernetes does with what is finer than it keeps.
        fraction.parse::<u128>().ok()?.checked_mul(scale)?.div_ceil(unit)
    };
    Some(Milli(whole.checked_add(fraction)?))
}

/// As the API server spells cores.
fn decimal(Milli(milli): Milli) -> String {
    if milli == 0 {
        return "0".to_owned();
    }
    let suffixes = [("T", 15), ("G", 12), ("M", 9), ("k", 6), ("", 3), ("m", 0)];
    for (suffix, power) in suffixes {
        let unit = 10_u128.pow(power);
        if milli.is_multiple_of(unit) {
            return format!("{}{suffix}", milli / unit);
        }
    }
    format!("{milli}m")
}

/// As the API server spells bytes written with a binary suffix; whole bytes only.
fn binary(Milli(milli): Milli) -> String {
    let bytes = milli.div_ceil(1000);
    if bytes == 0 {
        return "0".to_owned();
    }
    for (suffix, shift) in [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)] {
        if bytes.is_multiple_of(1 << shift) {
            return format!("{}{suffix}", bytes >> shift);
        }
    }
    decimal(Milli(bytes.saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(requests: [Option<&str>; 2], limits: [Option<&str>; 2]) -> Resources {
        let amounts = |[cpu, memory]: [Option<&str>; 2]| {
            let quantity = |text: Option<&str>| text.map(|text| IntOrString::String(text.to_owned()));
            Some(ResourceAmounts {
                cpu: quantity(cpu),
                memory: quantity(memory),
            })
        };
        Resources {
            requests: amounts(requests),
            limits: amounts(limits),
        }
    }

    #[track_caller]
    fn check(resources: &Resources, expected: Result<[&str; 3], &str>) {
        let mut problems = Problems::default();
        let compute = parse(resources, &mut problems);
        let result = problems
            .into_result(compute)
            .map_err(|problems| problems.to_string());
        match (result, expected) {
            (Ok(compute), Ok([cpu, memory, limit])) => assert_eq!(
                (
                    &compute.requests["cpu"].0[..],
                    &compute.requests["memory"].0[..],
                    &compute.limits["memory"].0[..]
                ),
                (cpu, memory, limit)
            ),
            (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
            (result, expected) => panic!("{result:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn defaults_spellings_and_bounds() {
        let none = [None, None];
        check(&Resources::default(), Ok(["50m", "64Mi", "256Mi"]));
        check(
            &resources([Some("1000m"), Some("1024Mi")], [None, Some("1.5Gi")]),
            Ok(["1", "1Gi", "1536Mi"]),
        );
        check(
            &resources([Some("0.5"), None], none),
            Ok(["500m", "64Mi", "256Mi"]),
        );
        check(
            &resources(none, [None, Some("32Mi")]),
            Ok(["50m", "32Mi", "32Mi"]),
        );
        check(
            &resources(none, [Some("20m"), Some("100M")]),
            Ok(["20m", "64Mi", "100M"]),
        );
        check(
            &resources([None, Some("512Mi")], none),
            Err("limits.memory: is below requests.memory"),
        );
        check(
            &resources([Some("2"), None], [Some("1"), None]),
            Err("limits.cpu: is below"),
        );
        check(
            &resources([Some("1x"), None], none),
            Err("requests.cpu: \"1x\" is no quantity"),
        );
        check(&resources([Some("1."), None], none), Err("no quantity"));
        check(&resources([Some(""), None], none), Err("no quantity"));
    }
}
