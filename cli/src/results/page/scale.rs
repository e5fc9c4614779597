//! Where a moment is in a picture.

/// Up to so many seconds from the origin, a logarithmic scale is linear.
const LINEAR: f64 = 0.001;

/// How moments are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Even.
    Linear,
    /// Logarithmic to both sides of the origin, so that the milliseconds around it
    /// are as easy to see as the seconds further away.
    AroundOrigin,
}

/// Maps seconds from an origin to places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    layout: Layout,
    from: f64,
    to: f64,
    left: f64,
    right: f64,
}

/// A mark of the axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) seconds: f64,
    pub(super) label: String,
}

impl Scale {
    pub(super) fn new(
        layout: Layout,
        (from, to): (f64, f64),
        (left, right): (f64, f64),
    ) -> Scale {
        Scale {
            layout,
            from,
            // Never empty: a picture of one moment still has a width.
            to: to.max(from + 1e-6),
            left,
            right,
        }
    }

    pub(super) fn x(&self, seconds: f64) -> f64 {
        let place = |seconds| match self.layout {
            Layout::Linear => seconds,
            Layout::AroundOrigin => bend(seconds),
        };
        let (from, to) = (place(self.from), place(self.to));
        let part = (place(seconds) - from) / (to - from);
        self.left + part.clamp(0.0, 1.0) * (self.right - self.left)
    }

    /// The end of the picture.
    pub(super) fn to(&self) -> f64 {
        self.to
    }

    /// Marks that are far enough from each other.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let wanted = match self.layout {
            Layout::Linear => self.even(),
            Layout::AroundOrigin => powers(),
        };
        let mut ticks: Vec<Tick> = Vec::new();
        let is_inside = |seconds: &f64| (self.from..=self.to).contains(seconds);
        for seconds in wanted.into_iter().filter(is_inside) {
            let x = self.x(seconds);
            let is_near = |tick: &Tick| x - self.x(tick.seconds) < 42.0;
            // The origin is never the one that gives way.
            match ticks.last() {
                Some(last) if is_near(last) && seconds == 0.0 => {
                    ticks.pop();
                }
                Some(last) if is_near(last) => continue,
                _ => {}
            }
            let label = label(seconds);
            ticks.push(Tick { seconds, label });
        }
        ticks
    }

    fn even(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / 10.0;
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0];
        let step = steps.iter().map(|s| s * power).find(|step| *step >= rough);
        let step = step.unwrap_or(power * 10.0);
        let first = (self.from / step).ceil() as i64;
        (first..first + 12).map(|n| n as f64 * step).collect()
    }
}

/// Seconds as a place on a logarithmic scale to both sides.
fn bend(seconds: f64) -> f64 {
    seconds.signum() * (1.0 + seconds.abs() / LINEAR).ln()
}

/// The origin, and the powers of ten around it.
fn powers() -> Vec<f64> {
    let powers = (-3..=4).map(|power| 10f64.powi(power));
    let after: Vec<f64> = powers.collect();
    let before = after.iter().rev().map(|seconds| -seconds);
    before.chain([0.0]).chain(after.iter().copied()).collect()
}

/// A moment in a few letters.
fn label(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "−" } else { "+" };
    let size = seconds.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if size < 0.9995 => format!("{sign}{} ms", round(size * 1000.0)),
        _ => format!("{sign}{} s", round(size)),
    }
}

/// Without zeros that say nothing.
fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_moments_is_the_order_of_places() {
        for layout in [Layout::Linear, Layout::AroundOrigin] {
            let scale = Scale::new(layout, (-3.0, 30.0), (100.0, 900.0));
            let moments = [-3.0, -1.0, -0.001, -0.0001, 0.0, 0.0001, 0.5, 29.0, 30.0];
            let places: Vec<f64> = moments.iter().map(|m| scale.x(*m)).collect();
            assert!(places.is_sorted(), "{layout:?}: {places:?}");
            assert_eq!(
                (places.first(), places.last()),
                (Some(&100.0), Some(&900.0))
            );
        }
    }

    #[test]
    fn what_is_outside_stays_at_the_edge() {
        let scale = Scale::new(Layout::Linear, (0.0, 1.0), (0.0, 10.0));
        assert_eq!((scale.x(-5.0), scale.x(5.0)), (0.0, 10.0));
    }

    #[test]
    fn ticks_do_not_overlap_and_the_origin_is_one_of_them() {
        for span in [(-2.0, 0.01), (-0.004, 30.0), (-60.0, 600.0), (-0.1, 0.2)] {
            for layout in [Layout::Linear, Layout::AroundOrigin] {
                let scale = Scale::new(layout, span, (100.0, 900.0));
                let ticks = scale.ticks();
                assert!(ticks.iter().any(|tick| tick.seconds == 0.0), "{ticks:?}");
                let places: Vec<f64> = ticks.iter().map(|t| scale.x(t.seconds)).collect();
                let gaps = places.windows(2).map(|pair| pair[1] - pair[0]);
                assert!(gaps.into_iter().all(|gap| gap > 20.0), "{ticks:?}");
            }
        }
    }

    #[test]
    fn labels_are_short() {
        let labels = [0.0, -0.1, 0.001, 1.0, 10.0, 0.9999].map(label);
        assert_eq!(labels, ["0", "−100 ms", "+1 ms", "+1 s", "+10 s", "+1 s"]);
    }
}
