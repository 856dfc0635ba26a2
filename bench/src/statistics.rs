//! Medians, percentiles, and ratios paired within a round: what a noisy machine still says reliably.

/// A median with the range around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// The median; the mean of the middle two where there are two. `None` without values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get((sorted.len() / 2).checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

/// The smallest value that at least `share` of all values do not exceed. `None` without values.
pub(crate) fn percentile(values: &mut [u64], share: f64) -> Option<u64> {
    values.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among a few thousand values"
    )]
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied()
}

/// Median and range of the ratios of one round each. Rounds in which either is missing, or the base is zero, do not
/// count.
pub(crate) fn paired_ratio(values: &[Option<f64>], base: &[Option<f64>]) -> Option<Spread> {
    let ratios: Vec<f64> = values
        .iter()
        .zip(base)
        .filter_map(|(value, base)| Some((*value)? / (*base).filter(|base| *base > 0.0)?))
        .collect();
    Some(Spread {
        median: median(&ratios)?,
        least: ratios.iter().copied().reduce(f64::min)?,
        most: ratios.iter().copied().reduce(f64::max)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        for (values, expected) in [
            (&[][..], None),
            (&[3.0], Some(3.0)),
            (&[9.0, 1.0], Some(5.0)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[4.0, 1.0, 3.0, 2.0], Some(2.5)),
        ] {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let all: Vec<u64> = (1..=100).rev().collect();
        for (share, expected) in [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(percentile(&mut all.clone(), share), Some(expected), "{share}");
        }
        assert_eq!(percentile(&mut [], 0.5), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // A machine twice as slow in the second round moves neither ratio.
        let values = [Some(20.0), Some(44.0), None, Some(5.0), Some(30.0)];
        let base = [Some(10.0), Some(20.0), Some(1.0), Some(0.0), Some(10.0)];
        let spread = paired_ratio(&values, &base).unwrap();
        assert_eq!((spread.median, spread.least, spread.most), (2.2, 2.0, 3.0));
        assert_eq!(paired_ratio(&[None], &[Some(1.0)]), None);
    }
}
