//! Destination ports of a rule.

use crate::wire::document::PortRange;

/// A set of ports, as sorted ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Vec<(u16, u16)>);

impl PortSet {
    /// Builds the set.
    ///
    /// # Errors
    /// Says that a range has a port that is none, or names the one that ends before it starts.
    pub fn new(ranges: &[PortRange]) -> Result<Self, String> {
        let mut set = Vec::with_capacity(ranges.len());
        for range in ranges {
            let end = range.end_port.unwrap_or(range.port);
            // What stands in a manifest and is no port becomes 0 as well.
            if range.port == 0 || end == 0 {
                return Err("port 0, or one above 65535, cannot be a destination".to_owned());
            }
            if end < range.port {
                return Err(format!("endPort {end} is below port {}", range.port));
            }
            set.push((range.port, end));
        }
        set.sort_unstable();
        set.dedup();
        Ok(Self(set))
    }

    /// Whether a port is in both sets.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0
            .iter()
            .any(|(a, b)| other.0.iter().any(|(c, d)| a <= d && c <= b))
    }

    /// Whether the set has every port of the other. Ranges that only together have them do not count.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let within = |(c, d): &(u16, u16)| self.0.iter().any(|(a, b)| a <= c && d <= b);
        other.0.iter().all(within)
    }

    /// Whether the set has `port`.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(port: u16, end_port: Option<u16>) -> PortRange {
        PortRange { port, end_port }
    }

    #[test]
    fn ranges_are_inclusive() {
        let set = PortSet::new(&[range(443, None), range(9000, Some(9099))]).unwrap();
        for (port, expected) in [
            (442, false),
            (443, true),
            (444, false),
            (8999, false),
            (9000, true),
            (9099, true),
            (9100, false),
        ] {
            assert_eq!(set.contains(port), expected, "{port}");
        }
    }

    #[test]
    fn empty_and_backward_ranges_are_refused() {
        assert!(PortSet::new(&[range(0, None)]).is_err());
        assert!(PortSet::new(&[range(2, Some(1))]).is_err());
        assert!(PortSet::new(&[range(1, Some(65535))]).unwrap().contains(65535));
    }
}
