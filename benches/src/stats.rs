//! Medians of what was measured in turns.

/// The middle one; of an even number, the mean of the two in the middle.
///
/// # Panics
/// Without any value: nothing was measured.
pub fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

/// Where the true median lies in 95 of 100 cases, whatever the distribution:
/// between two of the values in order, by the binomial distribution's normal
/// approximation.
pub fn interval(values: &[f64]) -> (f64, f64) {
    let sorted = sorted(values);
    let n = sorted.len() as f64;
    let reach = 1.96 * n.sqrt() / 2.0;
    let low = (n / 2.0 - reach).floor().max(0.0) as usize;
    let high = (n / 2.0 + reach).ceil().min(n - 1.0) as usize;
    (sorted[low], sorted[high])
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A subject and its floor, measured in turns: the n-th of each belong together.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    pub floor: Vec<f64>,
    pub subject: Vec<f64>,
}

impl Turns {
    /// The subject's median.
    pub fn median(&self) -> f64 {
        median(&self.subject)
    }

    /// The median of what each turn's subject took, in turn's floors, and where
    /// it lies in 95 of 100 cases.
    pub fn ratio(&self) -> (f64, (f64, f64)) {
        let ratios: Vec<f64> = self
            .pairs()
            .map(|(floor, subject)| subject / floor)
            .collect();
        (median(&ratios), interval(&ratios))
    }

    /// The median of what each turn's subject took beyond its floor.
    pub fn above(&self) -> f64 {
        let above: Vec<f64> = self
            .pairs()
            .map(|(floor, subject)| subject - floor)
            .collect();
        median(&above)
    }

    fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        self.floor.iter().copied().zip(self.subject.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn the_interval_narrows_with_more_values() {
        let few: Vec<f64> = (0..9).map(f64::from).collect();
        let many: Vec<f64> = (0..900).map(|n| f64::from(n) / 100.0).collect();
        let width = |(low, high): (f64, f64)| high - low;
        assert!(width(interval(&many)) < width(interval(&few)) / 5.0);
        assert_eq!(interval(&[1.0]), (1.0, 1.0));
    }

    #[test]
    fn a_ratio_is_taken_within_each_turn() {
        // The machine became three times slower half way: no ratio sees it.
        let turns = Turns {
            floor: vec![10.0, 10.0, 30.0, 30.0],
            subject: vec![20.0, 20.0, 60.0, 60.0],
        };
        assert_eq!(turns.ratio().0, 2.0);
    }
}
